"""Table 1 of "Attention Is All You Need" (arXiv:1706.03762), measured beside the published rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqlaws.instruments.depth import SequentialDepth, sequential_depth
from seqlaws.instruments.exactness import EXACT, Exactness
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.growth import LENGTHS, Growth
from seqlaws.instruments.layers import Convolution, Recurrent, RestrictedAttention, SelfAttention
from seqlaws.instruments.path import path_length
from seqlaws.instruments.work import Work, work

KERNEL = WINDOW = 3
WIDTH = 8
Published = tuple[str, str, str]


@dataclass(frozen=True)
class Row:
    """One layer of the table: what was published, and what is measured.

    ``layers`` is the number of layers after which every position has reached every one that it may,
    counted on the dependence of one layer; ``inside`` the longest path through one layer.
    """

    name: str
    published: Published
    work: Work
    depth: SequentialDepth
    layers: Growth
    inside: Growth

    @property
    def exactness(self) -> Exactness:
        """The first doubt about any of the numbers."""
        return next((each for each in (self.work.exactness, self.depth.exactness) if each.kind != "exact"), EXACT)

    @property
    def path(self) -> Growth:
        """What the table calls the path: layers to be crossed, or steps where one layer connects all."""
        return self.inside if self.layers.order == "O(1)" else self.layers

    def to_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "name": self.name,
            "published": list(self.published),
            "work": self.work.to_json(),
            "depth": self.depth.to_json(),
            "layers": self.layers.to_json(),
            "path_in_one_layer": self.inside.to_json(),
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
        }


@dataclass(frozen=True)
class Table1:
    """The measured table."""

    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {"quantity": "table 1", "rows": [row.to_json() for row in self.rows]}

    def plot(self) -> Figure:
        """The maximum path length of every row."""
        series = tuple(Series(f"{row.name}, {row.path.order}", row.path.lengths, row.path.values) for row in self.rows)
        return Figure("Maximum path length", "sequence length n", "layers or steps", series, True, True)

    def __str__(self) -> str:
        lines = [
            f"Table 1 with k = {KERNEL}, r = {WINDOW}, at n = {', '.join(map(str, LENGTHS))}",
            "",
            _line("", "complexity per layer", "sequential operations", "maximum path length"),
        ]
        for row in self.rows:
            steps, layers = row.depth.unit_growth, row.path
            what = "operators in one layer" if row.path is row.inside else "layers"
            adders = row.depth.fan_in_2_growth
            lines += [
                row.name,
                _line("published", *row.published),
                _line("measured", str(row.work.contractions), steps.order, layers.order),
                f"             depth {_listed(steps)}; with adders of two inputs {adders.order}: {_listed(adders)}",
                f"             path  {_listed(layers)} {what}",
            ]
            if row.exactness.kind != "exact":
                lines.append(f"             {row.exactness}")
        lines += ["", NOTE]
        return "\n".join(lines)


NOTE = """Measured work counts multiplications and additions, two for each pair of factors, with the projections
of attention (6·D²·T), which the table leaves out. Sequential operations are O(1) where a sum over any
number of terms counts as one operator; adders of two inputs make attention O(log n)."""


def table1() -> Table1:
    """Measure the rows: self-attention, recurrent, convolutional, dilated and restricted self-attention."""
    torch_state = torch.get_rng_state()
    try:
        torch.manual_seed(0)
        return Table1(
            (
                _row("Self-attention", ("O(n²·d)", "O(1)", "O(1)"), SelfAttention),
                _row("Recurrent", ("O(n·d²)", "O(n)", "O(n)"), Recurrent),
                _row("Convolutional", ("O(k·n·d²)", "O(1)", "O(n/k), contiguous"), lambda d: Convolution(d, KERNEL)),
                _row(
                    "Convolutional, dilated",
                    ("O(k·n·d²)", "O(1)", "O(log_k(n))"),
                    lambda d: Convolution(d, KERNEL),
                    lambda layer: Convolution(WIDTH, KERNEL, KERNEL**layer),
                ),
                _row(
                    "Self-attention (restricted)",
                    ("O(r·n·d)", "O(1)", "O(n/r)"),
                    lambda d: RestrictedAttention(d, WINDOW),
                ),
            )
        )
    finally:
        torch.set_rng_state(torch_state)


def _row(
    name: str,
    published: Published,
    make: Callable[[int], nn.Module],
    stacked: Callable[[int], nn.Module] | None = None,
) -> Row:
    """One row; ``stacked`` gives the layer at each height of a stack where they differ."""
    layer = make(WIDTH)
    of_layer = stacked or (lambda height: layer)
    paths = path_length(layer, LENGTHS[-1])
    assert paths.growth is not None
    return Row(
        name=name,
        published=published,
        work=work(make),
        depth=sequential_depth(layer, LENGTHS[-1]),
        layers=Growth.of({n: _layers(of_layer, n) for n in LENGTHS}),
        inside=paths.growth,
    )


def _layers(of_layer: Callable[[int], nn.Module], length: int) -> int:
    """The number of layers after which the last position depends on every one."""
    reached: Tensor | None = None
    for height in range(length):
        one = _dependence(of_layer(height), length)
        reached = one if reached is None else (one.float() @ reached.float()) > 0
        if bool(reached[-1].all()):
            return height + 1
    return length


def _dependence(layer: nn.Module, length: int) -> Tensor:
    found = path_length(layer, length, width=WIDTH, growth=False, certify=False)
    return torch.tensor([[each is not None for each in row] for row in found.lengths])


def _line(kind: str, per_layer: str, operations: str, path: str) -> str:
    return f"  {kind:<10} {per_layer:<26} {operations:<22} {path}".rstrip()


def _listed(growth: Growth) -> str:
    return ", ".join(map(str, growth.values))
