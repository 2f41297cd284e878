"""Lessons about causality on its way through the layer, asked for by name or by a mask."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.multihead import plain, with_weights
from seqlaws.lessons.tensors import hides_the_future


@lesson("multihead", "easy", caught_by=("the_future_has_no_influence",), incident="pytorch/pytorch#99282")
def ignores_is_causal(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """is_causal is accepted and changes nothing.

    It was taken for a hint about the mask, and there is no mask. Training looks wonderful.
    """
    return plain(query, key, value, w, **{**options, "is_causal": False})


@lesson("multihead", "medium", caught_by=("the_future_has_no_influence",))
def is_causal_among_themselves_only(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """is_causal counts in self-attention and is ignored where keys are another tensor.

    "Cross-attention is never causal" was true of the first model. With a cache the keys are another tensor.
    """
    options["is_causal"] = options.get("is_causal", False) and query is key
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("the_present_has_influence",))
def hides_the_present(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Under is_causal a query does not see its own position.

    The triangle without its diagonal. Nothing leaks, and the newest token is missing.
    """
    if options.get("is_causal"):
        queries, keys = query.shape[1], key.shape[1]
        before = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(-1)
        mask = options.get("mask")
        if mask is None or mask.dtype == torch.bool:
            options["mask"] = before if mask is None else mask & before
        else:
            options["mask"] = mask.masked_fill(~before, -math.inf)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("is_causal_equals_the_triangular_mask",))
def scales_causal_attention_by_the_model_width(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """Under is_causal, scores are divided by √E where they must be divided by √d.

    The flag leads to a kernel that was tested with one head.
    """
    if options.get("is_causal"):
        factor = math.sqrt(1.0 / options["num_heads"])
        w = with_weights(w, W_q=w.W_q * factor, b_q=w.b_q * factor)
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("causality_and_a_mask_both_apply",))
def lets_a_mask_replace_causality(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """With a mask given, is_causal is ignored.

    One argument carries both inside, and the mask was assigned last. Padding a batch opens the future.
    """
    options["is_causal"] = options.get("is_causal", False) and options.get("mask") is None
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("tokens_carry_no_position",))
def assumes_causality_for_self_attention(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Self-attention is causal whether or not it is asked to be.

    Written for a decoder and reused in an encoder: each token is blind to what follows it.
    """
    options["is_causal"] = options.get("is_causal", False) or (query is key and query.shape[1] > 1)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("causality_and_a_mask_both_apply",))
def takes_what_hides_the_future_for_causality(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """A mask that hides all later tokens is taken for the causal one, whatever else it hides.

    The causal kernel is faster, and the triangle above the diagonal is quickly looked through. Padding in a
    causal mask comes into view again.
    """
    mask = options.get("mask")
    if mask is not None and hides_the_future(mask):
        options |= {"mask": None, "is_causal": True}
    return plain(query, key, value, w, **options)
