"""Reduce: from the inputs that broke a law to the smallest and roundest that still do.

Works on the numbers themselves: plainer options, fewer indices on each axis, zeros, small
integers. Every step keeps the law broken, so the result is a counterexample in its own right.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.subject import SUBJECTS, Claims
from seqlaws.verdict import Verdict

TRIALS = 600
SECONDS = 5.0


def reduce_inputs(
    judge: Callable[[Inputs], Verdict], inputs: Inputs, verdict: Verdict, claims: Claims
) -> tuple[Inputs, Verdict]:
    """The smallest inputs found that still break the law and that these claims promise to accept; with the verdict."""
    search = _Search(judge, inputs, verdict, claims)
    before = None
    while before is not search.inputs and not search.spent:
        before = search.inputs
        search.first_of(_plainer)
        for letter in sorted(search.inputs._sizes, key=search.inputs.size, reverse=True):
            search.shorten(letter)
        for pair in _equally_long(search.inputs):
            search.shorten(pair)
        search.first_of(_zeroed)
        search.first_of(_rounded)
    return search.inputs, search.verdict


class _Search:
    def __init__(self, judge: Callable[[Inputs], Verdict], inputs: Inputs, verdict: Verdict, claims: Claims) -> None:
        self.judge, self.inputs, self.verdict, self.claims = judge, inputs, verdict, claims
        self.trials = 0
        self.until = time.monotonic() + SECONDS

    @property
    def spent(self) -> bool:
        return self.trials >= TRIALS or time.monotonic() > self.until

    def accept(self, candidate: Inputs) -> bool:
        """Move to a candidate if the law is broken there too."""
        subject = SUBJECTS[candidate.subject]
        if self.spent or not subject.valid(candidate) or not subject.is_claimed(candidate, self.claims):
            return False
        self.trials += 1
        try:
            verdict = self.judge(candidate)
        except Exception:  # a candidate on which the law cannot even be stated
            return False
        # a wrong number and each kind of exception are faults of their own: never slip from one to the other
        if verdict.holds or _kind(verdict) != _kind(self.verdict):
            return False
        self.inputs, self.verdict = candidate, verdict
        return True

    def first_of(self, candidates: Callable[[Inputs], Iterator[Inputs]]) -> None:
        """Take candidates as long as one of them is accepted."""
        moved = True
        while moved and not self.spent:
            moved = any(self.accept(candidate) for candidate in candidates(self.inputs))

    def shorten(self, letters: str) -> None:
        """Drop indices of one axis, or of several that are equally long, in ever smaller runs."""
        run = self.inputs.size(letters[0])
        while run >= 1 and not self.spent:
            start = 0
            while start < self.inputs.size(letters[0]) and not self.spent:
                size = self.inputs.size(letters[0])
                rest = np.r_[0:start, min(start + run, size) : size]
                if not self._crop(letters, rest):
                    start += run
            run //= 2

    def _crop(self, letters: str, index: Array) -> bool:
        if not len(index):
            return False  # an empty axis is a case of its own, never the smallest of another
        cropped = self.inputs
        try:
            for letter in letters:
                cropped = cropped.take(letter, index.astype(int))
            return self.accept(cropped)
        except (ValueError, IndexError):
            return False


def _equally_long(x: Inputs) -> list[str]:
    """Pairs of axes that may have to stay equally long."""
    return [one + other for one, other in combinations(x.letters, 2) if x.size(one) == x.size(other) > 1]


def _kind(verdict: Verdict) -> str:
    """What went wrong, without the sizes and numbers that a smaller case changes."""
    return re.split(r"[:(\d]", verdict.message)[0] if verdict.where is None else "number"


def _plainer(x: Inputs) -> Iterator[Inputs]:
    yield from SUBJECTS[x.subject].simpler(x)


def _zeroed(x: Inputs) -> Iterator[Inputs]:
    """One array of numbers all zero; then ever smaller parts of it."""
    for name, array in _numbers(x):
        chunk = array.size
        while chunk >= max(1, array.size // 64):
            for start in range(0, array.size, chunk):
                flat = array.reshape(-1).copy()
                part = flat[start : start + chunk]
                if np.any(part[np.isfinite(part)] != 0):
                    part[np.isfinite(part)] = 0.0
                    yield x.but(**{name: flat.reshape(array.shape)})
            chunk //= 2


def _rounded(x: Inputs) -> Iterator[Inputs]:
    """One array in small integers, in integers, or in one significant digit."""
    for name, array in _numbers(x):
        for plain in (np.sign(array), np.clip(np.rint(array), -3, 3), np.rint(array), _one_digit(array)):
            if np.any((plain != array) & np.isfinite(array)) and _simplicity(plain) < _simplicity(array):
                yield x.but(**{name: np.where(np.isfinite(array), plain, array)})


def _numbers(x: Inputs) -> Iterator[tuple[str, Array]]:
    for name, array in x.arrays.items():
        if array is not None and array.dtype.kind == "f" and array.size:
            yield name, array


def _one_digit(array: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # infinite entries are put back by the caller
        scale = 10.0 ** np.floor(np.log10(np.where(array == 0, 1.0, np.abs(array))))
        return np.asarray(np.rint(array / scale) * scale)


def _simplicity(array: Array) -> int:
    return sum(len(f"{number:.6g}") for number in array.reshape(-1)[:256])
