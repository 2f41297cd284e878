"""Honest encoder blocks: other ways to compute the same thing, which nothing may flag."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import honest
from seqlaws.lessons.encoder import EPS, attend, merge, plain, split, weights, with_weights
from seqlaws.lessons.norm import wide

honest("encoder")(plain)


def _fused(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], gain, shift, EPS)


@honest("encoder")
def by_library_functions(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Fused norms, packed projections, and the library's attention."""

    def fused(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        packed = F.linear(tokens, torch.cat([w.W_q, w.W_k, w.W_v]), torch.cat([w.b_q, w.b_k, w.b_v]))
        q, k, v = (split(each, num_heads) for each in packed.chunk(3, dim=-1))
        if mask is not None:
            mask = mask.expand(q.shape[0], num_heads, q.shape[2], k.shape[2])
        return F.linear(merge(F.scaled_dot_product_attention(q, k, v, mask)), w.W_o, w.b_o)

    return plain(x, w, **options, attend=fused, normalised=_fused)


@honest("encoder")
def in_float32(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """Half types are widened once at the beginning and rounded once at the end."""
    wider = with_weights(w, **{name: wide(weight) for name, weight in vars(w).items()})
    if mask is not None and mask.dtype != torch.bool:
        mask = wide(mask)
    return plain(wide(x), wider, mask=mask, **options, normalised=_fused).to(x.dtype)


@honest("encoder")
def head_by_head_and_token_by_token(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Heads are added up one after another, hidden units in two halves, and b_2 last."""

    def headwise(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        width = tokens.shape[2] // num_heads
        total = torch.zeros_like(tokens)
        whole = None if mask is None else mask.expand(tokens.shape[0], num_heads, tokens.shape[1], tokens.shape[1])
        for head in range(num_heads):
            own = slice(head * width, (head + 1) * width)
            q, k, v = (F.linear(tokens, W[own], b[own]) for W, b in ((w.W_q, w.b_q), (w.W_k, w.b_k), (w.W_v, w.b_v)))
            scores = q @ k.mT * (1.0 / math.sqrt(width))
            if whole is not None:
                own_mask = whole[:, head]
                scores = scores.masked_fill(~own_mask, -math.inf) if own_mask.dtype == torch.bool else scores + own_mask
            total = total + F.linear(weights(scores) @ v, w.W_o[:, own])
        return total + w.b_o

    def halves(tokens: Tensor, w: Any) -> Tensor:
        half = len(w.b_1) // 2
        parts = [
            F.linear(F.relu(F.linear(tokens, w.W_1[own], w.b_1[own])), w.W_2[:, own])
            for own in (slice(0, half), slice(half, None))
        ]
        return parts[0] + parts[1] + w.b_2

    wider = with_weights(w, **{name: wide(weight) for name, weight in vars(w).items()})
    if options.get("mask") is not None and options["mask"].dtype != torch.bool:
        options["mask"] = wide(options["mask"])
    return plain(wide(x), wider, **options, attend=headwise, feed=halves).to(x.dtype)


@honest("encoder", dialect={"empty_row": "nan"}, dtypes=("float32", "float64"))
def leaves_nan_in_empty_rows(x: Tensor, w: Any, **options: Any) -> Tensor:
    """A softmax over −∞ alone stays what it is, and the dialect says so."""
    return plain(x, w, **options, attend=partial(attend, weights=lambda scores: scores.softmax(dim=-1)))
