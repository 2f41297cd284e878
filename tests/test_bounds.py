"""No honest program ever exceeds the error allowed to it, on thousands of random and adversarial sub-cases."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from seqlaws.catalogue import load_subject, subject_names
from seqlaws.formats import DTYPES

MEASURE = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "tightness.py"))["measure"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("subject", [name for name in subject_names() if load_subject(name).exact])
def test_honest_programs_stay_within_their_bounds(subject: str, dtype: str) -> None:
    found = MEASURE(subject, dtype, examples=200)
    print(found.line())
    assert found.cases >= 2000
    assert found.all.max() <= 1.0
