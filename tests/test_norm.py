"""Normalisation: facts that are known otherwise, gradients against differences, and bounds that are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqlaws.catalogue import load_lessons
from seqlaws.formats import DTYPES, FORMATS, Array
from seqlaws.implementation import Implementation
from seqlaws.reference.norm import norm
from seqlaws.run import Run
from seqlaws.spec.norm import FILLS, TRAPS, NormCase, gentle
from seqlaws.spec.norm import norm as subject

HONEST = [each.implementation for each in load_lessons("norm") if each.honest]
KINDS = ("layer", "rms", "rms_shifted")
ONE, NONE = np.ones(2), np.zeros(2)


def test_two_numbers_become_minus_one_and_one() -> None:
    np.testing.assert_allclose(norm(np.array([[3.0, 7.0]]), ONE, NONE, 0.0), [[-1.0, 1.0]])
    np.testing.assert_allclose(norm(np.array([[3.0, 4.0]]), ONE, NONE, 0.0, kind="rms") * np.sqrt(12.5), [[3.0, 4.0]])


def test_epsilon_is_a_part_of_the_variance() -> None:
    np.testing.assert_allclose(norm(np.array([[-1.0, 1.0]]), ONE, NONE, 3.0), [[-0.5, 0.5]])


def test_equal_channels_give_the_shift() -> None:
    shift = np.array([5.0, 6.0])
    assert norm(np.full((1, 2), 9.0), ONE, shift, 1e-5).tolist() == [[5.0, 6.0]]


def _direction(case: NormCase, kind: str) -> None:
    x = replace(case, fill="smooth", shifted=kind != "rms").inputs(FORMATS["float64"])
    dialect, step = {"kind": kind}, 2.0**-24
    cotangent = x.rng("cotangent").standard_normal(x.x.shape)
    found = subject.exact_gradient(x, cotangent, dialect)
    for name in subject.differentiable:
        direction = np.sign(x.rng(name).standard_normal(getattr(x, name).shape))
        ahead, behind = (
            (subject.exact(x.but(**{name: getattr(x, name) + sign * step * direction}), dialect)[0] * cotangent).sum()
            for sign in (1, -1)
        )
        due = float((found[name][0] * direction).sum())
        size = float(np.abs(found[name][0]).sum())
        assert float((ahead - behind) / (2 * step)) == pytest.approx(due, rel=1e-6, abs=1e-6 * (1 + size))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", TRAPS, ids=str)
def test_gradients_are_directional_differences(case: NormCase, kind: str) -> None:
    if case.shape[-1] > 1:  # a row of one number has a gradient of 0 times anything
        _direction(case, kind)


def _ratios(each: Implementation, dtype: str, case: NormCase) -> tuple[float, float]:
    """The largest error of the output and of the gradients, as fractions of their bounds."""
    run = Run(each, "cpu", dtype)
    x = replace(case, shifted=each.claims.dialect["kind"] != "rms").inputs(FORMATS[dtype])
    cotangent = x.noise("cotangent", x.x.shape)

    def worst(pairs: list[tuple[Array, Array, Array]]) -> float:
        return max(
            float(np.where(error > 0, error / bound, 0.0).max())
            for error, bound in ((np.abs(value - exact), bound) for value, exact, bound in pairs)
        )

    with np.errstate(all="ignore"):
        out = worst([(run(x).value, *subject.exact(x, run.dialect))])
        if case.fill == "loud":
            return out, 0.0
        x = gentle(x)  # the bound of the gradients presumes that 1/s³ is in range
        exact = subject.exact_gradient(x, cotangent, run.dialect)
        of = subject.differentiable if run.dialect["kind"] != "rms" else ("x", "gain")
        return out, worst([(got.value, *exact[name]) for name, got in run.gradient(x, cotangent, of).items()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_programs_stay_within_their_bounds(dtype: str) -> None:
    rng, largest, rows = np.random.default_rng(0), np.zeros(2), 0
    for seed in range(200):
        shape = (*rng.integers(1, 20, rng.integers(1, 3)), int(rng.choice([1, 2, 3, 5, 8, 17, 33, 65, 130, 300])))
        fill = str(rng.choice([*FILLS, "mixed", "loud", "offset", "smooth", "quiet", "slanted"]))
        case = NormCase(tuple(map(int, shape)), fill, float(rng.choice([1e-6, 1e-5, 1e-3, 0.25])), seed=seed)
        for each in HONEST:
            rows += int(np.prod(shape[:-1]))
            ratios = _ratios(each, dtype, case)
            assert max(ratios) <= 1.0, (each.name, case, ratios)
            largest = np.maximum(largest, ratios)
    print(f"{dtype}: {rows} rows, largest error of outputs and gradients {largest}")
    assert rows >= 2000
