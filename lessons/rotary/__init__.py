"""Lessons of rotary encoding: the honest steps of which every broken one changes a single one.

rotary(x, positions, base) = turned(x, *tables(x, positions, base))
"""

from __future__ import annotations

import torch
from torch import Tensor

HALF = ("float16", "bfloat16")


def rates(width: int, base: float, device: torch.device | None = None) -> Tensor:
    """The angle from one position to the next for every pair, [D/2], in float32."""
    return 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)


def angles(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Positions times rates: [T,D/2] or [B,1,T,D/2]."""
    theta = positions.float().unsqueeze(-1) * rates(x.shape[-1], base, x.device)
    return theta.unsqueeze(1) if positions.dim() == 2 else theta


def tables(x: Tensor, positions: Tensor, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines for both halves of the channels, in the dtype of x."""
    theta = angles(x, positions, base)
    both = torch.cat([theta, theta], -1)
    return both.cos().to(x.dtype), both.sin().to(x.dtype)


def as_pairs(x: Tensor) -> Tensor:
    """Neighbouring channels on an axis of their own, [..., D/2, 2]."""
    return x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)


def quarter_turn(x: Tensor) -> Tensor:
    """Every pair (a, b) as (−b, a)."""
    a, b = x.chunk(2, -1)
    return torch.cat([-b, a], -1)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The pairs of x turned by the angles with these cosines and sines."""
    return x * cos + quarter_turn(x) * sin


def rotary(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """All of it."""
    return turned(x, *tables(x, positions, base))
