"""Sequential depth: how many operators must follow one another, however many could run at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from seqlaws.instruments.exactness import EXACT, Exactness, unknown, upper_bound
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.growth import LENGTHS, Growth
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.shadow import REACHED, Cost, Shadow, fan_in_2, longest, unit
from seqlaws.instruments.transparent import transparent
from seqlaws.instruments.watch import doubts


@dataclass(frozen=True)
class SequentialDepth:
    """The longest chain of operators from an input to an output, in two models of cost.

    ``unit`` counts one for every operator, as published tables do. ``fan_in_2`` counts elementary
    steps of a machine whose adders have two inputs: a sum over n terms takes ⌈log₂ n⌉.
    """

    name: str
    length: int
    unit: int
    fan_in_2: int
    unit_growth: Growth
    fan_in_2_growth: Growth
    exactness: Exactness

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "quantity": "sequential depth",
            "name": self.name,
            "length": self.length,
            "unit": self.unit,
            "fan_in_2": self.fan_in_2,
            "unit_growth": self.unit_growth.to_json(),
            "fan_in_2_growth": self.fan_in_2_growth.to_json(),
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
        }

    def plot(self) -> Figure:
        """The depth in both models as the sequence grows."""
        series = tuple(
            Series(f"{self.name}, {name}: {growth.order}", growth.lengths, growth.values)
            for name, growth in (("unit", self.unit_growth), ("fan-in 2", self.fan_in_2_growth))
        )
        return Figure("Sequential depth", "sequence length n", "operators in a row", series, True, True)

    def __str__(self) -> str:
        return (
            f"{self.name}: sequential depth {self.unit} at n = {self.length}, "
            f"{self.fan_in_2} if adders have two inputs\n"
            f"  unit      {self.unit_growth}\n  fan-in 2  {self.fan_in_2_growth}\n  {self.exactness}"
        )


def sequential_depth(target: Target | Model, length: int = 64, *, width: int | None = None) -> SequentialDepth:
    """The sequential depth of a model [B, T, D] → [B, T, D'] at T = ``length``, and how it grows up to there.

    It is that of the data: a Python loop whose steps do not need one another counts as one step.
    """
    model = Model.of(target, width)
    lengths = [n for n in LENGTHS if n < length] + [length]
    depths = {cost: {n: _depth(model, n, cost) for n in lengths} for cost in (unit, fan_in_2)}
    grown = {
        cost: Growth.of({n: depth for n, (depth, _) in every.items() if n in LENGTHS}) for cost, every in depths.items()
    }
    return SequentialDepth(
        name=model.name,
        length=length,
        unit=depths[unit][length][0],
        fan_in_2=depths[fan_in_2][length][0],
        unit_growth=grown[unit],
        fan_in_2_growth=grown[fan_in_2],
        exactness=doubts(model, length) or _exactness(depths[unit][length][1]),
    )


@torch.no_grad()
def _depth(model: Model, length: int, cost: Cost) -> tuple[int, Shadow]:
    """The longest chain from any input position: every position is marked at once, in a batch of two."""
    x = model.inputs(2, length)
    with model.still(), transparent():
        shadow = Shadow(longest(cost), model.learned, model.module.buffers() if model.module is not None else ())
        shadow.mark(x, torch.zeros_like(x, dtype=torch.float32))
        with shadow:
            out = model(x)
        value = shadow.of(out)
    reached = value[value < REACHED]
    return (int(-reached.min()) if reached.numel() else 0), shadow


def _exactness(shadow: Shadow) -> Exactness:
    if shadow.leaks:
        return unknown(f"data leave the tensors by {', '.join(sorted(shadow.leaks))}")
    if shadow.unknown:
        return unknown(f"no rule for {', '.join(sorted(shadow.unknown))}: what is inside counts as one operator")
    if shadow.worst:
        return upper_bound(f"{', '.join(sorted(shadow.worst))} chooses places by data; every place is assumed")
    return EXACT
