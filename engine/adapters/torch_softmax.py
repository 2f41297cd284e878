"""torch.softmax, and the other ways of torch to the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.implementation import Implementation


def through_the_logarithm(x: Tensor, dim: int) -> Tensor:
    """exp of torch.log_softmax, which half types store in between."""
    return torch.log_softmax(x, dim).exp()


def through_float32(x: Tensor, dim: int) -> Tensor:
    """Computed in float32 at least, by the argument that is there for it."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.softmax(x, dim, dtype=wide).to(x.dtype)


def into_a_transposed_result(x: Tensor, dim: int) -> Tensor:
    """Written into memory that is given, and that is not contiguous."""
    with torch.no_grad():
        result = torch.empty(x.shape[::-1], dtype=x.dtype, device=x.device).permute(*reversed(range(x.ndim)))
        return torch.softmax(x, dim, out=result)


def without_gradients(x: Tensor, dim: int) -> Tensor:
    """As in evaluation."""
    with torch.inference_mode():
        return torch.softmax(x, dim)


def row_by_row(x: Tensor, dim: int) -> Tensor:
    """Mapped over the first axis, where that is not the one that sums to 1."""
    axis = range(x.ndim)[dim]
    if axis == 0 or not len(x):
        return torch.softmax(x, dim)
    return torch.vmap(lambda row: torch.softmax(row, axis - 1))(x)


softmax = Implementation(
    name="torch.softmax",
    subject="softmax",
    call=torch.softmax,
    paths={
        "log_softmax().exp()": through_the_logarithm,
        "dtype=float32": through_float32,
        "out=": into_a_transposed_result,
        "inference_mode": without_gradients,
        "vmap": row_by_row,
    },
)
