"""Growth: how a whole number grows as the sequence doubles, told from exact values and never by regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LENGTHS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Growth:
    """The values of a quantity at lengths that double, and the class that they show.

    ``order`` is "O(1)", "O(log n)", "O(n)", "O(n²)" or "unclassified": where the values fit none of
    them exactly, none is claimed.
    """

    lengths: tuple[int, ...]
    values: tuple[int, ...]
    order: str

    @classmethod
    def of(cls, values: Mapping[int, int]) -> Growth:
        """The growth of values by length; the lengths double."""
        lengths = tuple(sorted(values))
        ordered = tuple(values[length] for length in lengths)
        return cls(lengths, ordered, order_of(ordered))

    def to_json(self) -> dict[str, Any]:
        """The values by length, and the order."""
        return {"order": self.order, "values": dict(zip(map(str, self.lengths), self.values, strict=True))}

    def __str__(self) -> str:
        return f"{self.order}: {', '.join(map(str, self.values))} at n = {', '.join(map(str, self.lengths))}"


def order_of(values: tuple[int, ...]) -> str:
    """The order of growth that values at doubling lengths show.

    What stays is O(1); what doubles its steps is O(n) (a·n + b has the steps a·n), what quadruples
    them O(n²). What steps upwards by a bounded amount, again and again, is O(log n). Short lengths
    may differ (a window longer than the sequence), so the last three steps decide.
    """
    steps = [after - before for before, after in pairwise(values)]
    if len(steps) < 3:
        return "unclassified"
    last = steps[-3:]
    if not any(last):
        return "O(1)"
    if any(step < 0 for step in last):
        return "unclassified"
    for factor, order in ((2, "O(n)"), (4, "O(n²)")):
        if last[0] > 0 and all(after == factor * before for before, after in pairwise(last)):
            return order
    # ⌈log⌉ rises unevenly (2 4 4 6 8 8), but never by more than it did at first
    return "O(log n)" if max(last[-2:]) > 0 and max(steps) <= max(steps[:2]) else "unclassified"
