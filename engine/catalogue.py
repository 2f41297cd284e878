"""The one place that loads what is specified: subjects, laws and claims from `spec`, lessons from `lessons`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from seqlaws.errors import Misunderstood

if TYPE_CHECKING:
    from seqlaws.law import Law
    from seqlaws.lesson import Lesson
    from seqlaws.subject import Subject

_COMPLETE: set[str] = set()


def subject_names() -> list[str]:
    """The subjects that have a file in `spec`; what several subjects share is none itself."""
    return _modules("seqlaws.spec", besides={"claims", "contract", "positions", "recurrent"})


def load_subject(name: str) -> Subject:
    """A subject with all its laws. Raises Misunderstood for a name that is not one."""
    from seqlaws.law import instantiate_families
    from seqlaws.subject import SUBJECTS

    if name not in subject_names():
        raise Misunderstood(f"unknown subject {name!r}; there are: {', '.join(subject_names())}")
    _load("seqlaws.spec.contract")
    _load(f"seqlaws.spec.{name}")
    subject = SUBJECTS[name]
    if name not in _COMPLETE:
        _COMPLETE.add(name)
        instantiate_families(subject)
    return subject


def load_laws(subject: str) -> list[Law]:
    """The laws of a subject, in the order in which they are judged."""
    return load_subject(subject).laws


def load_lessons(subject: str) -> list[Lesson]:
    """The lessons of a subject: its own, and those that every subject has."""
    from seqlaws.lesson import instantiate_lessons, lessons_of

    load_subject(subject)
    _load("seqlaws.lessons.contract")
    if subject in _modules("seqlaws.lessons"):
        _load(f"seqlaws.lessons.{subject}")
    instantiate_lessons(subject)
    return lessons_of(subject)


def load_claims() -> None:
    """Register every claim."""
    _load("seqlaws.spec.claims")


def article_titles() -> dict[str, str]:
    """The articles that make the claims: their names, and their titles."""
    return dict(importlib.import_module("seqlaws.spec.claims").ARTICLES)


def claim_sections() -> dict[str, str]:
    """The sections of the ledger: their letters, and their titles."""
    return dict(importlib.import_module("seqlaws.spec.claims").SECTIONS)


def _load(name: str) -> None:
    """Load a module, or all modules of a package."""
    if hasattr(importlib.import_module(name), "__path__"):
        for part in _modules(name):
            importlib.import_module(f"{name}.{part}")


def _modules(package: str, besides: frozenset[str] | set[str] = frozenset()) -> list[str]:
    path = importlib.import_module(package).__path__
    return sorted(each.name for each in pkgutil.iter_modules(path) if each.name not in besides)
