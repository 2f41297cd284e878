"""The encoder block: facts that are known otherwise, gradients against differences, and bounds that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from seqlaws.catalogue import load_lessons
from seqlaws.formats import DTYPES, FORMATS, Array
from seqlaws.implementation import Implementation
from seqlaws.inputs import Inputs
from seqlaws.reference.encoder import gradients
from seqlaws.reference.norm import norm
from seqlaws.run import Run
from seqlaws.spec.encoder import _evaluated, encoder, zeroed
from seqlaws.spec.encoder.drawing import TRAPS, WEIGHTS, EncoderCase, cases

HONEST = [each.implementation for each in load_lessons("encoder") if each.honest]
DEFAULTS = {"empty_row": "zeros"}


def _value(x: Inputs) -> Array:
    return encoder.exact(x, DEFAULTS)[0]


@pytest.mark.parametrize("norm_first", [False, True])
def test_without_sublayers_only_the_norms_are_left(norm_first: bool) -> None:
    x = zeroed(replace(TRAPS[0], norm_first=norm_first).inputs(FORMATS["float32"]), "W_o", "b_o", "W_2", "b_2")
    due = x.x if norm_first else norm(norm(x.x, x.g_1, x.s_1, 1e-5), x.g_2, x.s_2, 1e-5)
    np.testing.assert_allclose(_value(x), due, rtol=1e-14, atol=1e-14)


def test_a_single_token_passes_its_value_through_attention() -> None:
    x = zeroed(EncoderCase(1, 1, 2, 1, 3, True, seed=1).inputs(FORMATS["float64"]), "W_2", "b_2")
    tokens = norm(x.x, x.g_1, x.s_1, 1e-5)
    due = x.x + (tokens @ x.W_v.T + x.b_v) @ x.W_o.T + x.b_o
    np.testing.assert_allclose(_value(x).astype(np.float64), due, rtol=1e-13)


@pytest.mark.parametrize("case", [case for case in TRAPS if case.length < 20], ids=str)
def test_gradients_are_directional_differences(case: EncoderCase) -> None:
    x = replace(case, batch=min(case.batch, 4), fill="normal").inputs(FORMATS["float64"])
    cotangent, step = x.rng("cotangent").standard_normal(x.x.shape), 2.0**-24
    found = gradients(_evaluated(x, DEFAULTS), cotangent)
    for name in ("x", *WEIGHTS):
        direction = np.sign(x.rng(name).standard_normal(getattr(x, name).shape))
        ahead, behind = (
            (_value(x.but(**{name: getattr(x, name) + sign * step * direction})) * cotangent).sum() for sign in (1, -1)
        )
        due = float((found[name] * direction).sum())
        # a key bias has no slope at all: what is left is the rounding of the step
        assert float((ahead - behind) / (2 * step)) == pytest.approx(
            due, rel=1e-6, abs=1e-6 * (1 + float(np.abs(found[name]).sum()))
        )


def _ratios(each: Implementation, dtype: str, x: Inputs) -> Iterator[float]:
    """The errors of the output and of the gradients, as fractions of their bounds."""
    run = Run(each, "cpu", dtype)
    cotangent = x.noise("cotangent", x.x.shape)
    with np.errstate(all="ignore"):
        exact = encoder.exact_gradient(x, cotangent, run.dialect)
        pairs = [(run(x).value, *encoder.exact(x, run.dialect))]
        pairs += [(got.value, *exact[name]) for name, got in run.gradient(x, cotangent, ("x", *WEIGHTS)).items()]
        for value, due, bound in pairs:
            error = np.abs(value - due)
            yield float((error[error > 0] / bound[error > 0]).max(initial=0.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_programs_stay_within_their_bounds(dtype: str) -> None:
    from hypothesis import HealthCheck, given, seed, settings

    drawn, largest, rows = cases(), 0.0, 0
    honest = [each for each in HONEST if dtype in each.dtypes]

    def add(case: EncoderCase) -> None:
        nonlocal largest, rows
        x = case.inputs(FORMATS[dtype])
        for each in honest:
            rows += x.rows
            worst = max(_ratios(each, dtype, x))
            assert worst <= 1.0, (each.name, case)
            largest = max(largest, worst)

    @seed(0)
    @settings(max_examples=30, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn.strategy(honest[0].claims))
    def draw(case: EncoderCase) -> None:
        add(case)

    for case in drawn.always(honest[0].claims):
        add(case)
    draw()
    print(f"{dtype}: {rows} sub-cases, largest error as a fraction of its bound {largest:.3f}")
    assert rows >= 1000


@pytest.mark.parametrize("norm_first", [False, True])
def test_bounds_are_small_enough_to_mean_something_in_float32(norm_first: bool) -> None:
    value, bound = encoder.exact(
        replace(TRAPS[0], norm_first=norm_first, fill="normal").inputs(FORMATS["float32"]), DEFAULTS
    )
    assert np.median(bound / np.abs(value).max()) < 1e-2
