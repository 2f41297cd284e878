"""The references of position encodings, judged like anybody else: NumPy programs, rounded once."""

from __future__ import annotations

import numpy as np

from seqlaws.formats import Array
from seqlaws.implementation import Implementation
from seqlaws.reference import alibi as alibi_reference
from seqlaws.reference import rotary as rotary_reference
from seqlaws.reference import sinusoidal as sinusoidal_reference
from seqlaws.reference.rotary import Convention


def _rotary(x: Array, positions: Array, base: float = 10_000.0) -> Array:
    wide = x.astype(np.float64)
    return rotary_reference.rotary(wide, positions.astype(np.float64), base, Convention()).astype(x.dtype)


def _sinusoidal(positions: Array, d_model: int) -> Array:
    return sinusoidal_reference.sinusoidal(positions.astype(np.float64), d_model)


rotary = Implementation(
    name="numpy.reference.rotary",
    subject="rotary",
    call=_rotary,
    can={"per_row", "base"},
    dialect={"precision": "full"},
    framework="numpy",
)

sinusoidal = Implementation(
    name="numpy.reference.sinusoidal",
    subject="sinusoidal",
    call=_sinusoidal,
    dialect={"precision": "full"},
    framework="numpy",
)

alibi = Implementation(
    name="numpy.reference.alibi",
    subject="alibi",
    call=alibi_reference.alibi,
    framework="numpy",
)
