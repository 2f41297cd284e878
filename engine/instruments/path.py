"""Path length: how many operators lie between two positions, for every pair of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqlaws.errors import Misunderstood
from seqlaws.instruments.dependence import seen
from seqlaws.instruments.exactness import EXACT, Exactness, unknown, upper_bound
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.growth import LENGTHS, Growth
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.shadow import REACHED, UNMARKED, Shadow, unit
from seqlaws.instruments.transparent import transparent
from seqlaws.instruments.watch import doubts


@dataclass(frozen=True)
class PathLength:
    """The shortest path, in operators that compute, from each input position to each output position.

    ``lengths[t][i]`` is the path from the input at ``sources[i]`` to the output at t, None where the
    output does not depend on it. ``longest`` is the largest of them, Table 1's "maximum path length".
    ``unseen`` counts pairs that the operators connect and that were never seen to matter.
    """

    name: str
    length: int
    sources: tuple[int, ...]
    lengths: tuple[tuple[int | None, ...], ...]
    longest: int
    growth: Growth | None
    exactness: Exactness
    unseen: int = 0

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later input."""
        return all(
            found is None or source <= t
            for t, row in enumerate(self.lengths)
            for source, found in zip(self.sources, row, strict=True)
        )

    def depends(self, t: int, s: int) -> bool:
        """Whether the output at t depends on the input at s."""
        return self.lengths[t][self.sources.index(s)] is not None

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "quantity": "path length",
            "name": self.name,
            "length": self.length,
            "longest": self.longest,
            "growth": self.growth and self.growth.to_json(),
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
            "causal": self.causal,
            "sources": list(self.sources),
            "lengths": [list(row) for row in self.lengths],
        }

    def plot(self) -> Figure:
        """The longest path as the sequence grows."""
        growth = self.growth or Growth((self.length,), (self.longest,), "unclassified")
        series = Series(f"{self.name}, {growth.order}", growth.lengths, growth.values)
        return Figure(
            "Maximum path length between two positions", "sequence length n", "operators", (series,), True, True
        )

    def __str__(self) -> str:
        kind = "causal" if self.causal else "not causal"
        lines = [f"{self.name}: path length {self.longest} at n = {self.length}, {kind}", f"  {self.exactness}"]
        if self.growth:
            lines.insert(1, f"  {self.growth}")
        return "\n".join(lines)


def path_length(
    target: Target | Model,
    length: int = 64,
    *,
    sources: Sequence[int] | None = None,
    width: int | None = None,
    growth: bool = True,
    certify: bool = True,
) -> PathLength:
    """The path length of every pair of positions of a model [B, T, D] → [B, T, D'] at T = ``length``.

    Every operator that computes counts one; those that only move numbers count nothing. ``sources``
    limits the input positions, ``growth`` measures the lengths 2, 4, … up to ``length`` as well, and
    ``certify`` compares the pairs with those seen by perturbation and gradient.
    """
    model = Model.of(target, width)
    chosen = tuple(range(length)) if sources is None else tuple(sources)
    if length < 1 or not chosen or not all(0 <= source < length for source in chosen):
        raise Misunderstood(f"no sources, or some outside 0 … {length - 1}: {list(chosen)[:5]}")
    doubt = doubts(model, length)
    table, shadow, mixed = _distances(model, length, chosen)
    connected = table < REACHED
    longest = int(table[connected].max()) if connected.any() else 0
    grown = None
    whole = len(set(chosen)) == length
    if growth and length >= LENGTHS[0]:
        shown = [n for n in LENGTHS if n <= length]
        grown = Growth.of({n: longest if n == length and whole else _longest(model, n) for n in shown})
    missing, surplus = _certificate(model, connected, chosen) if certify and not mixed else (0, 0)
    return PathLength(
        name=model.name,
        length=length,
        sources=chosen,
        lengths=tuple(tuple(int(each) if each < REACHED else None for each in row) for row in table.tolist()),
        longest=longest,
        growth=grown,
        exactness=doubt or _exactness(shadow, mixed, missing, surplus),
        unseen=missing,
    )


def _longest(model: Model, length: int) -> int:
    table, _, _ = _distances(model, length, tuple(range(length)))
    connected = table < REACHED
    return int(table[connected].max()) if connected.any() else 0


@torch.no_grad()
def _distances(model: Model, length: int, sources: tuple[int, ...]) -> tuple[Tensor, Shadow, bool]:
    """The distances [T, sources], from one run on as many copies of the input as there are sources.

    Copy b marks one source; a last copy marks none. If a mark is found there, entries of the batch
    influence one another, and each source needs a run of its own.
    """
    marks = torch.full((len(sources) + 1, length, model.width), UNMARKED)
    for copy, source in enumerate(sources):
        marks[copy, source] = 0
    nearest, shadow = _run(model, marks)
    if bool((nearest[-1] >= REACHED).all()):
        return nearest[:-1].T, shadow, False
    columns = []
    for source in sources:
        marks = torch.full((2, length, model.width), UNMARKED)
        marks[:, source] = 0
        nearest, shadow = _run(model, marks)
        columns.append(nearest.amin(0))
    return torch.stack(columns, 1), shadow, True


def _run(model: Model, marks: Tensor) -> tuple[Tensor, Shadow]:
    """The distance of each output position of each copy, and the shadow that saw it."""
    x = model.inputs(*marks.shape[:2])
    with model.still(), transparent():
        shadow = Shadow(unit, model.learned, model.module.buffers() if model.module is not None else ())
        shadow.mark(x, marks.to(x.device))
        with shadow:
            out = model(x)
        return shadow.of(out).amin(-1).cpu(), shadow


def _certificate(model: Model, connected: Tensor, sources: tuple[int, ...]) -> tuple[int, int]:
    """How many connected pairs were never seen to matter, and how many others were."""
    length = len(connected)
    claimed = torch.zeros(length, length, dtype=torch.bool)
    claimed[:, list(sources)] = connected
    found = seen(model, claimed)[:, list(sources)]
    return int((connected & ~found).sum()), int((found & ~connected).sum())


def _exactness(shadow: Shadow, mixed: bool, missing: int, surplus: int) -> Exactness:
    if shadow.leaks:
        return unknown(f"data leave the tensors by {_names(shadow.leaks)}; what follows is seen for one branch only")
    if surplus:
        return unknown(f"{surplus} pairs matter that no operator connects")
    if shadow.unknown:
        return unknown(
            f"no rule for {_names(shadow.unknown)}: no dependence is missing, lengths through it are guessed"
        )
    if mixed:
        return upper_bound("entries of the batch influence one another; a pair counts if any entry connects it")
    if missing:
        why = f"{_names(shadow.worst)} chooses places by data: " if shadow.worst else ""
        return upper_bound(f"{why}{missing} pairs are connected by operators and were never seen to matter")
    return EXACT


def _names(counts: dict[str, int]) -> str:
    return ", ".join(sorted(counts))
