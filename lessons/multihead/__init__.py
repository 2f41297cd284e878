"""Lessons of multi-head attention: the honest steps of which every broken one changes a single one.

    plain = W_o·merge(attend(split(W_q·query + b_q), split(W_k·key + b_k), split(W_v·value + b_v))) + b_o

Every intermediate result is stored in the type of the inputs. A row without any visible key gives
zeros to the output projection, and no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def split(x: Tensor, num_heads: int) -> Tensor:
    """[B,T,E] as [B,H,T,d]."""
    return x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """[B,H,T,d] as [B,T,E]."""
    return x.transpose(1, 2).flatten(2)


def visible(mask: Tensor | None, is_causal: bool, scores: Tensor) -> Tensor:
    """Which keys each query may see, for scores [..., Tq, Tk]."""
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
    if is_causal:
        seen = seen.tril()
    if mask is not None:
        seen = seen & (mask if mask.dtype == torch.bool else mask > -math.inf)
    return seen


def probabilities(scores: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Softmax over the visible keys; zeros where there are none."""
    seen = visible(mask, is_causal, scores)
    if mask is not None and mask.dtype != torch.bool:
        scores = scores + mask
    empty = ~seen.any(dim=-1, keepdim=True)
    return scores.masked_fill(~seen, -math.inf).masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Attention of one head or of several."""
    return probabilities(q @ k.mT / math.sqrt(q.shape[-1]), mask, is_causal) @ v


def unmended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, hidden: float = -math.inf
) -> Tensor:
    """Attention in which an empty row is whatever a softmax over hidden scores makes of it."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    biased = scores if mask is None or mask.dtype == torch.bool else scores + mask
    return biased.masked_fill(~visible(mask, is_causal, scores), hidden).softmax(dim=-1) @ v


def with_weights(w: Any, **changes: Any) -> Any:
    """The weights with some of them replaced."""
    return SimpleNamespace(**{**vars(w), **changes})


def plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w: Any,
    *,
    num_heads: int,
    mask: Tensor | None = None,
    is_causal: bool = False,
    attend: Callable[..., Tensor] = attend,
    split: Callable[[Tensor, int], Tensor] = split,
    merge: Callable[[Tensor], Tensor] = merge,
) -> Tensor:
    """Project, split into heads, attend, merge, project: the equations as they stand."""
    q = split(F.linear(query, w.W_q, w.b_q), num_heads)
    k = split(F.linear(key, w.W_k, w.b_k), num_heads)
    v = split(F.linear(value, w.W_v, w.b_v), num_heads)
    return F.linear(merge(attend(q, k, v, mask, is_causal)), w.W_o, w.b_o)
