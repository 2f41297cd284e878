"""The reference of rotary encoding: facts that are known otherwise, and its gradient against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import seqlaws
from seqlaws import Implementation
from seqlaws.formats import DTYPES, FORMATS
from seqlaws.reference.rotary import Convention, bound, pairs, rotary
from seqlaws.spec.positions import PLACES
from seqlaws.spec.rotary import TRAPS, RotaryCase

WAYS = [Convention(pairing, rotated) for pairing in ("halves", "interleaved") for rotated in ("all", "half")]


def test_a_pair_at_position_one_turns_by_one_radian() -> None:
    x = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    found = rotary(x, np.array([1.0]), 10_000.0, Convention())
    np.testing.assert_allclose(found.ravel(), [math.cos(1), math.sin(1)], rtol=1e-15)


def test_the_second_of_two_pairs_turns_a_hundred_times_slower() -> None:
    x = np.array([0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)
    found = rotary(x, np.array([50.0]), 10_000.0, Convention()).ravel()
    np.testing.assert_allclose(found, [0, math.cos(0.5), 0, math.sin(0.5)], rtol=1e-15)


@pytest.mark.parametrize(
    ("way", "partners"),
    [
        (Convention(), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (Convention("interleaved"), [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (Convention("halves", "half"), [[0, 2], [1, 3]]),
        (Convention("interleaved", "quarter"), [[0, 1]]),
    ],
)
def test_pairs_are_those_of_the_convention(way: Convention, partners: list[list[int]]) -> None:
    assert np.transpose(pairs(8, way)).tolist() == partners


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_turning_back_undoes_turning_and_is_its_gradient(way: Convention) -> None:
    rng = np.random.default_rng(3)
    x, g = rng.standard_normal((2, 2, 3, 5, 8))
    positions = np.array([[0.0, 3, 100, 7, 1], [5, 4, 3, 2, 1e5]])
    there = rotary(x, positions, 10_000.0, way)
    np.testing.assert_allclose(rotary(there, positions, 10_000.0, way, turn=-1), x, rtol=0, atol=1e-14)
    back = rotary(g, positions, 10_000.0, way, turn=-1)
    np.testing.assert_allclose((there * g).sum(), (x * back).sum(), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_are_those_of_the_last_rounding_near_the_start_and_grow_with_the_position(dtype: str) -> None:
    format, x = FORMATS[dtype], np.ones((1, 1, 1, 8))
    near, far = (bound(x, np.array([p]), 10_000.0, Convention(precision="full"), format).max() for p in (1.0, 1e6))
    assert near < 20 * format.unit
    assert far > near
    assert far < 1.2e7 * format.accumulator + 20 * format.unit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("places", [*PLACES, "far"])
def test_cases_are_reproducible_and_positions_are_integers(dtype: str, places: str) -> None:
    case = RotaryCase(2, 3, 5, 8, places, True, seed=17)
    one, again = case.inputs(FORMATS[dtype]), case.inputs(FORMATS[dtype])
    np.testing.assert_array_equal(one.x, again.x)
    np.testing.assert_array_equal(one.positions, again.positions)
    assert one.positions.dtype == np.int64
    assert one.positions.min() >= 0
    assert np.isfinite(one.x).all()


def test_traps_hold_one_and_equal_sizes_and_both_kinds_of_positions() -> None:
    sizes = [(case.batch, case.heads, case.length, case.width) for case in TRAPS]
    assert (1, 1, 1, 2) in sizes
    assert (4, 4, 4, 4) in sizes
    assert {case.per_row for case in TRAPS} == {True, False}


def test_the_other_pairing_is_diagnosed_by_name() -> None:
    def neighbours(x: torch.Tensor, positions: torch.Tensor, base: float = 10_000.0) -> torch.Tensor:
        theta = positions.float().unsqueeze(-1) * base ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
        theta = theta.unsqueeze(1) if positions.dim() == 2 else theta
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * theta.cos() - b * theta.sin(), b * theta.cos() + a * theta.sin()], -1).flatten(-2)

    mine = Implementation(name="mine", subject="rotary", call=neighbours, dtypes=("float32",))
    (broken,) = seqlaws.check(mine, profile="quick").broken
    assert broken.law == "rotary.turns_pairs_of_channels"
    assert "pairing='interleaved'" in broken.card
