"""Lessons about the projections: which weight acts where, and how often."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.multihead import attend, plain, with_weights


@lesson("multihead", "easy", caught_by=("each_head_is_an_attention_of_its_own",))
def swaps_query_and_key_weights(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Queries are projected with the matrix of the keys, and keys with that of the queries.

    Every shape fits and most symmetries hold: ⟨W_k x, W_q y⟩ is just another model. It is what a wrong
    order in a packed weight file looks like.
    """
    return plain(query, key, value, with_weights(w, W_q=w.W_k, W_k=w.W_q), **options)


@lesson("multihead", "nasty", caught_by=("agrees_with_its_definition",))
def adds_the_value_bias_twice(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The projection adds the value bias, and the kernel, which was told of it too, adds it again.

    Fresh biases are zero and hide it; the trained model that moves in brings its own.
    """
    return plain(query, key, value, with_weights(w, b_v=w.b_v + w.b_v), **options)


@lesson("multihead", "medium", caught_by=("agrees_with_its_definition",))
def subtracts_the_query_bias(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """q = W_q·query − b_q.

    Every weight acts, every head is by itself, and the bias learns the other sign without complaint.
    """
    return plain(query, key, value, with_weights(w, b_q=-w.b_q), **options)


@lesson("multihead", "easy", caught_by=("every_weight_has_influence",))
def projects_values_like_keys(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The values are projected with the matrix of the keys.

    A copied line in which one letter was not changed. W_v is trained by nobody and used by nobody.
    """
    return plain(query, key, value, with_weights(w, W_v=w.W_k), **options)


@lesson("multihead", "easy", caught_by=("every_weight_has_influence",))
def forgets_the_value_bias(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The values are projected without their bias.

    Biases start at zero, so a fresh model shows nothing; a trained one answers with its mean gone.
    """
    return plain(query, key, value, with_weights(w, b_v=None), **options)


@lesson("multihead", "medium", caught_by=("the_key_bias_has_no_influence",))
def swaps_query_and_key_biases(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The bias of the keys is added to the queries, and that of the queries to the keys.

    The one that should act is forgotten by the softmax, and the one that should be forgotten acts.
    """
    return plain(query, key, value, with_weights(w, b_q=w.b_k, b_k=w.b_q), **options)


@lesson("multihead", "medium", caught_by=("the_key_bias_has_no_influence",))
def attends_to_an_extra_zero(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A key of zeros with a value of zeros is appended for every query.

    Every output shrinks by the share of the zero. Adding one vector to all keys no longer cancels,
    because the zero does not get it.
    """

    def with_zero(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        if mask is not None:
            mask = mask.expand(*mask.shape[:-1], k.shape[2])
            mask = F.pad(mask, (1, 0), value=True if mask.dtype == torch.bool else 0.0)
        if is_causal:
            causal = torch.ones(q.shape[2], k.shape[2] + 1, dtype=torch.bool, device=q.device).tril(1)
            if mask is None or mask.dtype == torch.bool:
                mask = causal if mask is None else mask & causal
            else:
                mask = mask.masked_fill(~causal, -math.inf)
        return attend(q, F.pad(k, (0, 0, 1, 0)), F.pad(v, (0, 0, 1, 0)), mask, False)

    return plain(query, key, value, w, **options, attend=with_zero)


@lesson("multihead", "easy", caught_by=("heads_permute_with_their_weights",))
def forgets_to_transpose_the_weights(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Tokens are multiplied by W instead of its transpose.

    The matrices are square, so nothing complains. Weights exported from one library and read by
    another end up like this.
    """
    return plain(query, key, value, with_weights(w, W_q=w.W_q.T, W_k=w.W_k.T, W_v=w.W_v.T), **options)


@lesson("multihead", "medium", caught_by=("heads_permute_with_their_weights",))
def transposes_the_output_weight(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The merged heads are multiplied by the transpose of W_o.

    Identity and symmetric matrices, which tests like, do not tell the two apart.
    """
    return plain(query, key, value, with_weights(w, W_o=w.W_o.T), **options)


@lesson("multihead", "easy", caught_by=("heads_add_up",))
def adds_the_output_bias_per_head(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Each head goes through the output projection by itself, and brings the bias with it.

    With one head it is right; with eight the bias counts eight times.
    """
    return plain(query, key, value, with_weights(w, b_o=w.b_o * options["num_heads"]), **options)


@lesson("multihead", "easy", caught_by=("heads_add_up",))
def adds_the_query_back(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The residual connection is made inside the layer.

    The block around it makes it again, and the stream doubles with every layer.
    """
    return plain(query, key, value, w, **options) + query


@lesson("multihead", "medium", caught_by=("one_tensor_passed_twice_equals_two_copies",))
def packs_self_attention_in_another_order(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Where query, key and value are one tensor, the three projections are one product, split in another order.

    Cross-attention takes the other path and is right. Only "is it the same tensor?" decides.
    """
    if query is key and key is value:
        w = with_weights(w, W_q=w.W_k, W_k=w.W_v, W_v=w.W_q, b_q=w.b_k, b_k=w.b_v, b_v=w.b_q)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("one_tensor_passed_twice_equals_two_copies",))
def forgets_the_bias_of_a_shared_memory(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Where key and value are one tensor but the query is another, the packed product has no bias.

    Three paths through the in-projection, and the tests took the other two.
    """
    if key is value and query is not key:
        w = with_weights(w, b_k=None, b_v=None)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("batch_entries_do_not_mix",))
def adds_the_output_bias_to_the_first_entry(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """The output bias is added to the first entry of the batch alone.

    An index that should have been a slice. A test with a batch of one, or with fresh biases, passes.
    """
    out = plain(query, key, value, with_weights(w, b_o=None), **options)
    return torch.cat([out[:1] + w.b_o, out[1:]])
