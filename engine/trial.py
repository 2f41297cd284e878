"""Trials: a law tried on the cases that are always tried and on those that are drawn, until one breaks it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.inputs import Inputs
from seqlaws.law import CONTRACT, Law
from seqlaws.run import Run
from seqlaws.verdict import Verdict, broken, vacuous
from seqlaws.warm import draw_no_constants

PROFILES = {"quick": 2, "default": 12, "thorough": 150}


class LawBroken(AssertionError):
    """A law does not hold."""


@dataclass(frozen=True)
class Failure:
    """A case on which a law does not hold. It is no exception: those keep every array of their frames alive."""

    case: Any
    inputs: Inputs
    verdict: Verdict


@dataclass
class Tally:
    """What has been tried so far: sub-cases, whether any reached the law, and the first failure."""

    cases: int = 0
    reached: bool = False
    strain: float = 0.0
    failure: Failure | None = None
    announce: Callable[[str], None] = lambda case: None


def trial(law: Law, run: Run, x: Inputs) -> Verdict:
    """The verdict of a law on one set of inputs."""
    run.begin()
    try:
        with np.errstate(all="ignore"):
            verdict = law.check(run, x)
    except Misbehaviour as outcome:
        if law.level == CONTRACT and outcome.law not in ("", law.short):
            return vacuous()  # another contract law speaks of this one
        return broken(str(outcome))
    if not isinstance(verdict, Verdict):
        raise TypeError(f"law {law.name} returned {type(verdict).__name__}, not a Verdict")
    return verdict


def tried(law: Law, run: Run, tally: Tally, case: Any, x: Inputs) -> None:
    """Try a law on one case and take note of it. Raises LawBroken."""
    verdict = trial(law, run, x)
    tally.cases += x.rows
    tally.reached |= verdict.reached
    tally.strain = max(tally.strain, verdict.strain)
    if not verdict.holds:
        tally.failure = Failure(case, x, verdict)
        raise LawBroken(f"{law.name}: {law.claim}")


def hypothesis_test(law: Law, run: Run, tally: Tally, always: Iterable[Any] = ()) -> Callable[[], None]:
    """The law as a Hypothesis test: cases that are always tried as explicit examples, then drawn ones."""
    from hypothesis import example, given

    def body(case: Any) -> None:
        tally.announce(repr(case))
        tried(law, run, tally, case, run.inputs(case))

    body.__name__ = body.__qualname__ = law.short
    body.__doc__ = law.claim
    test = given(case=law.cases.strategy(run.implementation.claims))(body)
    for case in reversed(list(always)):
        test = example(case=case)(test)
    return test


def draw(law: Law, run: Run, tally: Tally, profile: str, seed: int) -> None:
    """Try a law on the cases that are always tried, and on those that one of our profiles draws. Raises LawBroken."""
    # what is always tried needs nothing of Hypothesis, which would take longer than most calls
    always = list(law.cases.always(run.implementation.claims))
    if profile != "thorough" and law.cases is run.subject.cases:
        # of what every law tries, a law that calls often tries less
        always = always[:1] + always[1 :: round(1 / law.examples)]
    with random_from(seed_of(law, seed)):
        for case in always:
            tally.announce(repr(case))
            tried(law, run, tally, case, run.inputs(case))
    examples = round(PROFILES[profile] * law.examples)
    if examples or not always:
        settled(hypothesis_test(law, run, tally), law, max(1, examples), seed)()


def settled(test: Any, law: Law, examples: int, seed: int) -> Callable[[], None]:
    """A Hypothesis test under one of our own profiles: a fixed seed, no database, no shrinking.

    The reducer works on the numbers themselves and is faster than shrinking sizes first.
    """
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import seed as seeded

    draw_no_constants()
    under = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    made: Callable[[], None] = under(seeded(seed_of(law, seed))(test))
    return made


def seed_of(law: Law, seed: int) -> int:
    """The seed of one law in a run of this seed."""
    return seed * 1_000_003 + zlib.crc32(law.name.encode())


@contextmanager
def random_from(seed: int) -> Iterator[None]:
    """The global generators from a seed, as Hypothesis sets them for what it draws, and as they were afterwards."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
