"""Floating-point formats: what the engine must know about rounding, and nothing about tensors.

Arrays travel through laws as NumPy float64 whose entries are exactly representable in the
format under judgement, so that an implementation and its reference see the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Format:
    """One floating-point format, with the constants of the standard model of rounding.

    ``unit`` is the unit roundoff of a stored number, ``accumulator`` that of the sums behind it
    (half types accumulate in float32), ``eta`` half the smallest subnormal, ``tiny`` the smallest
    normal number of the accumulator, ``largest`` the largest finite number, and ``exp_error`` the
    relative error allowed to the exponential function (fused CPU kernels use a 20-ulp one for
    float32 and a 2^-12 one for half types).
    """

    name: str
    unit: float
    accumulator: float
    eta: float
    tiny: float
    largest: float
    exp_error: float

    @property
    def half(self) -> bool:
        """Whether intermediate results may be stored in fewer bits than they are summed in."""
        return self.unit > self.accumulator

    @property
    def wide(self) -> Any:
        """The NumPy type in which the reference computes: wider than the format itself."""
        return np.longdouble if self.name == "float64" else np.float64

    def round(self, values: Any) -> Array:
        """The nearest numbers of this format (ties to even), as a float64 array."""
        array = np.asarray(values, dtype=np.float64)
        if self.name == "float64":
            return array
        with np.errstate(over="ignore", invalid="ignore"):
            if self.name == "bfloat16":
                return _nearest_bfloat16(array)
            return array.astype(self.name).astype(np.float64)


def _nearest_bfloat16(array: Array) -> Array:
    # Round to odd first: a float32 that remembers what it lost is safe to round a second time.
    single = array.astype(np.float32)
    bits = single.view(np.uint32).copy()
    inexact = np.isfinite(single) & (single.astype(np.float64) != array)
    above = np.abs(single.astype(np.float64)) > np.abs(array)
    bits = np.where(inexact, (bits - above.astype(np.uint32)) | np.uint32(1), bits)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    rounded = np.where(np.isfinite(single) | (bits == 0x7F800000) | (bits == 0xFF800000), rounded, bits)
    return rounded.view(np.float32).astype(np.float64)


FORMATS = {
    "float16": Format("float16", 2.0**-11, 2.0**-24, 2.0**-25, 2.0**-126, 65504.0, 2.0**-12),
    "bfloat16": Format("bfloat16", 2.0**-8, 2.0**-24, 2.0**-134, 2.0**-126, (2 - 2.0**-7) * 2.0**127, 2.0**-12),
    "float32": Format("float32", 2.0**-24, 2.0**-24, 2.0**-150, 2.0**-126, (2 - 2.0**-23) * 2.0**127, 40 * 2.0**-24),
    # half the smallest subnormal, 2^-1075, is not a float64: the smallest subnormal stands in
    "float64": Format(
        "float64", 2.0**-53, 2.0**-53, 2.0**-1074, 2.0**-1022, float(np.finfo(np.float64).max), 4 * 2.0**-53
    ),
}
DTYPES = tuple(FORMATS)
