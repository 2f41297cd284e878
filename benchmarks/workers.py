"""pytest with two workers against one process: all laws of a target at the thorough profile, whole processes.

python benchmarks/workers.py [TARGET ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from verdicts import TARGETS

PYTEST = (sys.executable, "-m", "pytest", "-q", "--hypothesis-profile", "seqlaws-thorough")


def seconds(target: str, *options: str) -> float:
    """How long a run takes, in a folder of its own. Raises SystemExit if it came to no verdict."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            (*PYTEST, *options, "--implementation", target), cwd=folder, stdout=subprocess.DEVNULL, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if done.returncode not in (0, 1):  # all laws hold, or one is broken
        raise SystemExit(f"{target}: exit status {done.returncode}")
    return time.perf_counter() - start


def main(targets: list[str]) -> None:
    """Print both times and their ratio."""
    for target in targets or [TARGETS["softmax"], TARGETS["attention"], TARGETS["lstm"]]:
        alone, together = seconds(target, "-p", "no:xdist"), seconds(target, "-n", "2")
        print(f"| {target} | {alone:.1f} | {together:.1f} | {alone / together:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
