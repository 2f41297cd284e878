"""The reference of softmax: facts that are known otherwise, and its gradient against directional differences."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from seqlaws.formats import DTYPES, FORMATS
from seqlaws.reference.softmax import (
    log_softmax,
    log_sum_exp,
    softmax,
    softmax_bound,
    softmax_gradient,
    softmax_gradient_bound,
)
from seqlaws.spec.softmax import FILLS, TRAPS, SoftmaxCase


def test_a_gap_of_log_three_gives_a_quarter_and_three_quarters() -> None:
    np.testing.assert_allclose(softmax(np.array([0.0, np.log(3.0)]), 0), [0.25, 0.75], rtol=1e-15)


def test_equal_entries_share_equally_and_one_entry_gets_all() -> None:
    assert softmax(np.full((2, 4), 7.0), 1).tolist() == [[0.25] * 4] * 2
    assert softmax(np.full((2, 4), 7.0), 0).tolist() == [[0.5] * 4] * 2
    assert softmax(np.array([-1e300]), 0).tolist() == [1.0]


def test_minus_infinity_gets_nothing_and_takes_nothing() -> None:
    assert softmax(np.array([0.0, -np.inf, 0.0]), 0).tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize(("empty_row", "value"), [("nan", np.nan), ("zeros", 0.0), ("mean", 0.5)])
def test_a_row_of_minus_infinity_follows_the_dialect(empty_row: str, value: float) -> None:
    x = np.array([[-np.inf, -np.inf], [0.0, 0.0]])
    np.testing.assert_array_equal(softmax(x, 1, empty_row=empty_row), [[value, value], [0.5, 0.5]])
    assert log_sum_exp(x, 1).tolist() == [[-np.inf], [np.log(2.0)]]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_nothing_gives_nothing(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    for format in FORMATS.values():
        assert softmax(x, -1).shape == softmax_bound(x, -1, format).shape == shape
        assert softmax_gradient(x, -1, x).shape == softmax_gradient_bound(x, -1, x, format).shape == shape


@pytest.mark.parametrize("fill", FILLS)
def test_long_double_agrees_with_fifty_decimal_digits(fill: str) -> None:
    x = SoftmaxCase((5, 7), 1, fill=fill, seed=11).inputs(FORMATS["float64"]).x
    found = log_softmax(x.astype(np.longdouble), 1)
    with localcontext() as context:
        context.prec = 50
        for row, logarithms in zip(x, found, strict=True):
            top = max(map(Decimal, row.tolist()))
            total = sum((Decimal(entry) - top).exp() for entry in row.tolist())
            due = [np.longdouble(str(Decimal(entry) - top - total.ln())) for entry in row.tolist()]
            np.testing.assert_allclose(logarithms, due, rtol=1e-18, atol=1e-18)


@pytest.mark.parametrize("case", [case for case in TRAPS if np.prod(case.shape) < 5000], ids=str)
def test_the_gradient_is_a_directional_difference(case: SoftmaxCase) -> None:
    x = SoftmaxCase(case.shape, case.dim, "normal", 0.2, case.seed).inputs(FORMATS["float64"])
    numbers, step = x.x.astype(np.longdouble), np.longdouble(2.0**-20)
    cotangent = x.rng("cotangent").standard_normal(x.x.shape).astype(np.longdouble)
    direction = np.sign(x.rng("direction").standard_normal(x.x.shape))
    ahead, behind = (
        (softmax(numbers + sign * step * direction, x.dim) * cotangent).sum(axis=x.dim) for sign in (1, -1)
    )
    due = (softmax_gradient(numbers, x.dim, cotangent) * direction).sum(axis=x.dim)
    np.testing.assert_allclose((ahead - behind) / (2 * step), due, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_stay_small_where_logits_are_moderate(dtype: str) -> None:
    x = SoftmaxCase((7, 33), 1, fill="normal", seed=3).inputs(FORMATS[dtype])
    wide, cotangent = x.x.astype(x.format.wide), np.ones(x.x.shape)
    assert softmax_bound(wide, 1, x.format).max() < 200 * x.format.unit
    assert softmax_gradient_bound(wide, 1, cotangent, x.format).max() < 2000 * x.format.unit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", [*FILLS, "mixed"])
def test_cases_are_reproducible_finite_and_keep_something_visible(dtype: str, fill: str) -> None:
    case = SoftmaxCase((5, 9, 3), 1, fill=fill, hidden=0.8, seed=17)
    x, again = case.inputs(FORMATS[dtype]).x, case.inputs(FORMATS[dtype]).x
    np.testing.assert_array_equal(x, again)
    assert not np.isnan(x).any()
    assert not np.isposinf(x).any()
    assert np.isfinite(x).any(axis=1).all()
    assert np.isneginf(x).any()
