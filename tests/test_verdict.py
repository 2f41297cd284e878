"""Verdicts: what holds, what does not, and the place that is named."""

from __future__ import annotations

import numpy as np
import pytest

from seqlaws.formats import Array
from seqlaws.verdict import (
    HOLDS,
    Output,
    below,
    between,
    broken,
    differs,
    equals,
    every,
    finite,
    identical,
    joined,
    not_finite,
    same,
    vacuous,
    within,
)  # fmt: skip


def output(value: list[float], reference: list[float] | None = None, bound: float = 0.1) -> Output:
    numbers = np.array(value)
    exact = np.array(value if reference is None else reference)
    return Output(numbers, lambda: (exact, np.full(exact.shape, bound)))


def test_within_allows_the_bound_and_no_more() -> None:
    assert within(output([1.1, 2.0], [1.0, 2.0], 0.11)).holds
    verdict = within(output([1.0, 2.3], [1.0, 2.0], 0.1))
    assert not verdict.holds
    assert (verdict.where, verdict.got, verdict.expected, verdict.allowed) == ((1,), 2.3, 2.0, 0.1)
    assert verdict.strain == pytest.approx(3.0)


def test_two_computations_may_differ_by_the_sum_of_their_bounds() -> None:
    assert same(output([1.0], bound=0.1), output([1.25], bound=0.2)).holds
    assert not same(output([1.0], bound=0.1), output([1.35], bound=0.2)).holds


def test_nan_equals_nan_only() -> None:
    assert within(output([np.nan], [np.nan])).holds
    for value, reference in (([np.nan], [1.0]), ([1.0], [np.nan]), ([np.inf], [-np.inf])):
        verdict = within(output(value, reference, np.inf))
        assert not verdict.holds
        assert "non-finite" in verdict.message


def test_nan_lies_in_no_interval_and_shows_no_influence() -> None:
    nan = np.array([[np.nan, np.nan]])
    assert not between(0.0, nan, 1.0).holds
    assert not below(nan, 1.0).holds
    assert not differs(nan, nan).holds
    assert between(np.nan, nan, np.nan).holds
    assert below(nan, np.nan).holds
    assert differs(nan, np.array([[0.0, 0.0]])).holds


def test_a_bound_that_overflowed_allows_any_number_but_no_nan() -> None:
    assert within(output([1e30], [0.0], np.inf)).holds
    assert not within(output([np.nan], [0.0], np.inf)).holds


def test_no_broadcasting_makes_two_sides_fit() -> None:
    assert not identical(np.zeros((2, 1)), np.zeros((1, 2))).holds
    assert "shape" in identical(np.zeros((2, 1)), np.zeros((1, 2))).message


def test_a_single_number_stands_for_all_entries() -> None:
    assert equals(output([1.0, 1.0]), 1.0).holds


def test_identical_sees_one_bit() -> None:
    assert identical(np.array([0.0, np.nan]), np.array([-0.0, np.nan])).holds
    assert not identical(np.array([1.0]), np.array([np.nextafter(1.0, 2.0)])).holds


def test_intervals_are_widened_by_the_bound() -> None:
    assert between(0.0, output([1.05], bound=0.1), 1.0).holds
    assert not between(0.0, output([1.15], bound=0.1), 1.0).holds
    assert not below(np.array([1.0000001]), 1.0).holds


def test_finite_and_not_finite() -> None:
    assert finite(np.array([1.0])).holds
    assert not finite(np.array([np.inf])).holds
    assert not not_finite(np.array([np.nan, 0.0])).holds
    assert not not_finite(np.array([])).reached


def test_influence_is_asked_for_every_row() -> None:
    one, other = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 5.0], [3.0, 4.0]])
    assert differs(one, other, among=np.array([True, False])).holds
    verdict = differs(one, other, among=np.array([True, True]))
    assert not verdict.holds
    assert verdict.where == (1, 0)


def test_the_worst_of_several_speaks() -> None:
    verdict = every(HOLDS, within(output([2.0], [1.0], 0.5)), within(output([9.0], [1.0], 0.5)).called("second"))
    assert (verdict.name, verdict.got) == ("second", 9.0)
    assert not every(vacuous(), vacuous()).reached
    assert every(vacuous(), HOLDS).reached
    assert not every(HOLDS, broken("so")).holds


def test_linear_maps_carry_the_bound_along() -> None:
    mapped = output([1.0, 2.0]).apply(np.array([[1.0], [-3.0]]), 5.0)
    assert (mapped.value, mapped.reference, mapped.bound) == (0.0, 0.0, pytest.approx(0.4))
    together = joined([output([1.0]), output([2.0], bound=0.5)], axis=0)
    assert list(together.bound) == [0.1, 0.5]


def test_the_exact_value_is_computed_once_and_only_if_asked_for() -> None:
    asked: list[int] = []

    def exact() -> tuple[Array, Array]:
        asked.append(1)
        return np.zeros(1), np.zeros(1)

    lazy = Output(np.zeros(1), exact)
    assert identical(lazy, lazy).holds
    assert asked == []
    assert within(lazy).holds
    assert (lazy.reference, lazy.bound, asked) == (0.0, 0.0, [1])


def test_where_everything_is_allowed_nothing_was_asked() -> None:
    endless = Output(np.ones(2), lambda: (np.zeros(2), np.full(2, np.inf), np.full(2, np.inf)))
    partly = Output(np.ones(2), lambda: (np.zeros(2), np.array([np.inf, 2.0]), np.full(2, np.inf)))
    assert (within(endless).holds, within(endless).reached) == (True, False)
    assert (within(partly).holds, within(partly).reached) == (True, True)
