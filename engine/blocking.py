"""Blocking: one fault is one broken law; what depends on that law says nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from seqlaws.law import Law
from seqlaws.result import Result


def first_blocker(law: Law, every: Mapping[str, Law], results: Mapping[str, Result]) -> str:
    """The name of a broken law on which this one depends, perhaps through others, or ""."""
    for name, outcome in results.items():
        if outcome.status == "broken" and name in dependencies(law, every):
            return name
    return ""


def dependencies(law: Law, every: Mapping[str, Law]) -> frozenset[str]:
    """The names of all laws on which this one depends, directly or through others."""
    found: set[str] = set()
    fresh = [law]
    while fresh:
        one = fresh.pop()
        more = [other for other in every.values() if other.name not in found and one.depends_on(other)]
        found.update(other.name for other in more)
        fresh += more
    return frozenset(found)


def blocked(result: Result, blocker: str) -> Result:
    """A broken result that another one explains."""
    return replace(result, status="blocked", reason=f"{blocker} is broken", card="", message="", counterexample=None)
