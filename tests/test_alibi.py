"""The reference of ALiBi: slopes and biases that are known otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from seqlaws.formats import DTYPES, FORMATS
from seqlaws.reference.alibi import alibi, bound, distances, exponents
from seqlaws.spec.alibi import OTHERS, POWERS, TRAPS


@pytest.mark.parametrize(
    ("heads", "due"),
    [
        (1, [8]),
        (2, [4, 8]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (3, [4, 8, 2]),
        (6, [2, 4, 6, 8, 1, 3]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes_are_those_of_the_paper(heads: int, due: list[float]) -> None:
    assert exponents(heads, np.float64).tolist() == due


def test_the_last_query_stands_at_the_last_key() -> None:
    assert distances(2, 4).tolist() == [[2, 1, 0, -1], [3, 2, 1, 0]]
    assert alibi(1, 2, 3).tolist() == [[[-1 / 256, 0, -np.inf], [-2 / 256, -1 / 256, 0]]]


@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3), (1, 1)])
def test_sizes_may_be_none_and_one(queries: int, keys: int) -> None:
    for format in FORMATS.values():
        assert alibi(3, queries, keys).shape == bound(3, queries, keys, format).shape == (3, queries, keys)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_are_relative_and_nothing_is_allowed_to_the_present(dtype: str) -> None:
    format = FORMATS[dtype]
    value, error = alibi(12, 5, 1000, format.wide), bound(12, 5, 1000, format)
    seen = np.isfinite(value)
    assert (error[~seen] == format.eta).all()
    assert (error[seen] <= 8 * max(format.unit, 2.0**-20) * np.abs(value[seen]) + format.eta).all()


def test_cases_hold_both_kinds_of_head_counts_and_lengths() -> None:
    assert {case.heads in POWERS for case in TRAPS} == {True, False}
    assert any(case.queries == case.keys == case.heads for case in TRAPS)
    assert any(case.queries < case.keys for case in TRAPS)
    assert not set(POWERS) & set(OTHERS)
