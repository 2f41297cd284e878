"""Claims: a decorated function is a claim about architectures, with the experiment that decides it.

    @claim("B8", HOLDS, articles="S1", source="Vaswani et al. 2017, Table 1")
    def path_of_a_recurrence_is_linear(see: Evidence) -> None:
        '''The path between two positions of a recurrent network grows linearly with their distance.

        steps(h_1 → h_n) = n − 1

        Rule: a breadth-first search over the unrolled graph counts exactly n − 1 steps.
        '''
        for n in (8, 64, 512):
            see.supports(f"recurrence, n = {n}", steps(n), equals=n - 1)

An experiment reports what it measured in one case after another, and on which side of the claim each
case stands. The verdict follows from the sides: a claim that no case speaks against HOLDS, one that a
case speaks against is REFUTED, or HOLDS IF the condition that its verdict states. A case that does not
fall on its side changes the verdict, and the claim is red. Defining a claim registers it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqlaws.instruments import Picture

    Experiment = Callable[["Evidence"], None]

CLAIMS: dict[str, Claim] = {}
PAIRS: list[Contradiction] = []
RELATIONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "equals": ("=", lambda got, wanted: bool(got == wanted)),
    "at_most": ("≤", lambda got, wanted: bool(got <= wanted)),
    "at_least": ("≥", lambda got, wanted: bool(got >= wanted)),
    "below": ("<", lambda got, wanted: bool(got < wanted)),
    "above": (">", lambda got, wanted: bool(got > wanted)),
}
"""A number that is not finite satisfies none of the inequalities that it should not: NaN fails them all."""


@dataclass(frozen=True)
class Verdict:
    """How a claim ends: one of four words, and what belongs to it."""

    word: str
    because: str = ""

    def __str__(self) -> str:
        return f"{self.word}{': ' if self.word != 'HOLDS IF' else ' '}{self.because}" if self.because else self.word


HOLDS = Verdict("HOLDS")
WORDS = ("HOLDS", "HOLDS IF", "REFUTED", "NOT EXECUTABLE")


def HoldsIf(condition: str) -> Verdict:
    """True under a condition, false without it; the experiment shows both."""
    return Verdict("HOLDS IF", condition)


def Refuted(counterexample: str) -> Verdict:
    """False as stated; the experiment shows the counterexample."""
    return Verdict("REFUTED", counterexample)


def NotExecutable(reason: str) -> Verdict:
    """No experiment can settle it: history, or a quantity that nobody defines."""
    return Verdict("NOT EXECUTABLE", reason)


@dataclass(frozen=True)
class Observation:
    """What was measured in one case, the relation that it had to satisfy, and what that says of the claim."""

    case: str
    got: Any
    relation: str
    wanted: Any
    supports: bool

    @property
    def met(self) -> bool:
        """Whether the measured value satisfies the relation."""
        return RELATIONS[self.relation][1](self.got, self.wanted)

    @property
    def measured(self) -> str:
        """The measured value beside what it had to be: ``511 = 511``, ``2.3e-13 ≤ 7.0e-10``."""
        return f"{_number(self.got)} {RELATIONS[self.relation][0]} {_number(self.wanted)}"


@dataclass
class Evidence:
    """What an experiment reports to. Each report takes exactly one relation: ``equals=``, ``at_most=`` …"""

    observations: list[Observation] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def supports(self, case: str, got: Any, **relation: Any) -> None:
        """In this case the claim is true as stated, and the relation shows it."""
        self._observe(case, got, relation, True)

    def refutes(self, case: str, got: Any, **relation: Any) -> None:
        """In this case the claim is false as stated, and the relation shows it."""
        self._observe(case, got, relation, False)

    def picture(self, picture: Picture) -> None:
        """Show this beside the numbers."""
        self.pictures.append(picture)

    def _observe(self, case: str, got: Any, relation: dict[str, Any], supports: bool) -> None:
        ((name, wanted),) = relation.items()
        if name not in RELATIONS:
            raise TypeError(f"{name!r} is no relation; there are: {', '.join(RELATIONS)}")
        self.observations.append(Observation(case, got, name, wanted, supports))


@dataclass(frozen=True)
class Claim:
    """One sentence of the articles, what it says exactly, and how that is decided."""

    id: str
    verdict: Verdict
    articles: tuple[str, ...]
    sentence: str
    statement: str
    rule: str
    source: str
    budget: str
    """What an experiment that trains may use: steps and seeds. Empty where nothing is trained."""
    picture: str
    """The claim whose picture shows this one as well."""
    experiment: Experiment

    @property
    def section(self) -> str:
        """The letter of its section."""
        return self.id[0]

    @property
    def executable(self) -> bool:
        """Whether there is an experiment."""
        return self.verdict.word != "NOT EXECUTABLE"


def claim(
    id: str, verdict: Verdict, *, articles: str, source: str = "", budget: str = "", picture: str = ""
) -> Callable[[Experiment], Claim]:
    """Make the decorated function a claim.

    Its docstring has three paragraphs: the sentence, the exact statement, and "Rule: …", which says what
    is measured and what decides. A claim that is not executable has the sentence alone, and no body.
    """

    def define(experiment: Experiment) -> Claim:
        if id in CLAIMS:
            raise TypeError(f"two claims are called {id}")
        sentence, statement, rule = _parts(id, verdict, experiment)
        named = tuple(articles.split())
        CLAIMS[id] = Claim(id, verdict, named, sentence, statement, rule, source, budget, picture, experiment)
        return CLAIMS[id]

    return define


@dataclass(frozen=True)
class Contradiction:
    """Two claims that cannot both hold, each with the article that makes it."""

    one: str
    other: str
    why: str


def contradiction(one: str, other: str, why: str) -> None:
    """Record that two claims ("S2 F11": article and claim) cannot both hold."""
    PAIRS.append(Contradiction(one, other, why))


def _parts(id: str, verdict: Verdict, experiment: Experiment) -> tuple[str, str, str]:
    parts = inspect.cleandoc(experiment.__doc__ or "").split("\n\n")
    if verdict.word == "NOT EXECUTABLE" and len(parts) == 1:
        return " ".join(parts[0].split()), "", ""
    if len(parts) != 3 or not parts[2].startswith("Rule:"):
        raise TypeError(f"the docstring of claim {id} must have three paragraphs: sentence, statement, 'Rule: …'")
    return " ".join(parts[0].split()), parts[1], " ".join(parts[2][len("Rule:") :].split())


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.2e}"
    return str(value)
