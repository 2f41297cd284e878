"""Conformance: every shipped implementation is judged by every law, and what it is known to break is shown to be so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import seqlaws
from seqlaws.implementation import Known
from seqlaws.targets import shipped

ROOT = Path(__file__).parents[1]
SHIPPED = shipped()
KNOWN = [entry for each in SHIPPED for entry in each.known.values() if isinstance(entry, Known)]
# some faults are those of one processor: where they are not, no dtype has them
SCRIPTS = sorted({entry.script for entry in KNOWN if entry.dtypes})

test_shipped = seqlaws.tests_for(SHIPPED)


def test_whatever_is_known_has_a_reason_a_case_and_a_script() -> None:
    entries = [entry for each in SHIPPED for entry in each.known.values()]
    assert all(isinstance(entry, Known) and entry.reason and entry.case and entry.script for entry in entries)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_at_most_20_lines_shows_what_is_known(script: str) -> None:
    path = ROOT / script
    code = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(code) <= 20
    assert "seqlaws" not in path.read_text()
    shown = subprocess.run([sys.executable, "-W", "ignore", path], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_every_script_is_somebodys() -> None:
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "known").glob("*.py")} == {
        entry.script for entry in KNOWN
    }
