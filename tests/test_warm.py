"""What is drawn depends on the seed alone, and not on the modules that happen to be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import mine
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from seqlaws.catalogue import load_laws
from seqlaws.trial import settled
from seqlaws.warm import one_thread

with one_thread():
    import another
    drawn = []
    from hypothesis import given
    test = given(st.lists(st.integers(), min_size=200))(lambda numbers: drawn.append(numbers))
    settled(test, load_laws("softmax")[0], 3, 0)()
    print(len(drawn), *sorted(providers._local_constants.integers))
"""


def test_constants_that_stand_in_modules_are_not_drawn(tmp_path: Path) -> None:
    for name in ("mine", "another"):
        (tmp_path / f"{name}.py").write_text("BLOCK_KEYS = 918_273\n")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (found.stdout, found.stderr) == ("3\n", "")
