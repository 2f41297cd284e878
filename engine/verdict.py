"""Verdicts: what a law returns. The engine compares; a law only says what is to be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from seqlaws.formats import Array


class Output:
    """What an implementation returned, with the exact value and the rounding error allowed to it.

    ``bound`` holds for outputs near the exact value. ``slack`` is the largest bound in the whole
    entry of the batch: it also covers outputs that are wrong but of the right size, so that two ways
    of asking can be compared before it is known whether either is right. All three are computed when
    a comparison first asks for them; indexing and linear maps act on each, so that two ways of
    computing one quantity stay comparable.
    """

    def __init__(self, value: Array, exact: Callable[[], tuple[Array, ...]]) -> None:
        self.value = value
        self._exact = exact

    @cached_property
    def _parts(self) -> tuple[Array, ...]:
        return self._exact()

    @property
    def reference(self) -> Array:
        """The exact value."""
        return self._parts[0]

    @property
    def bound(self) -> Array:
        """The error allowed near the exact value."""
        return self._parts[1]

    @property
    def slack(self) -> Array:
        """The largest bound of the entry of the batch."""
        return self._parts[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    def map(self, move: Callable[[Array], Array]) -> Output:
        """The output after a rearrangement of its entries."""
        return Output(move(self.value), lambda: tuple(move(part) for part in self._parts))

    def __getitem__(self, index: Any) -> Output:
        return self.map(lambda array: array[index])

    def take(self, index: Any, axis: int) -> Output:
        """The output at some indices of one axis."""
        return self.map(lambda array: np.take(array, index, axis=axis))

    def where(self, mask: Array) -> Output:
        """The output at some of its leading indices, and zeros elsewhere: places keep their names."""
        return self.map(lambda array: np.where(mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim)), array, 0.0))

    def sum(self, axis: int) -> Output:
        """The sum along one axis, with the bounds added."""
        return self.map(lambda array: array.sum(axis=axis))

    def apply(self, matrix: Array, offset: Any = 0.0) -> Output:
        """The affine image ``output @ matrix + offset``."""
        return self._linear(lambda array: array @ matrix, lambda array: array @ np.abs(matrix), offset)

    def __mul__(self, factor: Any) -> Output:
        return self._linear(lambda array: array * factor, lambda array: array * np.abs(factor), 0.0)

    def _linear(self, act: Callable[[Array], Array], widen: Callable[[Array], Array], offset: Any) -> Output:
        return Output(
            act(self.value) + offset,
            lambda: (act(self.reference) + offset, *(widen(part) for part in self._parts[1:])),
        )

    def __add__(self, other: Output) -> Output:
        return Output(
            self.value + other.value,
            lambda: (self.reference + other.reference, self.bound + other.bound, self.slack + other.slack),
        )


def joined(outputs: list[Output], axis: int) -> Output:
    """Outputs one after another along an axis."""
    return Output(
        np.concatenate([each.value for each in outputs], axis=axis),
        lambda: tuple(
            np.concatenate([getattr(each, part) for each in outputs], axis=axis)
            for part in ("reference", "bound", "slack")
        ),
    )


def per_entry(bound: Array) -> Array:
    """The largest bound in every entry of the batch, which is the first axis."""
    if bound.ndim < 2 or not bound.size:
        return bound
    return np.broadcast_to(bound.max(axis=tuple(range(1, bound.ndim)), keepdims=True), bound.shape)


@dataclass(frozen=True)
class Verdict:
    """Whether a law held on one case, and the worst place if it did not.

    ``reached`` is False where the case never came to what the law is about. ``strain`` is the
    largest error as a fraction of what was allowed.
    """

    holds: bool
    reached: bool = True
    message: str = ""
    where: tuple[int, ...] | None = None
    got: float | None = None
    expected: float | None = None
    allowed: float | None = None
    strain: float = 0.0
    name: str = ""

    def called(self, name: str) -> Verdict:
        """The same verdict about something called ``name``."""
        return replace(self, name=name)


HOLDS = Verdict(True)


def vacuous() -> Verdict:
    """The case does not reach what the law is about."""
    return Verdict(True, reached=False)


def broken(message: str) -> Verdict:
    """The law is broken in a way that no single number shows."""
    return Verdict(False, message=message, strain=np.inf)


def within(output: Output) -> Verdict:
    """The output lies within the derived bound of the reference."""
    return _compare(output.value, output.reference, output.bound)


def same(one: Output, other: Output) -> Verdict:
    """Two computations of one quantity: they may differ by the sum of their bounds."""
    return _compare_both(one, other, "bound")


def consistent(one: Output, other: Output) -> Verdict:
    """Two ways of asking one question, right or wrong: they may differ by the sum of their slacks."""
    return _compare_both(one, other, "slack")


def equals(output: Output, expected: Any) -> Verdict:
    """The output is a known value, up to its bound."""
    return _compare(output.value, expected, output.bound)


def identical(one: Any, other: Any) -> Verdict:
    """Not one bit of difference (zeros of either sign are equal, so are all NaN)."""
    return _compare(_value(one), _value(other), 0.0)


def between(low: Any, output: Any, high: Any) -> Verdict:
    """The output lies in an interval, widened by its bound. NaN lies in none, unless its ends are NaN."""
    value = _value(output)
    clipped = np.where(np.isnan(value), low, np.clip(value, low, high))
    return _compare(value, clipped, output.bound if isinstance(output, Output) else 0.0)


def below(output: Any, limit: Any) -> Verdict:
    """The output is at most a limit, with no allowance. NaN is not, unless the limit is NaN."""
    value = _value(output)
    return _compare(value, np.where(np.isnan(value), limit, np.minimum(value, limit)), 0.0)


def finite(output: Any) -> Verdict:
    """No NaN and no infinity."""
    value = np.asarray(_value(output))
    if np.isfinite(value).all():
        return HOLDS
    where = _first(~np.isfinite(value))
    return Verdict(False, True, "a finite number was due", where, float(value[where]), None, None, np.inf)


def not_finite(output: Any) -> Verdict:
    """Every entry is NaN or infinite: a poisoned input was not hidden."""
    value = np.asarray(_value(output))
    if value.size == 0 or not np.isfinite(value).any():
        return HOLDS if value.size else vacuous()
    where = _first(np.isfinite(value))
    return Verdict(
        False, True, "a finite number where NaN was due", where, float(value[where]), float("nan"), 0.0, np.inf
    )


def alike(got: Any, expected: Any) -> Verdict:
    """Two answers that are not numbers are equal."""
    return HOLDS if got == expected else broken(f"gave {_quoted(got)} where {_quoted(expected)} was due")


def _quoted(answer: Any, limit: int = 60) -> str:
    text = ascii(answer)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def differs(one: Any, other: Any, among: Any = True) -> Verdict:
    """Influence is there: wherever ``among`` holds, some entry of the last axis differs. NaN shows none."""
    first, second = np.asarray(_value(one)), np.asarray(_value(other))
    if first.shape != second.shape:
        return broken(f"shapes differ: {first.shape} and {second.shape}")
    among = np.broadcast_to(among, first.shape[:-1])
    if not among.any() or not first.shape[-1]:
        return vacuous()
    still = ((first == second) | (np.isnan(first) & np.isnan(second))).all(axis=-1) & among
    if not still.any():
        return HOLDS
    where = (*_first(still), 0)
    message = "the same with and without the change: no influence where there must be some"
    return Verdict(False, True, message, where, float(first[where]), None, None, np.inf)


def every(*verdicts: Verdict) -> Verdict:
    """All of them; the worst speaks for the rest."""
    failed = [verdict for verdict in verdicts if not verdict.holds]
    if failed:
        return max(failed, key=lambda verdict: verdict.strain)
    reached = [verdict for verdict in verdicts if verdict.reached]
    if not reached:
        return vacuous()
    return max(reached, key=lambda verdict: verdict.strain)


def _value(thing: Any) -> Array:
    return thing.value if isinstance(thing, Output) else np.asarray(thing)


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def _compare_both(one: Output, other: Output, part: str) -> Verdict:
    """Whether two outputs differ by no more than what is allowed to both together.

    What is allowed to the second is asked first: it is mostly the plain call, of which it is known already,
    and with correct programs it mostly is enough. The strain is then a share of that alone: never too low.
    """
    verdict = _compare(one.value, other.value, lambda: getattr(other, part))
    if verdict.holds and verdict.reached:
        return verdict
    return _compare(one.value, other.value, lambda: getattr(one, part) + getattr(other, part))


def _compare(got: Array, expected: Any, allowed: Any) -> Verdict:
    expected = np.asarray(expected)
    if expected.shape != got.shape:
        if expected.ndim == 0:
            expected = np.broadcast_to(expected, got.shape)
        else:
            return broken(f"shape {got.shape} where {expected.shape} was due")
    if got.size == 0:
        return HOLDS
    with np.errstate(invalid="ignore", over="ignore"):
        equal = (got == expected) | (np.isnan(got) & np.isnan(expected))
        if equal.all():
            return HOLDS
        allowed = np.broadcast_to(allowed() if callable(allowed) else allowed, got.shape)
        error = np.abs(got - expected)
        if np.isposinf(allowed).all() and np.isfinite(error).all():
            return vacuous()  # where everything is allowed, nothing was asked
        if (error <= allowed).all() and np.isfinite(error).all():
            return Verdict(True, strain=float((error / np.where(allowed > 0, allowed, 1.0)).max()))
        odd = ~equal & ~(np.isfinite(got) & np.isfinite(expected))
        # a bound that overflowed allows nothing in particular: it must not excuse a NaN
        strain = np.where(equal, 0.0, error / np.where(allowed > 0, allowed, np.nan))
        strain = np.where(~equal & ~(allowed > 0), np.inf, strain)
        strain = np.where(np.isposinf(allowed) & ~odd, 0.0, strain)
        strain = np.where(odd, np.inf, strain)
    where = tuple(int(i) for i in np.unravel_index(int(np.argmax(strain)), strain.shape))
    worst = float(strain[where])
    verdict = Verdict(
        worst <= 1.0, True, "", where, float(got[where]), float(expected[where]), float(allowed[where]), worst
    )
    if odd[where]:
        return replace(verdict, message="the sets of non-finite numbers differ")
    return verdict
