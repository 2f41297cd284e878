"""A machine of P units, each of which does one operation in a cycle: how long a layer takes, by Brent's theorem."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from seqlaws.instruments import sequential_depth, work
from seqlaws.instruments.polynomial import Polynomial
from seqlaws.spec.claims.operations import LAYERS


@dataclass(frozen=True)
class Load:
    """Operations, and how many of them must follow one another. Memory is free, and so is starting a program."""

    work: Fraction
    span: int

    def at_least(self, units: int) -> Fraction:
        """No schedule takes fewer cycles than the work shared by all units, nor fewer than the span."""
        return max(self.work / units, Fraction(self.span))

    def at_most(self, units: int) -> Fraction:
        """A schedule that leaves no unit idle without need takes no more cycles than both together."""
        return self.work / units + self.span

    def busy(self, units: int) -> tuple[Fraction, Fraction]:
        """Between which shares of the units such a schedule keeps busy on average."""
        each = self.work / units
        return each / self.at_most(units), each / self.at_least(units)


@cache
def operations(layer: str) -> tuple[Polynomial, Polynomial]:
    """What a layer computes, as polynomials in T and D: within products, and one element after another."""
    found = work(LAYERS[layer])
    assert found.contractions is not None and found.elements is not None
    return found.contractions, found.elements


@cache
def measured_spans(layer: str, width: int) -> dict[int, int]:
    """The operations in a row for T = 2, 4, 8, where adders have two inputs."""
    found = sequential_depth(LAYERS[layer](width), length=8).fan_in_2_growth
    return dict(zip(found.lengths, found.values, strict=True))


def span(layer: str, length: int, width: int) -> int:
    """The same for any power of two; for T = 1 that of 2, which is no less.

    From 8 on a doubling of T adds as much as that from 4 to 8 to the span of attention, and to that of a
    recurrence every position as much as those from 5 to 8.
    """
    measured = measured_spans(layer, width)
    if length <= 8:
        return measured[max(length, 2)]
    grown = Fraction(length - 8, 4) if layer == "LSTM" else (length // 8).bit_length() - 1
    return int(measured[8] + grown * (measured[8] - measured[4]))


def load(layer: str, length: int, width: int, batch: int = 1) -> Load:
    """What a layer asks for at T = ``length``, a power of two. Sequences of a batch do not wait for one another."""
    done = sum((each(length, width) for each in operations(layer)), Fraction(0))
    return Load(batch * done, span(layer, length, width))


def step(width: int, batch: int = 1) -> Load:
    """What one more step of an LSTM asks for."""
    before, after = load("LSTM", 4, width, batch), load("LSTM", 8, width, batch)
    return Load((after.work - before.work) / 4, (after.span - before.span) // 4)
