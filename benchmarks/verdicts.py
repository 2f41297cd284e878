"""Time to a verdict: whole processes, imports included; the median of some runs.

python benchmarks/verdicts.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

SEQLAWS = (sys.executable, "-m", "seqlaws.cli")
MATH = "torch.nn.functional.scaled_dot_product_attention.math"
TARGETS = {
    "softmax": "torch.softmax",
    "attention": MATH,
    "multihead": "torch.nn.MultiheadAttention",
    "rnn": "torch.nn.RNN",
    "lstm": "torch.nn.LSTM",
    "gru": "torch.nn.GRU",
    "sinusoidal": "torch.sinusoidal",
    "rotary": "torch.rotary",
    "alibi": "torch.alibi",
    "norm": "torch.nn.LayerNorm",
    "encoder": "torch.nn.TransformerEncoderLayer",
    "seq2seq": "torch.nn.Transformer",
    "embedding": "torch.nn.Embedding",
    "tokens": "python.utf8",
}
COMMANDS = {
    "seqlaws --help": (*SEQLAWS, "--help"),
    "seqlaws laws": (*SEQLAWS, "laws"),
    "import torch": (sys.executable, "-c", "import torch"),
    "attention, float32, quick": (*SEQLAWS, "check", MATH, "--dtype", "float32", "--profile", "quick"),
    "an easy lesson, first broken law": (
        *SEQLAWS, "check", "lesson:attention.forgets_the_scale", "--dtype", "float32", "-x",
    ),
    **{
        f"{subject}, float32, default": (*SEQLAWS, "check", target, "--dtype", "float32")
        for subject, target in TARGETS.items()
    },
}  # fmt: skip


def seconds(command: tuple[str, ...]) -> float:
    """How long a command takes, its output thrown away. Raises SystemExit if it came to no verdict."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    taken = time.perf_counter() - start
    if done.returncode not in (0, 1):  # nothing is broken, or a law is
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}")
    return taken


def main(runs: int = 3) -> None:
    """Print a line for every command."""
    for name, command in COMMANDS.items():
        taken = [seconds(command) for _ in range(runs)]
        print(f"| {name} | {statistics.median(taken):.2f} | {min(taken):.2f} to {max(taken):.2f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
