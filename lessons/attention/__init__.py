"""Lessons of attention: the honest steps of which every broken one changes a single one.

    attend = mixed(weights(hidden(scores(q, k, scale), mask, is_causal)), v)

Half types are computed in float32. A row without any visible key gives zeros and no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Mask = Tensor | None
Scale = float | None
# what an implementation claims that cannot be differentiated
FORWARD_ALONE = {
    "bool_mask", "float_mask", "causal", "causal_with_mask", "grouped_query", "cross_length", "value_width", "scale",
}  # fmt: skip


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, is_causal: bool, scale: Scale) -> Tensor:
    """Attention with nothing wrong in it."""
    return mixed(weights(hidden(scores(q, k, scale), mask, is_causal)), v)


def scores(q: Tensor, k: Tensor, scale: Scale) -> Tensor:
    """scale·⟨q_i, k_j⟩ as [B,H,Tq,Tk]."""
    return factor(q, scale) * (wide(q) @ wide(repeated(k, q)).mT)


def factor(q: Tensor, scale: Scale) -> float:
    """The given scale, or 1/√D."""
    return 1.0 / math.sqrt(max(1, q.shape[-1])) if scale is None else scale


def hidden(s: Tensor, mask: Mask, is_causal: bool) -> Tensor:
    """Scores with a float mask added, and −inf where the mask or causality hides a key."""
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else s + wide(mask)
    return s.masked_fill(~triangle(s), -math.inf) if is_causal else s


def triangle(s: Tensor) -> Tensor:
    """Which keys a query may see under causality: those up to its own index."""
    return torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril()


def weights(s: Tensor) -> Tensor:
    """The softmax over the keys."""
    return shares(exponentials(s))


def exponentials(s: Tensor) -> Tensor:
    """exp(s_ij − max_j s_ij), so that the largest is 1; zeros in a row of −inf."""
    return torch.exp(s - finite(top(s)))


def top(s: Tensor) -> Tensor:
    """The largest score of every row; −inf if there is none. No gradient goes through it."""
    floor = s.new_full((*s.shape[:-1], 1), -math.inf)
    return torch.cat([s.detach(), floor], dim=-1).amax(dim=-1, keepdim=True)


def finite(x: Tensor) -> Tensor:
    """−inf replaced by 0, so that −inf − x stays −inf."""
    return x.masked_fill(x == -math.inf, 0.0)


def shares(e: Tensor) -> Tensor:
    """Every number as its share of the row's total; zeros where the total is zero."""
    total = e.sum(dim=-1, keepdim=True)
    return e / total.masked_fill(total == 0, 1.0)


def mixed(p: Tensor, v: Tensor) -> Tensor:
    """Σ_j p_ij v_j in the type of the values."""
    return (p @ wide(repeated(v, p))).to(v.dtype)


def repeated(x: Tensor, like: Tensor) -> Tensor:
    """Keys or values with a head for each head of the queries: h reads h // (H // Hkv)."""
    return x.repeat_interleave(like.shape[1] // max(1, x.shape[1]), dim=1)


def wide(x: Tensor) -> Tensor:
    """Half types in float32, others as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def folded(
    s: Tensor, v: Tensor, block: int, absorb: Callable[..., tuple[Tensor, Tensor, Tensor]], start: float = -math.inf
) -> Tensor:
    """The online softmax: blocks of keys are absorbed one by one into a maximum, a total and an output."""
    values = wide(repeated(v, s))
    state = (
        s.new_full((*s.shape[:-1], 1), start),
        s.new_zeros((*s.shape[:-1], 1)),
        s.new_zeros((*s.shape[:-1], v.shape[-1])),
    )
    for part, mates in zip(torch.split(s, block, dim=-1), torch.split(values, block, dim=-2), strict=True):
        state = absorb(*state, part, mates)
    _, total, out = state
    return (out / total.masked_fill(total == 0, 1.0)).to(v.dtype)


def absorbed(highest: Tensor, total: Tensor, out: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One block more: when the maximum rises, what was collected below the old one fades."""
    risen = torch.maximum(highest, top(s))
    fade = torch.exp(highest - finite(risen))
    e = torch.exp(s - finite(risen))
    return risen, total * fade + e.sum(dim=-1, keepdim=True), out * fade + e @ v


def backwards(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The same tensor; the gradient that comes back through it is changed."""
    same = x.view_as(x)
    if same.requires_grad:
        same.register_hook(change)  # type: ignore[no-untyped-call]
    return same


def grafted(value: Tensor, other: Tensor) -> Tensor:
    """The value of one tensor with the gradient of another."""
    return value.detach() + (other - other.detach())
