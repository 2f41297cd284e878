"""Time to a verdict: whole processes, imports included; the median of some runs.

python benchmarks/verdicts.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

MATH = "torch.nn.functional.scaled_dot_product_attention.math"
SEQLAWS = (sys.executable, "-m", "seqlaws.cli")
COMMANDS = {
    "seqlaws --help": (*SEQLAWS, "--help"),
    "seqlaws laws": (*SEQLAWS, "laws"),
    "import torch": (sys.executable, "-c", "import torch"),
    "attention, float32, quick": (*SEQLAWS, "check", MATH, "--dtype", "float32", "--profile", "quick"),
    "attention, float32, default": (*SEQLAWS, "check", MATH, "--dtype", "float32"),
    "softmax, float32, default": (*SEQLAWS, "check", "torch.softmax", "--dtype", "float32"),
    "multihead, float32, default": (*SEQLAWS, "check", "torch.nn.MultiheadAttention", "--dtype", "float32"),
    "an easy lesson, first broken law": (
        *SEQLAWS,
        "check",
        "lesson:attention.forgets_the_scale",
        "--dtype",
        "float32",
        "-x",
    ),
}


def seconds(command: tuple[str, ...]) -> float:
    """How long a command takes, its output thrown away."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def main(runs: int = 5) -> None:
    """Print a line for every command."""
    for name, command in COMMANDS.items():
        taken = [seconds(command) for _ in range(runs)]
        print(f"{name:34} {statistics.median(taken):6.2f} s   ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
