"""Embedding: rows of a table, and the rounding errors that a correct gradient may show.

y_p = table[ids_p]. Shapes: ids of any shape, table [V,D], y is ids.shape + [D].

The lookup itself rounds nothing. The gradient of a row is a sum over all places that hold its id, in
any order; half types may store every partial sum, or only the last where sums are wide.
"""

from __future__ import annotations

import numpy as np

from seqlaws.reference.rounding import Array, Format


def embed(ids: Array, table: Array) -> Array:
    """The rows that the ids name."""
    return np.asarray(table[ids])


def _by_row(ids: Array, rows: int, numbers: Array) -> Array:
    """Σ over the places of every id of what stands there: [..., D] to [V,D]."""
    total = np.zeros((rows, numbers.shape[-1]), dtype=numbers.dtype)
    np.add.at(total, ids.reshape(-1), numbers.reshape(-1, numbers.shape[-1]))
    return total


def table_gradient(ids: Array, table: Array, cotangent: Array) -> Array:
    """Σ over the places of every id of the cotangent there."""
    return _by_row(ids, len(table), cotangent)


def table_gradient_bound(ids: Array, table: Array, cotangent: Array, format: Format, wide: bool = False) -> Array:
    """The error of sums in any order, every one of them stored in the format, or the last alone where they are wide."""
    count = np.bincount(ids.reshape(-1), minlength=len(table))[:, None]
    size = _by_row(ids, len(table), np.abs(cotangent))
    unit = format.accumulator if wide else format.unit
    error = size * np.expm1(np.maximum(count - 1, 0) * np.log1p(2 * unit)) + (count > 1) * format.eta
    return np.asarray(error + format.unit * (size + error) if wide else error)
