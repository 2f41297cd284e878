"""Sub-cases per second: many rows in a case against the same laws drawing one row at a time.

python benchmarks/throughput.py [SUBJECT]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from seqlaws.implementation import Implementation
from seqlaws.judge import judge_laws
from seqlaws.law import Law
from seqlaws.subject import Cases, Claims
from seqlaws.targets import resolve

TARGETS = {
    "softmax": "torch.softmax",
    "attention": "torch.nn.functional.scaled_dot_product_attention.math",
    "multihead": "torch.nn.MultiheadAttention",
}
# laws that hold by looking at several rows, or that sweep sizes within one case, say nothing about one row
ROWS = {"softmax": lambda case: replace(case, shape=_one_row(case)), "attention": lambda case: replace(case, batch=1),
        "multihead": lambda case: replace(case, batch=1)}  # fmt: skip


def _one_row(case: Any) -> tuple[int, ...]:
    return tuple(size if axis == case.dim % len(case.shape) else 1 for axis, size in enumerate(case.shape))


def one_at_a_time(law: Law) -> Law:
    """The same law on cases of a single row."""
    shrink = ROWS[law.subject]

    def always(claims: Claims) -> Iterable[Any]:
        return dict.fromkeys(shrink(case) for case in law.cases.always(claims))

    return replace(law, cases=Cases(always, lambda claims: law.cases.strategy(claims).map(shrink)))


def rate(implementation: Implementation, laws: list[Law]) -> tuple[int, float]:
    """Sub-cases judged, and the seconds that took."""
    start = time.perf_counter()
    results = list(judge_laws(implementation, "cpu", "float32", laws, profile="default", seed=0))
    return sum(result.cases for result in results), time.perf_counter() - start


def main(subjects: list[str]) -> None:
    """Print the rates and their ratio."""
    torch.set_num_threads(1)
    for subject in subjects or list(TARGETS):
        implementation = resolve(TARGETS[subject])[0]
        laws = implementation.definition.laws
        rate(implementation, laws[:5])
        (many, in_many), (few, in_few) = rate(implementation, laws), rate(implementation, [*map(one_at_a_time, laws)])
        fast, slow = many / in_many, few / in_few
        print(
            f"{subject}: {fast:,.0f} sub-cases/s against {slow:,.0f}/s one at a time: {fast / slow:.1f} times as many"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
