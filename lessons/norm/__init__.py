"""Lessons of normalisation: the honest steps of which every broken one changes a single one.

norm(x, gain, shift, eps) = d / root(mean(d²) + eps) · gain + shift, with d = x − mean(x)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def mean(x: Tensor) -> Tensor:
    """The mean over the last axis, which is kept."""
    return x.mean(-1, keepdim=True)


def centred(x: Tensor) -> Tensor:
    """What is left of a row without its mean."""
    return x - mean(x)


def variance(d: Tensor) -> Tensor:
    """The mean square of a row."""
    return mean(d * d)


def plain(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    *,
    centred: Callable[[Tensor], Tensor] = centred,
    variance: Callable[[Tensor], Tensor] = variance,
) -> Tensor:
    """The definition, step by step; every step stored in the dtype of the input."""
    d = centred(x)
    return d / torch.sqrt(variance(d) + eps) * gain + shift


def wide(x: Tensor) -> Tensor:
    """The same numbers in float32, if they came in a half type."""
    return x.float() if x.dtype.itemsize == 2 else x
