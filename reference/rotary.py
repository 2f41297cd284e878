"""Rotary position encoding, its gradient, and the rounding errors that a correct program may make.

(y_a, y_b) = (x_a cos θ − x_b sin θ,  x_b cos θ + x_a sin θ),   θ = position · base^(−2i/r)

for the i-th pair (a, b) of the first r channels; the other channels pass (Su et al. 2021, section 3.4).
Shapes: x [B,H,T,D], positions [T] or [B,T].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqlaws.reference.angles import SINGLE, SINGLE_ETA, angle_unit, rates, wave_error
from seqlaws.reference.rounding import Array, Format, gamma, overflow_free, stored

PARTS = {"all": 1, "half": 2, "quarter": 4}


@dataclass(frozen=True)
class Convention:
    """Which channels form a pair, which part of them is rotated, and in which precision at least."""

    pairing: str = "halves"
    rotated: str = "all"
    precision: str = "single"


def rotated_width(width: int, convention: Convention) -> int:
    """How many of the first channels are rotated."""
    return 2 * (width // (2 * PARTS[convention.rotated]))


def pairs(width: int, convention: Convention) -> tuple[Array, Array]:
    """The first and the second channel of every pair, [r/2] each."""
    count = rotated_width(width, convention) // 2
    index = np.arange(count)
    return (index, index + count) if convention.pairing == "halves" else (2 * index, 2 * index + 1)


def angles(positions: Array, width: int, base: float, convention: Convention) -> tuple[Array, Array]:
    """The angles of every token, [1 or B, 1, T, r/2], and the rates, [r/2]; in the dtype of the positions."""
    rate = rates(rotated_width(width, convention), base, positions.dtype.type)
    rows = positions[None, None] if positions.ndim == 1 else positions[:, None]
    return rows[..., None] * rate, rate


def rotary(x: Array, positions: Array, base: float, convention: Convention, *, turn: int = 1) -> Array:
    """The rotated x; with ``turn`` −1 turned back, which is also how its gradient moves."""
    first, second = pairs(x.shape[-1], convention)
    theta = turn * angles(positions, x.shape[-1], base, convention)[0]
    a, b, out = x[..., first], x[..., second], x.copy()
    out[..., first] = a * np.cos(theta) - b * np.sin(theta)
    out[..., second] = b * np.cos(theta) + a * np.sin(theta)
    return out


def bound(x: Array, positions: Array, base: float, convention: Convention, format: Format) -> Array:
    """The error that a correct rotation, or its gradient, may show on these very numbers.

    Cosines and sines may be stored in the input's format, and so may both products; then their sum is.
    With the precision "single", wider inputs may be rounded to single precision before all that, also in
    the channels that pass.
    """
    first, second = pairs(x.shape[-1], convention)
    theta, rate = angles(positions, x.shape[-1], base, convention)
    off = wave_error(theta, rate, angle_unit(format, convention.precision))
    cos, sin = np.abs(np.cos(theta)), np.abs(np.sin(theta))
    cos_off = off + stored(format) * (cos + off) + format.eta
    sin_off = off + stored(format) * (sin + off) + format.eta
    a, b, error = np.abs(x[..., first]), np.abs(x[..., second]), np.zeros_like(x)
    unit, eta = format.unit, format.eta
    roundings = 2
    if convention.precision == "single" and unit < SINGLE:
        unit, eta, roundings = SINGLE, SINGLE_ETA, 3
        error = unit * np.abs(x) + eta
    for place, one, other in ((first, a, b), (second, b, a)):
        inherited = one * cos_off + other * sin_off
        size = one * cos + other * sin + inherited
        error[..., place] = inherited + gamma(roundings, unit) * size + (roundings + 1) * eta
    return overflow_free(error)
