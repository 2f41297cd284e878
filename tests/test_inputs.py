"""Inputs: rounding on entry, named axes, broadcast axes, and randomness that belongs to the case."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from seqlaws.formats import FORMATS
from seqlaws.inputs import Inputs


def inputs(mask_shape: tuple[int, ...] = (2, 1, 3), dtype: str = "float32") -> Inputs:
    arrays = {"x": np.arange(24.0).reshape(2, 4, 3) / 7, "mask": np.ones(mask_shape, dtype=bool), "bias": None}
    axes = {"x": "BQK", "mask": "BQK", "bias": "K"}
    return Inputs("softmax", FORMATS[dtype], arrays, {"dim": -1}, axes, seed=3, rows=2)


def test_numbers_are_rounded_on_entry_and_on_change() -> None:
    x = inputs(dtype="bfloat16")
    assert np.array_equal(x.x, FORMATS["bfloat16"].round(x.x))
    assert np.array_equal(x.but(x=x.x / 3).x, FORMATS["bfloat16"].round(x.x / 3))
    assert x.mask.dtype == bool


def test_taking_indices_leaves_broadcast_axes_alone() -> None:
    taken = inputs().take("Q", [2, 0])
    assert np.array_equal(taken.x, inputs().x[:, [2, 0]])
    assert taken.mask.shape == (2, 1, 3)
    assert (taken.size("Q"), taken.size("B"), taken.size("K")) == (2, 2, 3)


def test_joining_along_an_axis() -> None:
    x = inputs()
    assert x.join("K", x).x.shape == (2, 4, 6)
    assert x.join("Q", x).mask.shape == (2, 1, 3)


def test_an_axis_may_be_empty() -> None:
    assert inputs().take("K", []).size("K") == 0


def test_options_and_arrays_are_attributes_and_nothing_else_is() -> None:
    x = inputs()
    assert (x.dim, x.but(dim=0).dim, x.bias) == (-1, 0, None)
    with pytest.raises(AttributeError, match="have no 'y'"):
        _ = x.y
    with pytest.raises(AttributeError, match="have no 'y'"):
        x.but(y=1)


def test_axes_may_be_spelled_anew() -> None:
    x = inputs().spelled(bias="BK").but(bias=np.zeros((2, 3)))
    assert x.take("B", [0]).bias.shape == (1, 3)


def test_randomness_depends_on_case_and_purpose_alone() -> None:
    x = inputs()
    assert np.array_equal(x.noise("a", (3,)), x.but(x=-x.x).noise("a", (3,)))
    assert not np.array_equal(x.noise("a", (3,)), x.noise("b", (3,)))


@pytest.mark.parametrize("letter", "BQK")
def test_a_permutation_moves_everything(letter: str) -> None:
    moved = inputs().permutation(letter)
    assert sorted(moved) == list(range(len(moved)))
    assert not np.any(moved == np.arange(len(moved)))


def test_inputs_can_be_sent() -> None:
    again = pickle.loads(pickle.dumps(inputs()))
    assert np.array_equal(again.x, inputs().x)
