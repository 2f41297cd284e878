"""Angles of positions: what sinusoidal and rotary encodings share, with the error that angles may have.

θ_pi = p · ω_i,   ω_i = base^(−2i/d),   i = 0 … d/2 − 1      (Vaswani et al. 2017, section 3.5)

Programs form ω_i as a power, as the reciprocal of a power or as an exponential of a logarithm, in
single precision even where the result is wider. The error of an angle grows with the position,
that of its sine and cosine does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.reference.rounding import Array, Format

SINGLE = 2.0**-24
SINGLE_ETA = 2.0**-150  # half the smallest subnormal number of single precision
TURN = 2 * np.pi


def rates(width: int, base: float, wide: Any) -> Array:
    """ω_i for the pairs of a width, [d/2]: the angle from one position to the next."""
    exponents = np.arange(0, width, 2).astype(wide) / wide(max(width, 1))
    return np.asarray(wide(base) ** -exponents)


def angle_unit(format: Format, precision: str) -> float:
    """The unit roundoff of angles: single precision, or with ``precision`` "full" that of the format's sums."""
    return format.accumulator if precision == "full" else max(format.accumulator, SINGLE)


def angle_error(angles: Array, rate: Array, unit: float) -> Array:
    """How far angles [..., d/2] may be off.

    ω_i errs relatively by the roundings of its exponent, each as large as ln(1/ω_i), and by those of
    a power, a division and the product with the position; as a running product of i equal factors, by
    5 more for each. The first rate is 1 in every program, but an angle may have had turns taken off. Below 0
    it may have been brought above by a whole one, however small it is: the turn is rounded, and so is the sum.
    """
    size, place = -np.log(rate), np.arange(len(rate))
    relative = np.abs(angles) * np.expm1(unit * np.where(place > 0, 4 * size + 8 + 5 * place, 2.0))
    return np.asarray(relative + np.where(angles < 0, 2 * unit * TURN, 0.0))


def wave_error(angles: Array, rate: Array, unit: float) -> Array:
    """How far the sine or cosine of an angle may be off: by as much as the angle, and by 3 units of its own."""
    return np.minimum(2.0, angle_error(angles, rate, unit)) + 3 * unit
