"""Work: how many operations a model takes, as an exact polynomial in the sequence length and the width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from seqlaws.errors import Misunderstood
from seqlaws.implementation import Implementation
from seqlaws.instruments.exactness import EXACT, Exactness, unknown
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.modes import Seeing
from seqlaws.instruments.polynomial import Polynomial, in_t, in_t_and_d
from seqlaws.instruments.rules import MOVES, rule_of
from seqlaws.instruments.rules_linear import CONTRACTIONS
from seqlaws.instruments.shadow import base_name, only_views
from seqlaws.instruments.transparent import transparent
from seqlaws.instruments.watch import doubts

LENGTHS = (12, 16, 20, 24, 30, 36)
WIDTHS = (8, 16, 24, 32, 40)
"""Widths that up to eight heads divide."""
BY_VECTOR = ("mv", "addmv", "dot", "vdot")
NOT_LINEAR = (
    "sort", "argsort", "msort", "topk", "kthvalue", "median", "mode", "unique", "_unique2", "_fft_r2c", "_fft_c2c",
    "_fft_c2r",
)  # fmt: skip
"""Operators whose operations are no multiple of their elements."""


@dataclass(frozen=True)
class Work:
    """Operations for one sequence.

    ``contractions`` counts multiplications and additions of matrix products and convolutions, two for
    each pair of factors, masked or not. ``elements`` counts the elements that all other operators
    compute, one operation each. Each is a polynomial, or None where the values fit none; ``values``
    are the contractions by T, at ``width``.
    """

    name: str
    width: int
    contractions: Polynomial | None
    elements: Polynomial | None
    values: dict[int, int]
    exactness: Exactness

    @property
    def order(self) -> str:
        """The order of growth in T."""
        return self.contractions.order if self.contractions else "unclassified"

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "quantity": "work",
            "name": self.name,
            "width": self.width,
            "order": self.order,
            "contractions": self.contractions and self.contractions.to_json(),
            "elements": self.elements and self.elements.to_json(),
            "values": {str(length): value for length, value in self.values.items()},
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
        }

    def plot(self) -> Figure:
        """The operations of contractions against the length."""
        lengths = [16 * 2**i for i in range(9)] if self.contractions else list(self.values)
        at = self.contractions
        counts = [float(at(n, self.width)) if at else float(self.values[n]) for n in lengths]
        series = Series(f"{self.name}, {self.order}", lengths, counts)
        return Figure(f"Work at D = {self.width}", "sequence length T", "operations", (series,), True, True)

    def __str__(self) -> str:
        given = "" if self._in_d else f" at D = {self.width}"
        return (
            f"{self.name}: {self.contractions or 'no polynomial:'}"
            f"{'' if self.contractions else f' {self.values}'} operations in contractions{given}, {self.order}\n"
            f"  {self.elements or 'no polynomial'} elements computed otherwise\n  {self.exactness}"
        )

    @property
    def _in_d(self) -> bool:
        return bool(self.contractions) and any(j for _, j in self.contractions.coefficients)  # type: ignore[union-attr]


def work(
    target: Target | Model | Callable[[int], nn.Module], *, length: int | None = None, width: int | None = None
) -> Work:
    """The work of a model [B, T, D] → [B, T, D'], as a polynomial in T from lengths of at least 12.

    A function from a width to a module, such as ``lambda D: nn.LSTM(D, D)``, gives a polynomial in T
    and D. ``length`` adds a length at which the polynomial is checked.
    """
    lengths = tuple(sorted({*LENGTHS, *([length] if length else [])}))
    models = {model.width: model for model in _models(target, width)}
    model = list(models.values())[-1]
    counts = {d: {n: _counted(each, n) for n in lengths} for d, each in models.items()}
    contractions = {d: {n: each.contractions for n, each in row.items()} for d, row in counts.items()}
    elements = {d: {n: each.elements for n, each in row.items()} for d, row in counts.items()}
    found = [in_t_and_d(table) if len(models) > 1 else in_t(table[model.width]) for table in (contractions, elements)]
    every = [each for row in counts.values() for each in row.values()]
    return Work(
        name=model.name,
        width=model.width,
        contractions=found[0],
        elements=found[1],
        values=contractions[model.width],
        exactness=doubts(model, lengths[0]) or _exactness(every, found),
    )


def _exactness(counters: list[_Counter], found: list[Polynomial | None]) -> Exactness:
    left = {name for each in counters for name in each.left}
    uncounted = {name for each in counters for name in each.uncounted}
    if left:
        return unknown(f"data leave the tensors by {', '.join(sorted(left))}; what follows is seen for one branch only")
    if uncounted:
        return unknown(f"what {', '.join(sorted(uncounted))} does inside is not counted")
    if None in found:
        return unknown("the counts are exact, and no polynomial passes through all of them")
    return EXACT


def _models(target: Any, width: int | None) -> list[Model]:
    """The models of a function of a width, told by what it gives for one; else the model of the target itself."""
    if callable(target) and not isinstance(target, nn.Module | Model):
        try:
            family = isinstance(target(WIDTHS[0]), nn.Module | Implementation)
        except Misunderstood:
            raise
        except Exception:  # it wanted a tensor
            family = False
        if family:
            return [Model.of(target(d), d) for d in WIDTHS]
    return [Model.of(target, width)]


class _Counter(Seeing):  # type: ignore[no-untyped-call]
    """Counts the elements that operators other than contractions compute, and the contractions that torch's
    own counter leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.contractions = 0
        self.uncounted: set[str] = set()
        self.left: set[str] = set()

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        name = base_name(func)
        if only_views(func) or name in MOVES or func.overloadpacket in flop_registry:
            return out
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if given and not made:
            self.left.add(name)
        elif name in BY_VECTOR:
            self.contractions += 2 * max(each.numel() for each in given)
        elif name in CONTRACTIONS or name in NOT_LINEAR or not _known(func):
            self.uncounted.add(name)
        elif given:
            self.elements += max(each.numel() for each in (*given, *made))
        return out


def _known(func: Any) -> bool:
    return rule_of(func) is not None or func in decomposition_table


def _counted(model: Model, length: int) -> _Counter:
    """What one sequence takes."""
    x = model.inputs(1, length)
    with model.still(), torch.no_grad(), transparent(), FlopCounterMode(display=False) as flops, _Counter() as counter:
        model(x)
    counter.contractions += int(flops.get_total_flops())
    return counter
