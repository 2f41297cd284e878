"""Lessons: broken implementations with one sin each, and honest variants that nothing may flag.

    @lesson("attention", "easy", caught_by=("agrees_with_its_definition",), incident="org/repo#1")
    def forgets_the_scale(q, k, v, *, mask=None, is_causal=False, scale=None):
        '''The scores are not divided by √D.

        Softmax saturates as the width grows …
        '''

Defining one registers it. The docstring is the story: the sin in one line, then what follows from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from seqlaws.implementation import Implementation
from seqlaws.subject import Subject

GRADES = ("easy", "medium", "nasty")

Call = Callable[..., Any]

_LESSONS: dict[str, Lesson] = {}
_EVERYWHERE: list[Callable[[Implementation], None]] = []


@dataclass(frozen=True)
class Lesson:
    """A broken implementation, its story, and the laws that must catch it; honest ones have none.

    The first law of ``caught_by`` must be broken and not blocked; all of them must be broken when
    each is judged alone.
    """

    implementation: Implementation
    grade: str
    story: str
    caught_by: tuple[str, ...]
    incident: str = ""
    dtypes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The name, with the subject in front."""
        return self.implementation.name

    @property
    def subject(self) -> str:
        """The subject that it gets wrong."""
        return self.implementation.subject

    @property
    def honest(self) -> bool:
        """Whether there is nothing wrong with it."""
        return self.grade == "honest"


def lesson(
    subject: str,
    grade: str,
    *,
    caught_by: tuple[str, ...],
    incident: str = "",
    dtypes: tuple[str, ...] = (),
    **declared: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function a lesson. ``dtypes`` says where the sin shows, if not everywhere;
    ``declared`` are further fields of its Implementation."""
    if grade not in GRADES:
        raise TypeError(f"a lesson is {', '.join(GRADES)}, not {grade}")
    laws = tuple(f"{subject}.{short}" for short in caught_by)

    def define(call: Callable[..., Any]) -> Callable[..., Any]:
        _register(Lesson(_implementation(subject, call, declared), grade, _story(call), laws, incident, dtypes))
        return call

    return define


def honest(subject: str, **declared: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function an honest variant: another way to compute the same thing."""

    def define(call: Callable[..., Any]) -> Callable[..., Any]:
        _register(Lesson(_implementation(subject, call, declared), "honest", _story(call), ()))
        return call

    return define


def lesson_everywhere(
    grade: str,
    *,
    caught_by: tuple[str, ...],
    incident: str = "",
    dtypes: tuple[str, ...] = (),
    as_path: bool = False,
    where: Callable[[Subject], bool] = lambda subject: True,
) -> Callable[[Callable[[Call], Call]], Callable[[Call], Call]]:
    """Make the decorated function a lesson of every subject that states the laws which catch it, where it makes sense.

    It receives the first honest variant of the subject and returns a broken one; with ``as_path``,
    that becomes a second path beside the honest call.
    """

    def define(sin: Callable[[Call], Call]) -> Callable[[Call], Call]:
        def instance(base: Implementation) -> None:
            name = f"{base.subject}.{sin.__name__}"
            stated = {law.short for law in base.definition.laws if not law.not_claimed(base.claims)}
            if name in _LESSONS or not where(base.definition) or not stated.issuperset(caught_by):
                return
            broken = base.definition.around(base.call, sin)
            calls = {"call": base.call, "paths": {"the other path": broken}} if as_path else {"call": broken}
            laws = tuple(f"{base.subject}.{short}" for short in caught_by)
            _register(Lesson(replace(base, name=name, **calls), grade, _story(sin), laws, incident, dtypes))

        _EVERYWHERE.append(instance)
        return sin

    return define


def instantiate_lessons(subject: str) -> None:
    """Give a subject its instance of the lessons that every subject has."""
    honest = [each.implementation for each in lessons_of(subject) if each.honest]
    for base in honest[:1]:
        for instance in _EVERYWHERE:
            instance(base)


def lessons_of(subject: str) -> list[Lesson]:
    """The lessons of a subject, as written; honest variants among them."""
    return [each for each in _LESSONS.values() if each.subject == subject]


def _implementation(subject: str, call: Callable[..., Any], declared: Mapping[str, Any]) -> Implementation:
    return Implementation(name=f"{subject}.{call.__name__}", subject=subject, call=call, **declared)


def _story(call: Callable[..., Any]) -> str:
    text = inspect.cleandoc(call.__doc__ or "")
    if not text:
        raise TypeError(f"lesson {call.__name__} tells no story: give it a docstring")
    return text


def _register(made: Lesson) -> None:
    if made.name in _LESSONS:
        raise TypeError(f"two lessons are called {made.name}")
    _LESSONS[made.name] = made
