"""The reference of multi-head attention: known facts, directional differences, and bounds of gradients, measured."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from seqlaws.catalogue import load_lessons
from seqlaws.formats import DTYPES, FORMATS, Array
from seqlaws.inputs import Inputs
from seqlaws.reference.attention import attend
from seqlaws.reference.multihead import merge, mha, split
from seqlaws.run import Run
from seqlaws.spec.multihead import multihead
from seqlaws.spec.multihead.drawing import TRAPS, MultiheadCase, cases

DEFAULTS = {key: values[0] for key, values in multihead.dialects.items()}


def _weights(size: int, **changes: Array) -> SimpleNamespace:
    """Identity matrices and no biases, with some of them replaced."""
    matrices = {name: np.eye(size) for name in ("W_q", "W_k", "W_v", "W_o")}
    biases = {name: np.zeros(size) for name in ("b_q", "b_k", "b_v", "b_o")}
    return SimpleNamespace(**{**matrices, **biases, **changes})


def _tokens(*shape: int) -> Array:
    return np.random.default_rng(list(shape)).standard_normal(shape)


def test_heads_are_blocks_of_columns() -> None:
    x = np.arange(12.0).reshape(1, 2, 6)
    assert split(x, 3)[0, 1].tolist() == [[2.0, 3.0], [8.0, 9.0]]
    assert np.array_equal(merge(split(x, 3)), x)


def test_one_head_without_projections_is_attention() -> None:
    x = _tokens(2, 5, 3)
    due = attend(x[:, None], x[:, None], x[:, None])[:, 0]
    np.testing.assert_array_equal(mha(x, x, x, _weights(3), num_heads=1), due)


def test_each_head_attends_to_its_own_columns() -> None:
    x = _tokens(2, 5, 6)
    halves = [attend(part, part, part)[:, 0] for part in (x[:, None, :, :3], x[:, None, :, 3:])]
    np.testing.assert_allclose(mha(x, x, x, _weights(6), num_heads=2), np.concatenate(halves, axis=-1), rtol=1e-14)


def test_one_token_gives_its_projected_value() -> None:
    w = _weights(2, W_v=np.array([[1.0, 2.0], [3.0, 4.0]]), b_v=np.array([10.0, 20.0]), W_o=2 * np.eye(2))
    token = np.array([[[1.0, -1.0]]])
    assert mha(token, token, token, w, num_heads=2).tolist() == [[[18.0, 38.0]]]


@pytest.mark.parametrize(("empty_row", "due"), [("zeros", 5.0), ("nan", np.nan), ("mean", 7.0)])
def test_a_row_without_keys_follows_the_dialect(empty_row: str, due: float) -> None:
    memory, nothing = np.array([[[1.0], [3.0]]]), np.zeros((1, 2), dtype=bool)
    w = _weights(1, b_o=np.array([5.0]))
    out = mha(np.ones((1, 1, 1)), memory, memory, w, num_heads=1, mask=nothing, empty_row=empty_row)
    np.testing.assert_array_equal(out, [[[due]]])


def test_no_keys_at_all_give_the_output_bias() -> None:
    w = _weights(2, b_o=np.array([5.0, 6.0]))
    none = np.zeros((1, 0, 2))
    assert mha(np.ones((1, 1, 2)), none, none, w, num_heads=2, empty_row="nan").tolist() == [[[5.0, 6.0]]]


def _slope(x: Inputs, name: str, direction: Array, cotangent: Array) -> float:
    """The directional difference of ⟨out, cotangent⟩, in long double."""
    step = 2.0**-24
    ahead, behind = (
        (multihead.exact(x.but(**{name: getattr(x, name) + sign * step * direction}), DEFAULTS)[0] * cotangent).sum()
        for sign in (1, -1)
    )
    return float((ahead - behind) / (2 * step))


@pytest.mark.parametrize("case", TRAPS, ids=str)
def test_gradients_are_directional_differences(case: MultiheadCase) -> None:
    x = replace(case, batch=min(case.batch, 4), fill="normal").inputs(FORMATS["float64"])
    cotangent = x.rng("cotangent").standard_normal(x.query.shape)
    found = multihead.exact_gradient(x, cotangent, DEFAULTS)
    for name in [name for name in (*multihead.differentiable, "mask") if name in found]:
        array = getattr(x, name)
        direction = np.where(np.isfinite(array), np.sign(x.rng(name).standard_normal(array.shape)), 0.0)
        slope, due = _slope(x, name, direction, cotangent), float((found[name][0] * direction).sum())
        # a key bias has no slope at all: what is left is the rounding of the step
        assert slope == pytest.approx(due, rel=1e-6, abs=1e-6 * (1 + float(np.abs(found[name][0]).sum())))


@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_gradients_stay_within_their_bounds(dtype: str) -> None:
    from hypothesis import HealthCheck, given, seed, settings

    honest = [each.implementation for each in load_lessons("multihead") if each.honest]
    runs = [Run(each, "cpu", dtype) for each in honest if dtype in each.dtypes]
    drawn = cases()
    ratios: list[Array] = []
    rows = 0

    def add(case: MultiheadCase) -> None:
        nonlocal rows
        x = case.inputs(FORMATS[dtype])
        rows += x.rows
        of = tuple(name for name in multihead.differentiable if getattr(x, name) is not None)
        cotangent = x.noise("cotangent", x.query.shape)
        with np.errstate(all="ignore"):
            exact = multihead.exact_gradient(x, cotangent, DEFAULTS)
            for run in runs:
                for name, output in run.gradient(x, cotangent, of).items():
                    error = np.abs(output.value - exact[name][0])
                    ratios.append(np.where(error > 0, error / exact[name][1], 0.0).reshape(-1).astype(np.float64))

    @seed(0)
    @settings(max_examples=60, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn.strategy(runs[0].implementation.claims))
    def draw(case: MultiheadCase) -> None:
        add(case)

    for case in drawn.always(runs[0].implementation.claims):
        add(case)
    draw()
    found = np.concatenate(ratios)
    quantiles = ", ".join(f"{value:.2g}" for value in np.quantile(found, [0.99, 0.5]))
    print(f"{dtype}: {rows} sub-cases, {found.size} numbers; largest {found.max():.3f}, 99 % and 50 %: {quantiles}")
    assert rows >= 2000
    assert found.max() <= 1.0
