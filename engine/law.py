"""Laws: a decorated function is a law. Its name, its three-part docstring and its body say it once.

    @law(attention, STRUCTURE, needs=("bool_mask",))
    def ignores_hidden_keys(attend, x):
        '''A hidden key has no influence on the output.

        mask_ij = False  ⇒  ∂o_i/∂k_j = ∂o_i/∂v_j = 0

        Why: …
        '''
        return identical(attend(x), attend(x.but(k=...)))

Defining a law registers it. A `family` is one law for every subject.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from seqlaws.subject import Cases, Claims, Subject
from seqlaws.verdict import Verdict

if TYPE_CHECKING:
    from seqlaws.implementation import Implementation
    from seqlaws.inputs import Inputs
    from seqlaws.run import Run

    Check = Callable[[Run, Inputs], Verdict]

CONTRACT, STRUCTURE, VALUES, GRADIENTS, EDGES = range(5)
LEVELS = ("contract", "structure", "values", "gradients", "edges")

_LAWS: dict[str, Law] = {}
# the module that states it, and what makes it a law of a subject, if it applies there
_FAMILIES: list[tuple[str, Callable[[Subject], Law | None]]] = []


@dataclass(frozen=True)
class Law:
    """A statement that every correct implementation of a subject obeys.

    A law is *blocked* while a law of a lower level, or one that it names in ``after``, is broken.
    """

    name: str
    claim: str
    formula: str
    why: str
    source: str
    level: int
    needs: tuple[str, ...]
    needs_paths: bool
    unless: tuple[str, ...]
    when: Mapping[str, tuple[str, ...]]
    after: tuple[str, ...]
    cases: Cases
    examples: float
    check: Check

    @property
    def subject(self) -> str:
        """The subject of which this is a law."""
        return self.name.partition(".")[0]

    @property
    def short(self) -> str:
        """The name without its subject."""
        return self.name.partition(".")[2]

    @property
    def sweeps(self) -> bool:
        """Whether one case of it asks at so many sizes that a few cases are enough."""
        return self.examples < 0.2

    def depends_on(self, other: Law) -> bool:
        """Whether this law says nothing while the other is broken."""
        if other.name in self.after:
            return True
        deepest = self.level if "gradient" in self.needs else min(self.level, GRADIENTS)
        return other.level < deepest

    def not_claimed(self, claims: Claims) -> str:
        """Why the law does not apply to an implementation with these claims, or ""."""
        for need in self.needs:
            if not claims.can & set(need.split("|")):
                return f"does not claim {need.replace('|', ' or ')}"
        for name in self.unless:
            if name in claims.can:
                return f"claims {name}"
        for key, values in self.when.items():
            if claims.dialect[key] not in values:
                return f"declares {key}={claims.dialect[key]!r}"
        return ""

    def not_asked_of(self, implementation: Implementation) -> str:
        """Why the law does not apply to an implementation, or ""."""
        unclaimed = self.not_claimed(implementation.claims)
        return unclaimed or ("lists no paths" if self.needs_paths and not implementation.paths else "")


def law(
    subject: Subject,
    level: int,
    *,
    cases: Cases | None = None,
    needs: tuple[str, ...] = (),
    needs_paths: bool = False,
    unless: tuple[str, ...] = (),
    when: Mapping[str, tuple[str, ...]] | None = None,
    after: tuple[str, ...] = (),
    examples: float = 1.0,
) -> Callable[[Check], Law]:
    """Make the decorated function a law of a subject.

    ``needs`` names capabilities ("a|b": one of them is enough), ``unless`` those with which it says
    nothing, ``when`` the dialects under which it applies, ``after`` laws of the same level without
    which it says nothing; ``examples`` scales the profile's number of draws.
    """

    def define(check: Check) -> Law:
        claim, formula, why, source = _parts(check)
        name = f"{subject.name}.{check.__name__}"
        if name in _LAWS:
            raise TypeError(f"two laws are called {name}")
        unknown = {name for need in needs for name in need.split("|")} - set(subject.capabilities)
        if unknown:
            raise TypeError(f"{name} needs {unknown}, which {subject.name} does not have")
        full = tuple(f"{subject.name}.{short}" for short in after)
        made = Law(
            name, claim, formula, why, source, level, needs, needs_paths, unless, when or {}, full,
            cases or subject.cases, examples, check,
        )  # fmt: skip
        _LAWS[name] = made
        return made

    return define


def family(
    level: int,
    *,
    needs: tuple[str, ...] = (),
    needs_paths: bool = False,
    when: Mapping[str, tuple[str, ...]] | None = None,
    where: Callable[[Subject], bool] = lambda subject: True,
    after: tuple[str, ...] = (),
    cases: Callable[[Subject], Cases] = lambda subject: subject.cases,
    examples: float = 1.0,
) -> Callable[[Check], Check]:
    """Make the decorated function a law of every subject that has the needed capabilities, where it makes sense."""

    def define(check: Check) -> Check:
        def instance(subject: Subject) -> Law:
            return law(
                subject, level, cases=cases(subject), needs=needs, needs_paths=needs_paths, when=when, after=after,
                examples=examples,
            )(check)  # fmt: skip

        def where_it_applies(subject: Subject) -> Law | None:
            stated = subject.tensors and set(needs) <= set(subject.capabilities) and where(subject)
            stated = stated and ("gradient" not in needs or subject.exact_gradient is not None)
            return instance(subject) if stated else None

        _FAMILIES.append((check.__module__, where_it_applies))
        return check

    return define


def instantiate_families(subject: Subject) -> None:
    """Give a subject its instance of every family."""
    for _, instance in sorted(_FAMILIES, key=itemgetter(0)):  # whichever was loaded first
        instance(subject)


def laws_of(subject: str) -> list[Law]:
    """The laws of a subject, in the order in which they are judged: level by level, what others come after first."""
    own = {each.name: each for each in _LAWS.values() if each.subject == subject}
    ordered: dict[str, Law] = {}

    def place(each: Law) -> None:
        for name in each.after:
            if name in own and name not in ordered:
                place(own[name])
        ordered.setdefault(each.name, each)

    for each in sorted(own.values(), key=lambda each: each.level):
        place(each)
    return list(ordered.values())


def _parts(check: Check) -> tuple[str, str, str, str]:
    paragraphs = inspect.cleandoc(check.__doc__ or "").split("\n\n")
    source = ""
    if len(paragraphs) == 4 and paragraphs[3].startswith("Source:"):
        source = " ".join(paragraphs.pop()[len("Source:") :].split())
    if len(paragraphs) != 3 or not paragraphs[2].startswith("Why:"):
        raise TypeError(
            f"the docstring of law {check.__name__} must have three parts: claim, formula, 'Why: …' (and 'Source: …')"
        )
    claim, formula, why = paragraphs
    return " ".join(claim.split()), formula, " ".join(why[len("Why:") :].split()), source
