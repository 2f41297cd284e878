"""Results: what is known after judging, as plain values that can be sent, stored and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

STATUSES = ("holds", "broken", "known", "known_but_holds", "not_claimed", "blocked", "vacuous", "error")
RED = frozenset({"broken", "known_but_holds", "error"})


@dataclass(frozen=True)
class Result:
    """The outcome of one law at one device and dtype."""

    law: str
    device: str
    dtype: str
    status: str
    cases: int = 0
    seconds: float = 0.0
    counterexample: str | None = None
    message: str = ""
    reason: str = ""
    card: str = ""
    in_implementation: float = 0.0
    in_reference: float = 0.0
    strain: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields of the published schema."""
        fields = asdict(self)
        return {
            key: fields[key]
            for key in ("law", "device", "dtype", "status", "cases", "seconds", "counterexample", "message", "reason")
        }


@dataclass
class Judged:
    """All results of one implementation, and the time that was spent on them, in whatever processes."""

    name: str
    subject: str
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def in_implementation(self) -> float:
        """Seconds inside the implementation."""
        return sum(result.in_implementation for result in self.results)

    @property
    def in_reference(self) -> float:
        """Seconds inside its reference."""
        return sum(result.in_reference for result in self.results)


@dataclass
class Report:
    """What a run found, and how long it took. `broken` is what a user must look at first."""

    implementations: list[Judged]
    profile: str
    seed: int
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def results(self) -> list[Result]:
        """All results, implementation by implementation."""
        return [result for judged in self.implementations for result in judged.results]

    @property
    def broken(self) -> list[Result]:
        """The results of broken laws."""
        return [result for result in self.results if result.status == "broken"]

    @property
    def red(self) -> list[Result]:
        """Everything that makes the run fail: broken laws, known ones that hold again, errors of the suite."""
        return [result for result in self.results if result.status in RED]

    def count(self, status: str) -> int:
        """How many results have a status."""
        return sum(result.status == status for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """The report in the published schema, ready for json.dump."""
        import platform

        import torch

        import seqlaws

        return {
            "schema": 1,
            "seqlaws": seqlaws.__version__,
            "torch": torch.__version__,
            "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "seed": self.seed,
            "profile": self.profile,
            "interrupted": self.interrupted,
            "implementations": [
                {
                    "name": judged.name,
                    "subject": judged.subject,
                    "results": [result.as_json() for result in judged.results],
                    "seconds": judged.seconds,
                    "seconds_in_implementation": judged.in_implementation,
                    "seconds_in_reference": judged.in_reference,
                }
                for judged in self.implementations
            ],
        }

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)
