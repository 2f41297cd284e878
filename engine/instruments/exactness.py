"""Exactness: what a measured number is worth, said with the number."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Exactness:
    """``kind`` is "exact", "upper bound" or "unknown"; ``reason`` says why it is not exact."""

    kind: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


EXACT = Exactness("exact")


def finite(number: float) -> float | None:
    """A number as JSON has it: what is not finite is null."""
    return number if math.isfinite(number) else None


def upper_bound(reason: str) -> Exactness:
    """The true value is at most the one that is shown."""
    return Exactness("upper bound", reason)


def unknown(reason: str) -> Exactness:
    """The number describes what was seen, and something was hidden."""
    return Exactness("unknown", reason)
