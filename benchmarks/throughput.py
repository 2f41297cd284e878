"""Sub-cases per second: many rows in a case against the same laws drawing one row at a time.

A case of ALiBi is a table and one of a tokenizer a text: these have no rows.

python benchmarks/throughput.py [SUBJECT]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from verdicts import TARGETS as SUBJECT_TARGETS

from seqlaws.implementation import Implementation
from seqlaws.judge import judge_laws
from seqlaws.law import Law
from seqlaws.subject import Cases, Claims
from seqlaws.targets import resolve

TARGETS = {subject: target for subject, target in SUBJECT_TARGETS.items() if subject not in ("alibi", "tokens")}


def one_row(case: Any) -> Any:
    """The same case with a single sub-case: one batch entry, one row or one place."""
    if hasattr(case, "per_row"):
        return replace(case, batch=1, heads=1, length=1)
    if hasattr(case, "batch"):
        return replace(case, batch=1)
    if hasattr(case, "rows") and hasattr(case, "length"):
        return replace(case, rows=None, length=1)
    kept = (
        case.dim % len(case.shape) if hasattr(case, "dim") else None if hasattr(case, "rows") else len(case.shape) - 1
    )
    return replace(case, shape=tuple(size if axis == kept else 1 for axis, size in enumerate(case.shape)))


def one_at_a_time(law: Law) -> Law:
    """The same law on cases of a single row."""

    def always(claims: Claims) -> Iterable[Any]:
        return dict.fromkeys(one_row(case) for case in law.cases.always(claims))

    return replace(law, cases=Cases(always, lambda claims: law.cases.strategy(claims).map(one_row)))


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
        print(f"| {subject} | {fast:,.0f} | {slow:,.0f} | {fast / slow:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
