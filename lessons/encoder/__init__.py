"""Lessons of the encoder block: the honest steps of which every broken one changes a single one.

pre-norm:   a = x + attend(norm₁(x)),   y = a + feed(norm₂(a))
post-norm:  a = norm₁(x + attend(x)),   y = norm₂(a + feed(a))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5


def split(x: Tensor, num_heads: int) -> Tensor:
    """[B,T,E] as [B,H,T,d]."""
    return x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """[B,H,T,d] as [B,T,E]."""
    return x.transpose(1, 2).flatten(2)


def biased(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores with the mask applied."""
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask


def weights(scores: Tensor) -> Tensor:
    """Softmax over what is visible; zeros where nothing is."""
    empty = (scores == -math.inf).all(dim=-1, keepdim=True)
    return scores.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)


def scored(q: Tensor, k: Tensor) -> Tensor:
    """Products of queries and keys, over the root of the width."""
    return q @ k.mT / math.sqrt(q.shape[-1])


def attend(
    x: Tensor,
    w: Any,
    num_heads: int,
    mask: Tensor | None,
    *,
    scored: Callable[[Tensor, Tensor], Tensor] = scored,
    biased: Callable[[Tensor, Tensor | None], Tensor] = biased,
    weights: Callable[[Tensor], Tensor] = weights,
) -> Tensor:
    """Multi-head self-attention."""
    q, k, v = (split(F.linear(x, W, b), num_heads) for W, b in ((w.W_q, w.b_q), (w.W_k, w.b_k), (w.W_v, w.b_v)))
    return F.linear(merge(weights(biased(scored(q, k), mask)) @ v), w.W_o, w.b_o)


def feed(x: Tensor, w: Any) -> Tensor:
    """The feed-forward part."""
    return F.linear(F.relu(F.linear(x, w.W_1, w.b_1)), w.W_2, w.b_2)


def normalised(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Layer normalisation, step by step."""
    d = x - x.mean(-1, keepdim=True)
    return d / torch.sqrt((d * d).mean(-1, keepdim=True) + EPS) * gain + shift


def plain(
    x: Tensor,
    w: Any,
    *,
    num_heads: int,
    norm_first: bool,
    mask: Tensor | None = None,
    attend: Callable[[Tensor, Any, int, Tensor | None], Tensor] = attend,
    feed: Callable[[Tensor, Any], Tensor] = feed,
    normalised: Callable[[Tensor, Tensor, Tensor], Tensor] = normalised,
) -> Tensor:
    """Attention, then the feed-forward part, each with its residual and its norm."""
    if norm_first:
        x = x + attend(normalised(x, w.g_1, w.s_1), w, num_heads, mask)
        return x + feed(normalised(x, w.g_2, w.s_2), w)
    x = normalised(x + attend(x, w, num_heads, mask), w.g_1, w.s_1)
    return normalised(x + feed(x, w), w.g_2, w.s_2)


def with_weights(w: Any, **changes: Any) -> Any:
    """The weights with some of them replaced."""
    return SimpleNamespace(**{**vars(w), **changes})
