"""The reference of attention: facts that are known otherwise, and gradients against directional differences."""

from __future__ import annotations

import numpy as np
import pytest

from seqlaws.formats import FORMATS, Array
from seqlaws.inputs import Inputs
from seqlaws.reference.attention import Attention, attend, bound, evaluate, gradients, mask_gradient, visibility
from seqlaws.spec.attention import TRAPS, AttentionCase

ONE = np.ones((1, 1, 1, 1))


def test_one_key_gives_its_value() -> None:
    assert attend(ONE, ONE, 7 * ONE) == 7.0


def test_two_equal_keys_give_the_mean() -> None:
    values = np.array([[[[1.0], [3.0]]]])
    assert attend(ONE, np.ones((1, 1, 2, 1)), values) == 2.0


def test_a_gap_of_log_three_gives_three_quarters() -> None:
    keys = np.array([[[[np.log(3.0)], [0.0]]]])
    np.testing.assert_allclose(attend(ONE, keys, np.array([[[[1.0], [0.0]]]])), 0.75, rtol=1e-15)


@pytest.mark.parametrize(("empty_row", "value"), [("zeros", 0.0), ("nan", np.nan), ("mean", 2.0)])
def test_a_row_without_keys_follows_the_dialect(empty_row: str, value: float) -> None:
    values, nothing = np.array([[[[1.0], [3.0]]]]), np.zeros((1, 1, 1, 2), dtype=bool)
    got = attend(ONE, np.ones((1, 1, 2, 1)), values, mask=nothing, empty_row=empty_row)
    np.testing.assert_array_equal(got, np.full((1, 1, 1, 1), value))


def test_causality_is_aligned_to_either_corner() -> None:
    assert visibility(2, 3, None, True).tolist() == [[True, False, False], [True, True, False]]
    assert visibility(2, 3, None, True, "bottom_right").tolist() == [[True, True, False], [True, True, True]]
    assert visibility(3, 2, None, True, "bottom_right").tolist() == [[False, False], [True, False], [True, True]]


def test_query_head_h_reads_key_head_h_over_group() -> None:
    keys = np.zeros((1, 2, 1, 1))
    values = np.array([[[[1.0]], [[2.0]]]])
    assert attend(np.zeros((1, 4, 1, 1)), keys, values).reshape(-1).tolist() == [1.0, 1.0, 2.0, 2.0]


def test_no_keys_at_all_give_zeros() -> None:
    assert attend(ONE, np.ones((1, 1, 0, 1)), np.ones((1, 1, 0, 5))).tolist() == [[[[0.0] * 5]]]


def _evaluated(x: Inputs) -> Attention:
    wide = [array.astype(np.longdouble) for array in (x.q, x.k, x.v)]
    mask = x.mask if x.mask is None or x.mask.dtype == bool else x.mask.astype(np.longdouble)
    return evaluate(*wide, mask=mask, is_causal=x.causal, scale=x.scale)


def _dot(one: Array, other: Array) -> float:
    return float((one * other).sum())


@pytest.mark.parametrize("case", [case for case in TRAPS if case.q_len * case.kv_len < 100], ids=str)
def test_gradients_are_directional_differences(case: AttentionCase) -> None:
    x = case.inputs(FORMATS["float64"])
    x = x.take("B", np.arange(min(7, x.size("B"))))
    x = x.but(q=np.clip(x.q, -3, 3))
    cotangent = x.rng("cotangent").standard_normal((*x.q.shape[:3], x.size("V"))).astype(np.longdouble)
    exact, step = gradients(_evaluated(x), cotangent), 2.0**-24
    names = ["q", "k", "v"] + (["mask"] if x.mask is not None and x.mask.dtype != bool else [])
    for name in names:
        array = getattr(x, name)
        direction = np.where(np.isfinite(array), np.sign(x.rng(name).standard_normal(array.shape)), 0.0)
        ahead, behind = (
            _dot(_evaluated(x.but(**{name: array + sign * step * direction})).out, cotangent) for sign in (1, -1)
        )
        found = mask_gradient(exact.scores, x.mask) if name == "mask" else getattr(exact, name)
        slope, due = (ahead - behind) / (2 * step), _dot(found, direction)
        assert slope == pytest.approx(due, rel=1e-6, abs=1e-6 * float(np.abs(found).sum()))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_bound_is_finite_wherever_scores_are_moderate(dtype: str) -> None:
    x = AttentionCase(7, 2, 2, 5, 33, 8, 3, fill="normal").inputs(FORMATS[dtype])
    done = _evaluated(x)
    error = bound(done, x.format)
    assert np.isfinite(error).all()
    assert (error < 300 * x.format.unit * (1 + np.abs(x.v).max())).all()
