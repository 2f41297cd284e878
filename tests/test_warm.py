"""What Hypothesis may draw depends on the modules of whoever is judged, and not on how seqlaws was installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import mine
from hypothesis.internal.conjecture import providers
from seqlaws import trial
from seqlaws.warm import one_thread

with one_thread():
    print(*sorted(providers._local_constants.integers))
"""


def test_constants_are_read_in_the_modules_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("BLOCK_KEYS = 918_273\n")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert found.stderr == ""
    assert found.stdout.split() == ["918273"]
