"""Honest variants: other ways to compute the same attention. No law may flag them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqlaws.lesson import honest
from seqlaws.lessons.attention import (
    FORWARD_ALONE,
    Mask,
    Scale,
    absorbed,
    attend,
    factor,
    finite,
    folded,
    hidden,
    mixed,
    repeated,
    scores,
    shares,
    top,
    triangle,
    weights,
    wide,
)


@honest("attention")
def plain(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The steps from which the lessons are made, with nothing changed."""
    return attend(q, k, v, mask, is_causal, scale)


@honest("attention")
def loops(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """One query at a time, its products summed one by one without a matrix product."""
    bias = hidden(_no_scores(q, k), mask, is_causal)
    queries, keys, values = wide(q), wide(repeated(k, q)), wide(repeated(v, q))
    rows = [values.new_zeros((*q.shape[:2], 0, v.shape[3]))]
    for i in range(q.shape[2]):
        s = factor(q, scale) * (queries[:, :, i, None] * keys).sum(dim=-1) + bias[:, :, i]
        rows.append((weights(s)[..., None] * values).sum(dim=2, keepdim=True))
    return torch.cat(rows, dim=2).to(v.dtype)


@honest("attention")
def key_by_key(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A sum over the keys, one at a time. It never comes to a value too many."""
    p = weights(hidden(scores(q, k, scale), mask, is_causal))
    out = wide(q).new_zeros((*q.shape[:3], v.shape[3]))
    values = wide(repeated(v, q))
    for j in range(k.shape[2]):
        out = out + p[..., j, None] * values[:, :, j, None]
    return out.to(v.dtype)


@honest("attention")
def einsum(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Grouped heads on an axis of their own: no key is ever copied."""
    batch, heads, _, width = q.shape
    grouped = wide(q).reshape(batch, k.shape[1], heads // k.shape[1], q.shape[2], width)
    s = torch.einsum("bgrid,bgjd->bgrij", factor(q, scale) * grouped, wide(k))
    p = weights(hidden(s.flatten(1, 2), mask, is_causal)).reshape(s.shape)
    return torch.einsum("bgrij,bgjd->bgrid", p, wide(v)).flatten(1, 2).to(v.dtype)


@honest("attention")
def in_its_own_type(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Scores and weights are stored in the type of the inputs, half types too."""
    s = factor(q, scale) * (q @ repeated(k, q).mT)
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else s + mask
    if is_causal:
        s = s.masked_fill(~triangle(s), -math.inf)
    empty = (s == -math.inf).all(dim=-1, keepdim=True)
    return torch.softmax(s.masked_fill(empty, 0.0), dim=-1).masked_fill(empty, 0.0) @ repeated(v, q)


@honest("attention")
def online_by_sixty_four(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Blocks of 64 keys with a running maximum, accumulated in float32."""
    return folded(hidden(scores(q, k, scale), mask, is_causal), v, 64, absorbed)


@honest("attention")
def online_by_seven(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Blocks of 7 keys, the scores of each made only when it is reached."""
    bias = hidden(_no_scores(q, k), mask, is_causal)
    start = wide(q.new_zeros((*q.shape[:3], 1)))
    state = (start - math.inf, start, start.expand(*q.shape[:3], v.shape[3]))
    for keys, values, added in zip(torch.split(k, 7, 2), torch.split(v, 7, 2), torch.split(bias, 7, 3), strict=True):
        state = absorbed(*state, scores(q, keys, scale) + added, wide(repeated(values, q)))
    return (state[2] / state[1].masked_fill(state[1] == 0, 1.0)).to(v.dtype)


@honest("attention")
def merges_by_shares(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Blocks of 32 keys, each with a softmax of its own, merged as where they come from other devices.

    o ← o − σ(l′ − l) (o − o′),  l ← l − log σ(l − l′),  with l = log Σ exp s of all keys so far
    """
    blocks = torch.split(hidden(scores(q, k, scale), mask, is_causal), 32, dim=-1)
    out, total, blank = wide(v).new_zeros((*q.shape[:3], v.shape[3])), wide(q).new_zeros((*q.shape[:3], 1)), None
    for s, values in zip(blocks, torch.split(wide(repeated(v, q)), 32, dim=-2), strict=True):
        empty = (s == -math.inf).all(dim=-1, keepdim=True)
        blank = torch.ones_like(empty) if blank is None else blank
        found, its_total = weights(s) @ values, torch.logsumexp(s.masked_fill(empty, 0.0), dim=-1, keepdim=True)
        gap = (its_total - total).masked_fill(blank | empty, 0.0)
        merged = out - torch.sigmoid(gap) * (out - found)
        out = torch.where(blank, found, torch.where(empty, out, merged))
        total = torch.where(blank, its_total, torch.where(empty, total, total - functional.logsigmoid(-gap)))
        blank = blank & empty
    return out.to(v.dtype)


@honest("attention")
def powers_of_two(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """exp(x) as 2^(x·log₂e), the way fused kernels do it."""
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(shares(torch.exp2((s - finite(top(s))) * math.log2(math.e))), v)


@honest("attention")
def divides_last(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Queries scaled before the product, outputs divided by the total after it."""
    s = hidden(wide(q) * factor(q, scale) @ wide(repeated(k, q)).mT, mask, is_causal)
    e = torch.exp(s - finite(top(s)))
    total = e.sum(dim=-1, keepdim=True)
    return (e @ wide(repeated(v, q)) / total.masked_fill(total == 0, 1.0)).to(v.dtype)


@honest("attention")
def finite_filler(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Hidden keys get the lowest finite score instead of −inf, and rows without keys are cleared afterwards."""
    s = hidden(scores(q, k, scale), mask, is_causal)
    away = s == -math.inf
    p = torch.softmax(s.masked_fill(away, torch.finfo(s.dtype).min), dim=-1)
    return mixed(p.masked_fill(away.all(dim=-1, keepdim=True), 0.0), v)


@honest("attention")
def scaled_dot_product(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """PyTorch's own function with causality written into the mask; its fastest CPU kernel would hide NaN.

    Without keys it would add up the queries, which overflows in half precision.
    """
    if not k.shape[2]:
        return attend(q, k, v, mask, is_causal, scale)
    if mask is not None and is_causal:
        seen = torch.ones((q.shape[2], k.shape[2]), dtype=torch.bool, device=q.device).tril()
        mask = mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, -math.inf)
    grouped = q.shape[1] != k.shape[1]
    with sdpa_kernel(SDPBackend.MATH):
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=is_causal and mask is None, scale=scale, enable_gqa=grouped
        )


def _no_scores(q: Tensor, k: Tensor) -> Tensor:
    return wide(q.new_zeros((*q.shape[:3], k.shape[2])))


@honest("attention", dialect={"hidden_nan": "inert"}, can=FORWARD_ALONE)
def clears_what_is_hidden(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """To each query the keys and values that it may not see are zeros, whatever they hold."""
    bias = hidden(_no_scores(q, k), mask, is_causal)
    s = torch.where(bias == -math.inf, bias, scores(q, k, scale) + bias)
    values = wide(repeated(v, q))[:, :, None].masked_fill((bias == -math.inf)[..., None], 0.0)
    return (weights(s)[..., None, :] @ values)[..., 0, :].to(v.dtype)


@honest("attention", dialect={"alignment": "bottom_right"})
def aligned_to_the_last_key(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Under causality the last query sees all keys; of more queries than keys, the first see none."""
    s = hidden(scores(q, k, scale), mask, False)
    if is_causal:
        s = s.masked_fill(~torch.ones_like(s, dtype=torch.bool).tril(s.shape[3] - s.shape[2]), -math.inf)
    return mixed(weights(s), v)
