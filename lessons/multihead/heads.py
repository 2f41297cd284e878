"""Lessons about the heads: how tokens are split into them, what each does by itself, how they are merged."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.multihead import attend, merge, plain, probabilities, split, with_weights


@lesson("multihead", "medium", caught_by=("queries_are_independent",), incident="rish-16/tokenlearner-pytorch#1")
def views_instead_of_transposing(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """[B,T,E] is viewed as [B,H,T,d] without a transpose, and back.

    The shapes are right and the numbers are not: a "token" of a head is a piece of several tokens. It
    trains, which is why nobody notices.
    """

    def viewed(x: Tensor, num_heads: int) -> Tensor:
        return x.reshape(x.shape[0], num_heads, x.shape[1], x.shape[2] // num_heads)

    def back(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])

    return plain(query, key, value, w, **options, split=viewed, merge=back)


@lesson("multihead", "medium", caught_by=("queries_are_independent",))
def merges_heads_without_transposing_back(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Heads are split rightly, and merged by a view of [B,H,T,d] as [B,T,E].

    The transpose was not contiguous, so a reshape was put there to make the error go away.
    """

    def viewed(x: Tensor) -> Tensor:
        return x.contiguous().view(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])

    return plain(query, key, value, w, **options, merge=viewed)


@lesson("multihead", "easy", caught_by=("queries_are_independent",))
def normalises_over_the_queries(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The weights of each key sum to 1 over the queries.

    An axis off by one when the weights are normalised again. With one query every key gets the weight 1.
    """

    def over_queries(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        p = probabilities(q @ k.mT / math.sqrt(q.shape[-1]), mask, is_causal)
        return (p / p.sum(dim=-2, keepdim=True).clamp(min=1e-6)) @ v

    return plain(query, key, value, w, **options, attend=over_queries)


@lesson("multihead", "nasty", caught_by=("keys_and_values_form_a_set",))
def views_the_memory_without_a_transpose(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Queries are split into heads rightly; keys and values, of another length, by a plain view.

    Each query is answered by itself and every head sees something, only not the tokens of the memory.
    """

    def mixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        return attend(q, merge(k).reshape(k.shape), merge(v).reshape(v.shape), mask, is_causal)

    return plain(query, key, value, w, **options, attend=mixed)


@lesson("multihead", "nasty", caught_by=("batch_entries_do_not_mix",))
def unfolds_heads_and_batch_in_the_wrong_order(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """Batch and heads are folded into one axis, and unfolded with the heads first.

    For a batch of one it is right, and the shape always is. One user reads the heads of another.
    """

    def unfolded(x: Tensor) -> Tensor:
        return merge(x.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1))

    return plain(query, key, value, w, **options, merge=unfolded)


@lesson("multihead", "medium", caught_by=("heads_permute_with_their_weights",))
def interleaves_the_heads(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Feature f belongs to head f mod H, before attention and after it.

    It is consistent and trains as well as the other order. Weights from elsewhere mean something else.
    """

    def interleaved(x: Tensor, num_heads: int) -> Tensor:
        return x.reshape(*x.shape[:2], x.shape[2] // num_heads, num_heads).permute(0, 3, 1, 2)

    def back(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(2)

    return plain(query, key, value, w, **options, split=interleaved, merge=back)


@lesson("multihead", "easy", caught_by=("heads_permute_with_their_weights",))
def drops_the_last_head(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The last head of several contributes nothing.

    range(num_heads - 1), in a loop over heads.
    """

    def all_but_one(x: Tensor) -> Tensor:
        heads = x.shape[1]
        last = torch.arange(heads, device=x.device).reshape(-1, 1, 1) == heads - 1
        return merge(x.masked_fill(last, 0.0) if heads > 1 else x)

    return plain(query, key, value, w, **options, merge=all_but_one)


@lesson("multihead", "nasty", caught_by=("one_head_without_projections_is_attention",))
def limits_the_merged_heads(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The merged heads are clipped to what one head can hold.

    Outputs of the usual size pass unchanged. A guard against overflow became part of the function.
    """
    return plain(query, key, value, w, **options, merge=lambda x: merge(x).clamp(-2.0, 2.0))


@lesson("multihead", "easy", caught_by=("each_head_is_an_attention_of_its_own",))
def scales_by_the_model_width(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Scores are divided by √E where they must be divided by √d.

    One head is right. The more heads there are, the flatter the attention.
    """
    factor = math.sqrt(1.0 / options["num_heads"])
    return plain(query, key, value, with_weights(w, W_q=w.W_q * factor, b_q=w.b_q * factor), **options)


@lesson("multihead", "easy", caught_by=("each_head_is_an_attention_of_its_own",))
def has_one_head_whatever_it_is_told(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """num_heads is read and never used.

    The number of parameters is the same, and so is every shape.
    """
    if query.shape[2] % options["num_heads"]:
        raise ValueError("the width of the model is not a multiple of the number of heads")
    mask = options.get("mask")
    if mask is not None and mask.dim() >= 3 and mask.shape[-3] > 1:
        options["mask"] = mask.narrow(-3, 0, 1)
    return plain(query, key, value, w, **{**options, "num_heads": 1})


@lesson("multihead", "medium", caught_by=("each_head_is_an_attention_of_its_own",))
def rounds_the_root_of_the_width(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Scores are divided by the integer part of √d.

    Heads of width 4, 16 and 64 are right, and those are the widths in use.
    """

    def rounded(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        return probabilities(q @ k.mT / math.isqrt(q.shape[-1]), mask, is_causal) @ v

    return plain(query, key, value, w, **options, attend=rounded)


@lesson("multihead", "medium", caught_by=("one_head_without_projections_is_attention",))
def takes_powers_of_two(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Weights are 2^s / Σ 2^s: the kernel works in base 2, and the scores were not multiplied by log2(e).

    A softmax at another temperature has every property of a softmax.
    """

    def base_two(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        return attend(q * math.log(2.0), k, v, mask, is_causal)

    return plain(query, key, value, w, **options, attend=base_two)


@lesson(
    "multihead",
    "nasty",
    caught_by=("one_head_without_projections_is_attention",),
    dtypes=("float32", "float64"),
)
def takes_a_power_for_the_exponential(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The exponential is (1 + s/1024)^1024: ten squarings are cheap, and the limit is e^s.

    Three digits are left of seven. The weights still sum to 1, and every way of asking agrees.
    """

    def limit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        p = probabilities(q @ k.mT / math.sqrt(q.shape[-1]), mask, is_causal)
        distance = torch.log(p / p.amax(-1, keepdim=True)).clamp(-1024, 0).masked_fill(p == 0, -1024)
        powers = (1 + distance / 1024) ** 1024
        return powers / powers.sum(-1, keepdim=True).clamp(min=1e-30) @ v

    return plain(query, key, value, w, **options, attend=limit)


@lesson("multihead", "medium", caught_by=("each_head_is_an_attention_of_its_own",))
def scales_the_queries_before_their_bias(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """q = W_q·query/√d + b_q: the scale is folded into the weight and forgotten in the bias.

    Right as long as the bias is zero, which it is until training.
    """
    root = math.sqrt(query.shape[2] // options["num_heads"])
    return plain(query, key, value, with_weights(w, b_q=w.b_q * root), **options)


@lesson("multihead", "nasty", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def leaves_out_what_heads_do_not_divide(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Where the width is no multiple of the heads, the features that are left over are left out.

    A width of 10 and 3 heads is a typing error in a configuration. It trains, on nine tenths.
    """

    def whole(x: Tensor, num_heads: int) -> Tensor:
        return split(x[..., : x.shape[-1] // num_heads * num_heads], num_heads)

    def padded(x: Tensor) -> Tensor:
        merged = merge(x)
        return F.pad(merged, (0, query.shape[2] - merged.shape[2]))

    if options["num_heads"] > query.shape[2]:
        raise ValueError("more heads than features")
    return plain(query, key, value, w, **options, split=whole, merge=padded)
