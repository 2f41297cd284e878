"""Sinusoidal position encoding, and the rounding error that a correct program may make.

PE(p, 2i) = sin(p ω_i),  PE(p, 2i+1) = cos(p ω_i),  ω_i = 10000^(−2i/d)      (Vaswani et al. 2017, section 3.5)

Positions of any shape give [..., d]. In the layout "halves" all sines come first, then all cosines. An odd
width has one sine more than cosines, and is defined where they alternate.
"""

from __future__ import annotations

import numpy as np

from seqlaws.reference.angles import angle_unit, rates, wave_error
from seqlaws.reference.rounding import Array, Format, stored

BASE = 10_000.0


def channels(width: int, layout: str) -> tuple[Array, Array]:
    """The channels of the sines and those of the cosines, [d/2] each, in the order of the rates."""
    if layout == "interleaved":
        return np.arange(0, width, 2), np.arange(1, width, 2)
    return np.arange(width // 2), np.arange(width // 2, width)


def sinusoidal(positions: Array, width: int, layout: str = "interleaved") -> Array:
    """The encoding [..., d] of positions, in their dtype."""
    theta = positions[..., None] * rates(width, BASE, positions.dtype.type)
    sines, cosines = channels(width, layout)
    out = np.empty((*positions.shape, width), dtype=positions.dtype)
    out[..., sines], out[..., cosines] = np.sin(theta), np.cos(theta[..., : len(cosines)])
    return out


def bound(positions: Array, width: int, layout: str, precision: str, format: Format) -> Array:
    """The error that a correct encoding may show: that of the angle, of the sine, and of storing a half type."""
    rate = rates(width, BASE, positions.dtype.type)
    off = wave_error(positions[..., None] * rate, rate, angle_unit(format, precision))
    error = np.empty((*positions.shape, width), dtype=positions.dtype)
    for places in channels(width, layout):
        error[..., places] = off[..., : len(places)]
    size = np.abs(sinusoidal(positions, width, layout))
    return np.asarray(error + stored(format) * (size + error) + format.eta)
