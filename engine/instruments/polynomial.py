"""Polynomials with exact coefficients, found by interpolation and checked where they were not fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Polynomial:
    """A polynomial in T and D: coefficients by the powers (of T, of D)."""

    coefficients: Mapping[tuple[int, int], Fraction]

    def __call__(self, t: int, d: int = 1) -> Fraction:
        """The value at T = t, D = d."""
        return sum((value * t**i * d**j for (i, j), value in self.coefficients.items()), Fraction(0))

    @property
    def degree(self) -> int:
        """The highest power of T."""
        return max((i for i, _ in self.coefficients), default=0)

    @property
    def order(self) -> str:
        """The order of growth in T."""
        return "O(1)" if self.degree == 0 else "O(T)" if self.degree == 1 else f"O(T{_power(self.degree)})"

    def to_json(self) -> dict[str, str]:
        """The coefficients by the names of their powers."""
        return {_term(i, j) or "1": str(value) for (i, j), value in self._ordered()}

    def _ordered(self) -> list[tuple[tuple[int, int], Fraction]]:
        return sorted(self.coefficients.items(), key=lambda item: (-item[0][0], -item[0][1]))

    def __str__(self) -> str:
        parts = ["·".join(filter(None, (_factor(value, i + j), _term(i, j)))) for (i, j), value in self._ordered()]
        return " + ".join(parts).replace("+ -", "− ") or "0"


def in_t(values: Mapping[int, int]) -> Polynomial | None:
    """The polynomial through values by T; None if the last two do not lie on that through the others."""
    found = _through(dict(list(values.items())[:-2]))
    polynomial = Polynomial({(power, 0): value for power, value in enumerate(found) if value})
    return polynomial if all(polynomial(t) == value for t, value in values.items()) else None


def in_t_and_d(values: Mapping[int, Mapping[int, int]]) -> Polynomial | None:
    """The polynomial in T and D through values by D, then by T; None if there is none that passes all."""
    rows = {d: in_t(each) for d, each in values.items()}
    powers = {i for row in rows.values() if row for i, _ in row.coefficients}
    coefficients: dict[tuple[int, int], Fraction] = {}
    for i in powers:
        column = {d: row.coefficients.get((i, 0), Fraction(0)) for d, row in rows.items() if row}
        for j, value in enumerate(_through(dict(list(column.items())[:-1]))):
            if value:
                coefficients[i, j] = value
    polynomial = Polynomial(coefficients)
    fits = all(polynomial(t, d) == value for d, row in values.items() for t, value in row.items())
    return polynomial if fits else None


def _through(points: Mapping[int, int] | Mapping[int, Fraction]) -> Sequence[Fraction]:
    """The coefficients of the polynomial through points, by Newton's divided differences."""
    xs = list(points)
    table = [Fraction(value) for value in points.values()]
    for level in range(1, len(xs)):
        for place in range(len(xs) - 1, level - 1, -1):
            table[place] = (table[place] - table[place - 1]) / (xs[place] - xs[place - level])
    found = [Fraction(0)] * len(xs)
    for place in range(len(xs) - 1, -1, -1):  # Horner's rule, on coefficients
        shifted = [Fraction(0), *found[:-1]]
        found = [up - xs[place] * own for up, own in zip(shifted, found, strict=True)]
        found[0] += table[place]
    return found


def _factor(value: Fraction, powers: int) -> str:
    return "" if value == 1 and powers else str(value)


def _term(i: int, j: int) -> str:
    return "·".join(name + _power(power) for name, power in (("D", j), ("T", i)) if power)


def _power(power: int) -> str:
    return "" if power == 1 else str(power).translate(SUPERSCRIPTS)
