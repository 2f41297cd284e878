"""Lessons of softmax: the honest steps of which every broken one changes a single one.

softmax(x, dim) = shares(torch.exp(distances(x, dim)), dim)
"""

from __future__ import annotations

from torch import Tensor

WIDE = ("float32", "float64")
HALF = ("float16", "bfloat16")


def wide(x: Tensor) -> Tensor:
    """The same numbers in float32, if they came in a half type."""
    return x.float() if x.dtype.itemsize == 2 else x


def distances(x: Tensor, dim: int) -> Tensor:
    """x_j − max x: never positive, so that exp cannot overflow."""
    return x - x.amax(dim, keepdim=True)


def shares(weights: Tensor, dim: int) -> Tensor:
    """Every weight as a share of their sum."""
    return weights / weights.sum(dim, keepdim=True)
