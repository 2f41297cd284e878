"""The ledger: runs the experiments of claims and says whether each verdict is still what it was."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from seqlaws.catalogue import load_claims
from seqlaws.claim import CLAIMS, PAIRS, WORDS, Claim, Contradiction, Evidence
from seqlaws.nearest import misunderstood

if TYPE_CHECKING:
    from seqlaws.instruments import Picture

AS_RECORDED, CHANGED, ERROR, RECORDED, NOT_RUN = "as recorded", "changed", "error", "recorded", "not run"
RED = frozenset({CHANGED, ERROR})


@dataclass(frozen=True)
class Entry:
    """A claim after its experiment."""

    claim: Claim
    status: str
    message: str = ""
    evidence: Evidence = field(default_factory=Evidence)
    seconds: float = 0.0

    @property
    def pictures(self) -> list[Picture]:
        """What the experiment drew."""
        return self.evidence.pictures

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON data."""
        claim = self.claim
        return {
            "id": claim.id,
            "articles": list(claim.articles),
            "sentence": claim.sentence,
            "verdict": claim.verdict.word,
            "because": claim.verdict.because,
            "status": self.status,
            "message": self.message,
            "statement": claim.statement,
            "rule": claim.rule,
            "source": claim.source,
            "budget": claim.budget,
            "seconds": round(self.seconds, 3),
            "evidence": [
                {
                    "case": each.case,
                    "measured": each.measured,
                    "met": each.met,
                    "side": "supports" if each.supports else "refutes",
                }
                for each in self.evidence.observations
            ],
        }


def chosen(patterns: Iterable[str]) -> list[Claim]:
    """Claims by name or glob, all without any, in the order of the ledger. Raises Misunderstood."""
    load_claims()
    ordered = sorted(CLAIMS.values(), key=lambda claim: (claim.section, int(claim.id[1:])))
    wanted = list(patterns) or ["*"]
    for pattern in wanted:
        if not any(fnmatchcase(claim.id, pattern) for claim in ordered):
            raise misunderstood(f"no claim is called {pattern!r}", pattern, [claim.id for claim in ordered])
    return [claim for claim in ordered if any(fnmatchcase(claim.id, pattern) for pattern in wanted)]


def examine(
    claims: Iterable[Claim], *, training: bool, heard: Callable[[Entry], None] = lambda entry: None
) -> list[Entry]:
    """Run the experiments, one after the other; those that train only if asked."""
    entries = []
    for claim in claims:
        entries.append(run(claim) if training or not claim.budget else Entry(claim, NOT_RUN, TRAINS))
        heard(entries[-1])
    return entries


TRAINS = "trains, which only the thorough profile does"


def run(claim: Claim) -> Entry:
    """Run one experiment from a fixed seed, and leave the random state as it was."""
    if not claim.executable:
        return Entry(claim, RECORDED, claim.verdict.because)
    import torch

    evidence, started = Evidence(), time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            claim.experiment(evidence)
        except Exception:
            return Entry(claim, ERROR, traceback.format_exc(), evidence, time.perf_counter() - started)
    message = _what_changed(claim, evidence)
    return Entry(claim, CHANGED if message else AS_RECORDED, message, evidence, time.perf_counter() - started)


def _what_changed(claim: Claim, evidence: Evidence) -> str:
    """Why the evidence does not give the recorded verdict, or ""."""
    unmet = [each for each in evidence.observations if not each.met]
    if unmet:
        cases = "; ".join(f"{each.case}: {each.measured} is false" for each in unmet)
        return f"{len(unmet)} of {len(evidence.observations)} cases do not stand where they stood: {cases}"
    supported = any(each.supports for each in evidence.observations)
    refuted = any(not each.supports for each in evidence.observations)
    found = {
        (True, False): "HOLDS",
        (False, True): "REFUTED",
        (True, True): "HOLDS IF" if claim.verdict.word == "HOLDS IF" else "REFUTED",
        (False, False): "undecided: nothing was measured",
    }[supported, refuted]
    return "" if found == claim.verdict.word else f"recorded {claim.verdict.word}, and the evidence says {found}"


def pairs() -> list[tuple[Contradiction, Claim, Claim]]:
    """The contradictions, each with its two claims."""
    load_claims()
    return [(pair, CLAIMS[pair.one.split()[1]], CLAIMS[pair.other.split()[1]]) for pair in PAIRS]


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many claims have each verdict."""
    words = [entry.claim.verdict.word for entry in entries]
    return {word: words.count(word) for word in WORDS}
