"""No honest program ever exceeds the error allowed to it, on thousands of random and adversarial sub-cases."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from seqlaws.catalogue import load_subject, subject_names
from seqlaws.formats import DTYPES

TIGHTNESS = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "tightness.py"))
MEASURE, RATIOS = TIGHTNESS["measure"], TIGHTNESS["ratios"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("subject", [name for name in subject_names() if load_subject(name).exact])
def test_honest_programs_stay_within_their_bounds(subject: str, dtype: str) -> None:
    found = MEASURE(subject, dtype, examples=200)
    print(found.line())
    assert found.cases >= 2000
    assert found.all.max() <= 1.0


def test_nan_and_infinity_are_no_perfect_answers() -> None:
    value, inf = np.array([1.0, 1.5, np.nan, np.inf, 0.0, 2.0]), np.inf
    bound = np.array([0.0, 1.0, 1.0, 1.0, inf, 0.0])
    assert RATIOS(value, np.ones(6), bound).tolist() == [0.0, 0.5, inf, inf, inf]
