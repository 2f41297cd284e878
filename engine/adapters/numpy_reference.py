"""The references, judged like anybody else: NumPy programs in the precision of their input or a wider one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.implementation import Implementation
from seqlaws.reference import multihead as multihead_reference
from seqlaws.reference import softmax as softmax_reference


def _softmax(x: Array, dim: int) -> Array:
    return softmax_reference.softmax(x.astype(np.float64), dim).astype(x.dtype)


softmax = Implementation(
    name="numpy.reference.softmax",
    subject="softmax",
    call=_softmax,
    can={"infinite"},
    framework="numpy",
)


def _wide(array: Array | None) -> Array | None:
    return array if array is None or array.dtype == bool else array.astype(np.float64)


def _multihead(query: Array, key: Array, value: Array, w: Any, *, mask: Array | None, **options: Any) -> Array:
    tokens: list[Any] = [_wide(each) for each in (query, key, value)]
    weights: Any = SimpleNamespace(**{name: _wide(weight) for name, weight in vars(w).items()})
    return multihead_reference.mha(tokens[0], tokens[1], tokens[2], weights, mask=_wide(mask), **options).astype(
        query.dtype
    )


multihead = Implementation(
    name="numpy.reference.multihead",
    subject="multihead",
    call=_multihead,
    can={"bool_mask", "float_mask", "causal", "causal_with_mask", "cross_length"},
    framework="numpy",
)
