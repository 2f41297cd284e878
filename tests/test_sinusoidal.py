"""The reference of sinusoidal encoding: facts that are known otherwise."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch import Tensor

import seqlaws
from seqlaws import Implementation
from seqlaws.formats import DTYPES, FORMATS
from seqlaws.reference.angles import rates
from seqlaws.reference.sinusoidal import bound, channels, sinusoidal
from seqlaws.spec.positions import PLACES
from seqlaws.spec.sinusoidal import TRAPS, SinusoidalCase


def test_the_codes_of_width_four_by_hand() -> None:
    found = sinusoidal(np.array([0.0, 1.0, 50.0]), 4)
    np.testing.assert_allclose(found[0], [0, 1, 0, 1])
    np.testing.assert_allclose(found[1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)], rtol=1e-15)
    np.testing.assert_allclose(found[2, 2:], [math.sin(0.5), math.cos(0.5)], rtol=1e-15)


def test_an_odd_width_ends_with_a_sine() -> None:
    found = sinusoidal(np.array([0.0, 3.0]), 3)
    np.testing.assert_allclose(found[1], [math.sin(3), math.cos(3), math.sin(3 * 10_000.0 ** (-2 / 3))], rtol=1e-14)
    np.testing.assert_array_equal(found[0], [0, 1, 0])


@pytest.mark.parametrize(("layout", "sines"), [("interleaved", [0, 2, 4]), ("halves", [0, 1, 2])])
def test_channels_are_those_of_the_layout(layout: str, sines: list[int]) -> None:
    found, others = channels(6, layout)
    assert found.tolist() == sines
    assert sorted([*found, *others]) == list(range(6))


def test_rates_in_long_double_agree_with_thirty_decimal_digits() -> None:
    with localcontext() as context:
        context.prec = 30
        due = [np.longdouble(str((-Decimal(2 * i) / 10 * Decimal(10_000).ln()).exp())) for i in range(5)]
    np.testing.assert_allclose(rates(10, 10_000.0, np.longdouble), due, rtol=3e-19)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_are_small_at_the_start_and_grow_with_the_position(dtype: str) -> None:
    format = FORMATS[dtype]
    near, far = (
        bound(np.array([p]).astype(format.wide), 16, "interleaved", "full", format).max() for p in (1, 1_000_000)
    )
    assert near < 10 * format.unit
    assert near < far < 1e7 * format.accumulator + 10 * format.unit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("places", [*PLACES, "far"])
def test_cases_are_reproducible_and_positions_are_integers(dtype: str, places: str) -> None:
    case = SinusoidalCase(2, 5, 8, places, seed=17)
    one, again = case.inputs(FORMATS[dtype]).positions, case.inputs(FORMATS[dtype]).positions
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.int64
    assert 0 <= one.min() <= one.max() <= 1_000_000


def test_traps_hold_one_and_equal_sizes_and_both_ranks() -> None:
    assert {case.rows is None for case in TRAPS} == {True, False}
    assert any(case.length == 1 for case in TRAPS)
    assert any(case.rows == case.length == case.width for case in TRAPS)


def test_the_other_layout_is_diagnosed_by_name() -> None:
    def sines_first(positions: Tensor, d_model: int) -> Tensor:
        theta = positions.float().unsqueeze(-1) * 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)
        return torch.cat([theta.sin(), theta.cos()], -1)

    mine = Implementation(name="mine", subject="sinusoidal", call=sines_first, dtypes=("float32",))
    (broken,) = seqlaws.check(mine, profile="quick").broken
    assert broken.law == "sinusoidal.starts_with_zeros_and_ones"
    assert "layout='halves'" in broken.card


def test_a_table_that_refuses_fractions_is_not_accused_of_it() -> None:
    def rows(positions: Tensor, d_model: int) -> Tensor:
        count = int(positions.max()) + 1 if positions.numel() else 0
        theta = torch.arange(count).unsqueeze(-1) * 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)
        return torch.stack([theta.sin(), theta.cos()], -1).flatten(-2)[positions]

    claims = {"batched", "fractional"}
    mine = Implementation(name="mine", subject="sinusoidal", call=rows, can=claims, dtypes=("float32",))
    report = seqlaws.check(mine, profile="quick")
    assert report.broken == []
    assert [each.law for each in report.results if each.status == "vacuous"] == [
        "sinusoidal.reads_positions_between_integers"
    ]


def test_codes_may_come_in_any_floating_dtype_but_not_as_integers() -> None:
    def truncated(positions: Tensor, d_model: int) -> Tensor:
        return torch.zeros(*positions.shape, d_model, dtype=torch.int64)

    mine = Implementation(name="mine", subject="sinusoidal", call=truncated, dtypes=("float32",))
    (broken,) = seqlaws.check(mine, profile="quick").broken
    assert broken.law == "sinusoidal.answers_in_kind"
