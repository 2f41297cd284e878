"""The standard model of rounding, as far as the references need it (Higham 2002, chapters 2 and 3)."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Format(Protocol):
    """The constants of a floating-point format: see `seqlaws.formats.Format`."""

    @property
    def unit(self) -> float: ...
    @property
    def accumulator(self) -> float: ...
    @property
    def eta(self) -> float: ...
    @property
    def tiny(self) -> float: ...
    @property
    def largest(self) -> float: ...
    @property
    def exp_error(self) -> float: ...
    @property
    def half(self) -> bool: ...
    @property
    def wide(self) -> Any: ...


def gamma(count: float, unit: float) -> float:
    """The relative error of ``count`` successive roundings: n·u / (1 − n·u)."""
    return count * unit / (1 - count * unit)


def stored(format: Format) -> float:
    """The relative error of storing an intermediate result: half types may keep it in the input's format."""
    return format.unit if format.half else 0.0


def sums(format: Format, terms: int) -> float:
    """The relative error of a sum of products, in any order, with products perhaps stored on the way."""
    return gamma(terms + 8, format.accumulator) + stored(format)


def narrow(array: Array | float) -> Array:
    """An array in float64: enough for a bound where exact values need long double, and much faster."""
    return np.asarray(array, dtype=np.float64)


def magnitudes(a: Array, b: Array) -> Array:
    """``a @ b`` for a bound."""
    return np.asarray(narrow(a) @ narrow(b))


def overflow_free(bound: Array) -> Array:
    """A bound in which what could not be bounded counts as infinite."""
    return np.where(np.isnan(bound), np.inf, bound)
