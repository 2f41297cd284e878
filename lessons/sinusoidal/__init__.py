"""Lessons of sinusoidal encoding: the honest steps of which every broken one changes a single one.

sinusoidal(positions, d_model) = waves(angles(positions, d_model))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rates(width: int, device: torch.device | None = None, base: float = 10_000.0) -> Tensor:
    """The angle from one position to the next for every pair, [d/2], in float32."""
    return torch.exp(torch.arange(0, width, 2, dtype=torch.float32, device=device) * (-math.log(base) / width))


def angles(positions: Tensor, width: int) -> Tensor:
    """Positions times rates, [..., d/2], in float32."""
    return positions.float().unsqueeze(-1) * rates(width, positions.device)


def waves(theta: Tensor) -> Tensor:
    """Sines at even and cosines at odd channels."""
    return torch.stack([theta.sin(), theta.cos()], -1).flatten(-2)


def sinusoidal(positions: Tensor, d_model: int) -> Tensor:
    """All of it."""
    return waves(angles(positions, d_model))
