"""Judge: how a law ended at one device and dtype, in a word, a line and a card; many laws in their order."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from seqlaws.blocking import first_blocker
from seqlaws.card import card_text, show_inputs, show_numbers
from seqlaws.implementation import Implementation, Known
from seqlaws.inputs import Inputs
from seqlaws.law import VALUES, Law
from seqlaws.reduce import reduce_inputs
from seqlaws.result import Result
from seqlaws.run import Run
from seqlaws.trial import Tally, draw, random_from, seed_of, trial
from seqlaws.verdict import Verdict


def judge_law(
    law: Law,
    run: Run,
    *,
    profile: str,
    seed: int,
    command: str = "",
    announce: Callable[[str], None] = lambda case: None,
    found: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Judge one law. ``found`` hears of a failure before it is reduced, in case reducing kills the process."""
    tally = Tally(announce=announce)

    def draws() -> None:
        draw(law, run, tally, profile, seed)

    return conclude(law, run, tally, draws, command=command, found=found)


def conclude(
    law: Law,
    run: Run,
    tally: Tally,
    draws: Callable[[], None],
    *,
    command: str = "",
    found: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Run the draws of one law and say how they ended."""
    start = time.perf_counter()
    before = (run.clock.implementation, run.clock.reference)
    known = run.implementation.known_at(law.name, run.device, run.format.name)

    def result(status: str, **more: Any) -> Result:
        return Result(
            law.name, run.device, run.format.name, status, tally.cases, time.perf_counter() - start,
            in_implementation=run.clock.implementation - before[0],
            in_reference=run.clock.reference - before[1],
            strain=tally.strain, **more,
        )  # fmt: skip

    unasked = law.not_asked_of(run.implementation)
    if unasked:
        return result("not_claimed", reason=unasked)
    if known is not None and known.case is not None:
        return _replay(law, run, known, tally, result)
    try:
        draws()
    except (Exception, ExceptionGroup):
        if tally.failure is None:
            return result("error", message=traceback.format_exc(limit=-4).strip())
    if tally.failure is None:
        if known is not None and tally.reached:
            return result("known_but_holds", reason=known.account, message="listed as known, but it holds: take it off")
        return result("holds" if tally.reached else "vacuous")
    message = failure_message(tally.failure.verdict)
    if known is not None:
        return result("known", reason=known.account, message=message, counterexample=repr(tally.failure.case))
    found(result("broken", message=message, counterexample=repr(tally.failure.case)))
    hint = dialect_hint(law, run, tally.failure.inputs)
    claims = run.implementation.claims
    inputs, verdict = reduce_inputs(lambda x: trial(law, run, x), tally.failure.inputs, tally.failure.verdict, claims)
    trial(law, run, inputs)  # once more, so that the card shows the calls of this very case
    return result(
        "broken",
        message=failure_message(verdict),
        counterexample=show_inputs(inputs),
        card=card_text(law, run, tally.failure.case, inputs, verdict, hint=hint, command=command),
    )


def _replay(law: Law, run: Run, known: Known, tally: Tally, result: Callable[..., Result]) -> Result:
    x = known.case.inputs(run.format)
    tally.announce(repr(known.case))
    verdict = trial(law, run, x)
    tally.cases, tally.reached = x.rows, verdict.reached
    if not verdict.reached:
        return result("vacuous", reason="the stored counterexample does not come to what the law is about")
    if verdict.holds:
        return result("known_but_holds", reason=known.account, message="the stored counterexample holds: take it off")
    return result("known", reason=known.account, message=failure_message(verdict), counterexample=repr(known.case))


def failure_message(verdict: Verdict) -> str:
    """One line: where it went wrong, and how far."""
    where = "" if verdict.where is None else f"at [{', '.join(map(str, verdict.where))}]: "
    if verdict.name:
        where = f"{verdict.name} {where}"
    text = ", ".join(show_numbers(verdict))
    return f"{where}{text}" + (f" ({verdict.message})" if text and verdict.message else verdict.message)


def dialect_hint(law: Law, run: Run, x: Inputs) -> str:
    """The declared convention under which this case and the values would hold, if there is one."""
    for key, values in run.subject.dialects.items():
        for value in values:
            if value != run.dialect[key]:
                other = Run(run.implementation, run.device, run.format.name, {**run.dialect, key: value})
                other.clock = run.clock  # whoever waits for marks hears of these calls too
                if _holds(law, other, x) and _right_values(other):
                    return f"it holds under the dialect {key}={value!r}: declare that if it is meant"
    return ""


def _holds(law: Law, run: Run, x: Inputs) -> bool:
    try:
        verdict = trial(law, run, x)
    except Exception:  # a law need not be able to speak every dialect
        return False
    return verdict.holds and verdict.reached


def _right_values(run: Run) -> bool:
    """Whether the values are those of the reference, in the run's dialect, on all cases that are always tried."""
    claims = replace(run.implementation.claims, dialect=run.dialect)
    defining = [law for law in run.subject.laws if law.level == VALUES and not law.not_claimed(claims)]
    return all(_holds(law, run, run.inputs(case)) for law in defining for case in law.cases.always(claims))


def judge_laws(
    implementation: Implementation,
    device: str,
    dtype: str,
    laws: Iterable[Law],
    *,
    profile: str,
    seed: int,
    glance: bool = False,
    done: Mapping[str, Result] | None = None,
    command: str = "",
    announce: Callable[[str, str], None] = lambda law, case: None,
    found: Callable[[Result], None] = lambda result: None,
    watch: Callable[[bool], None] = lambda entering: None,
) -> Iterator[Result]:
    """Judge laws in order; whatever depends on a broken one is blocked. Yields a law's last word last.

    After a ``glance`` at one case of each, the first law that breaks on it comes before all others.
    """
    run = Run(implementation, device, dtype)
    run.clock.watch = watch
    if glance:
        laws = list(laws)
        first = breaks_at_once(laws, run, seed, announce)
        laws.sort(key=lambda law: law is not first)
    results = dict(done or {})
    every = {law.name: law for law in implementation.definition.laws}
    for law in laws:
        blocker = first_blocker(law, every, results)
        if blocker:
            outcome = Result(law.name, device, dtype, "blocked", reason=f"{blocker} is broken")
        else:
            announce(law.name, "")
            outcome = judge_law(
                law, run, profile=profile, seed=seed, command=command,
                announce=partial(announce, law.name), found=found,
            )  # fmt: skip
        results[law.name] = outcome
        yield outcome


def breaks_at_once(
    laws: Iterable[Law], run: Run, seed: int, announce: Callable[[str, str], None] = lambda law, case: None
) -> Law | None:
    """The first law that breaks on the first case it always tries. Sweeps over sizes are no glance."""
    for law in laws:
        claims = run.implementation.claims
        known = run.implementation.known_at(law.name, run.device, run.format.name)
        if law.sweeps or known or law.not_asked_of(run.implementation):
            continue
        for case in islice(law.cases.always(claims), 1):
            announce(law.name, repr(case))
            with random_from(seed_of(law, seed)), suppress(Exception):  # a fault of the suite shows in earnest
                if not trial(law, run, run.inputs(case)).holds:
                    return law
    return None
