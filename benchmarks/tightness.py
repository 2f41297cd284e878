"""How close honest programs come to the rounding error that is allowed to them.

python benchmarks/tightness.py [EXAMPLES] > docs/bounds.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from seqlaws.catalogue import load_lessons, load_subject, subject_names
from seqlaws.formats import DTYPES, FORMATS, Array
from seqlaws.run import Run
from seqlaws.subject import Claims


@dataclass
class Tightness:
    """The errors of honest variants as fractions of their bounds, over many sub-cases."""

    subject: str
    dtype: str
    cases: int = 0
    ratios: list[Array] = field(default_factory=list)

    @property
    def all(self) -> Array:
        """Every ratio."""
        return np.concatenate(self.ratios)

    def line(self) -> str:
        """A row of the table."""
        ratios = self.all
        quantiles = np.quantile(ratios, [0.5, 0.99])
        return (
            f"| {self.subject} | {self.dtype} | {self.cases:,} | {ratios.size:,} | {int((ratios > 1).sum())} "
            f"| {ratios.max():.3f} | {quantiles[1]:.2g} | {quantiles[0]:.2g} |"
        )


def by_claims(runs: list[Run]) -> list[tuple[Claims, list[Run]]]:
    """Programs that claim the same, together: the exact value and the cases depend on nothing else."""
    groups: list[tuple[Claims, list[Run]]] = []
    for run in runs:
        claims = run.implementation.claims
        alike = next((members for others, members in groups if others == claims), None)
        if alike is None:
            groups.append((claims, [run]))
        else:
            alike.append(run)
    return groups


def ratios(value: Array, reference: Array, bound: Array) -> Array:
    """Errors as fractions of their bounds, where reference and bound are finite; NaN is as far off as can be."""
    with np.errstate(all="ignore"):
        error = np.abs(value - reference)
        found = np.where(error == 0, 0.0, np.where(np.isnan(error), np.inf, error / bound))
    return found[np.isfinite(bound) & np.isfinite(reference)].astype(np.float64)


def measure(subject: str, dtype: str, examples: int = 100) -> Tightness:
    """Judge every honest variant of a subject on the traps and on drawn cases."""
    format, cases = FORMATS[dtype], load_subject(subject).cases
    honest = [each.implementation for each in load_lessons(subject) if each.honest]
    runs = [Run(each, "cpu", dtype) for each in honest if dtype in each.dtypes]
    found = Tightness(subject, dtype)

    def add(case: Any, alike: list[Run]) -> None:
        x = case.inputs(format)
        with np.errstate(all="ignore"):
            # where the result may have any dtype, each has the bound of its own; else one evaluation serves all
            shared = alike[0].subject.exact(x, alike[0].dialect) if alike[0].subject.takes == "arrays" else None
            for run in alike:
                run.begin()
                out = run(x)
                reference, bound = shared or (out.reference, out.bound)
                found.ratios.append(ratios(out.value, reference, bound))
        found.cases += x.rows

    for claims, alike in by_claims(runs):
        for case in cases.always(claims):
            add(case, alike)
        _drawn(cases.strategy(claims), examples, partial(add, alike=alike))
    return found


def _drawn(strategy: Any, examples: int, add: Callable[[Any], None]) -> None:
    """Some drawn cases, the same every time."""
    from hypothesis import HealthCheck, given, seed, settings

    @seed(0)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(case: Any) -> None:
        add(case)

    draw()


def main(examples: int = 100) -> None:
    """Print the page."""
    torch.set_num_threads(1)
    print("# Error bounds, measured\n")
    print("The error of every honest variant, as a fraction of the bound derived for the very same numbers")
    print("(`reference/`). A ratio above 1 would be a false alarm. In half types the last rounding is a large part")
    print("of the bound; in float32 and float64 it pays for any order of summation. The bounds of")
    print("encoder blocks (here) and of the gradients of multi-head attention (in their test) are simulated")
    print("(`reference/monte_carlo.py`): twelve times the spread that random roundings")
    print("cause, infinite where roundings could lose a row.\n")
    print(f"Made by `python benchmarks/tightness.py`, torch {torch.__version__}, NumPy {np.__version__}, CPU.\n")
    print("| subject | dtype | sub-cases | outputs | violations | largest | 99 % | median |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    largest: dict[str, float] = {}
    for subject in (name for name in subject_names() if load_subject(name).exact):
        for dtype in DTYPES:
            found = measure(subject, dtype, examples)
            print(found.line(), flush=True)
            largest[dtype] = max(largest.get(dtype, 0.0), float(found.all.max()))
    print(f"\nThe largest of all: {', '.join(f'{ratio:.3f} in {dtype}' for dtype, ratio in largest.items())}.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
