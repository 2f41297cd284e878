"""The command `seqlaws claims`: runs the experiments and prints the ledger."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import seqlaws
from seqlaws.errors import Misunderstood
from seqlaws.output import STDOUT, refuse_unwritable, write
from seqlaws.terminal import Terminal

if TYPE_CHECKING:
    from seqlaws.ledger import Entry

STYLES = {"HOLDS": "green", "HOLDS IF": "yellow", "REFUTED": "red", "NOT EXECUTABLE": "dim"}
DETAILED = 5
"""So many claims, asked for by name, are shown with all that was measured."""
EPILOG = """An ID is that of a claim, or a pattern: B8, 'C*'. Without one, all claims are examined.

A claim HOLDS, HOLDS IF a condition is met, is REFUTED by a counterexample, or is NOT EXECUTABLE.
Those that train a model run with --profile thorough only.

Exit status: 0 every verdict is as recorded, 1 a verdict has changed, 2 the request could not be understood."""


def add_claims(commands: Any) -> None:
    """Add the command to the parser."""
    claims = commands.add_parser(
        "claims",
        help="examine what articles say about recurrence and attention",
        description="Examine claims about recurrence and attention by experiment.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    claims.set_defaults(run=run)
    add = claims.add_argument
    add("ids", nargs="*", metavar="ID", help="which claims (see below; default: all)")
    add("--profile", default="default", metavar="NAME", help="thorough: also those that train")
    add("--json", metavar="FILE", help="write the ledger there too; - for standard output")
    add("--html", metavar="FILE", help="write the ledger there as a page with its pictures")


def run(asked: argparse.Namespace) -> int:
    """Examine the claims asked for, show the ledger and write it."""
    if asked.html == STDOUT == asked.json:
        raise Misunderstood("--json and --html cannot both go to standard output")
    for file in (asked.json, asked.html):
        refuse_unwritable(file)
    import torch

    from seqlaws.claims_page import html
    from seqlaws.ledger import RED, chosen, examine
    from seqlaws.trial import PROFILES

    if asked.profile not in PROFILES:
        raise Misunderstood(f"unknown profile {asked.profile!r}; there are: {', '.join(PROFILES)}")
    torch.set_num_threads(1)
    claims = chosen(asked.ids)
    out = Terminal.of(sys.stderr if STDOUT in (asked.json, asked.html) else sys.stdout)
    live = _Live(out, Terminal.of(sys.stderr), len(claims), detailed=bool(asked.ids) and len(claims) <= DETAILED)
    entries = examine(claims, training=asked.profile == "thorough", heard=live.heard)
    live.clear()
    _show_closing(out, entries)
    if asked.json:
        write(json.dumps(to_json(entries), indent=1, ensure_ascii=False) + "\n", asked.json)
    if asked.html:
        write(html(entries), asked.html)
    return 1 if any(entry.status in RED for entry in entries) else 0


def to_json(entries: list[Entry]) -> dict[str, Any]:
    """The ledger as JSON data."""
    import torch

    from seqlaws.ledger import pairs

    return {
        "schema": 1,
        "seqlaws": seqlaws.__version__,
        "torch": torch.__version__,
        "claims": [entry.to_json() for entry in entries],
        "contradictions": [{"one": pair.one, "other": pair.other, "why": pair.why} for pair, _, _ in pairs()],
    }


@dataclass
class _Live:
    """What is shown while the experiments run."""

    out: Terminal
    err: Terminal
    planned: int
    detailed: bool
    heard_of: int = 0
    start: float = field(default_factory=time.monotonic)

    def heard(self, entry: Entry) -> None:
        self.heard_of += 1
        self.clear()
        show(self.out, entry, self.detailed)
        if self.err.interactive and self.heard_of < self.planned:
            text = f"{self.heard_of}/{self.planned}  {time.monotonic() - self.start:.0f} s"
            print(f"\r\x1b[K{text}", end="", file=self.err.stream, flush=True)

    def clear(self) -> None:
        if self.err.interactive:
            print("\r\x1b[K", end="", file=self.err.stream, flush=True)


def show(out: Terminal, entry: Entry, detailed: bool = False) -> None:
    """One claim: a line, its reason, and what was measured where that is asked for or has changed."""
    from seqlaws.ledger import CHANGED, ERROR, NOT_RUN

    claim, red = entry.claim, entry.status in (CHANGED, ERROR)
    word = entry.status.upper() if red or entry.status == NOT_RUN else claim.verdict.word
    lead = f"{claim.id:<4}{out.paint(f'{word:<15}', 'red' if red else STYLES.get(word, 'dim'))}"
    sentence = textwrap.wrap(claim.sentence, out.width - 19)
    out.say("\n".join([lead + sentence[0], *(" " * 19 + more for more in sentence[1:])]))
    because = entry.message if red or entry.status == NOT_RUN else claim.verdict.because
    if because:
        mark = {"HOLDS IF": "if ", "REFUTED": "but "}.get(word, "")
        text = because if entry.status == ERROR else textwrap.fill(mark + because, out.width - 19)
        out.say(textwrap.indent(text, " " * 19))
    if detailed or red:
        _show_evidence(out, entry)


def _show_evidence(out: Terminal, entry: Entry) -> None:
    claim = entry.claim
    for text in (claim.statement, claim.rule and f"Rule: {claim.rule}", claim.source and f"Source: {claim.source}"):
        if text:
            out.say(
                textwrap.indent("\n".join(textwrap.fill(line, out.width - 19) for line in text.splitlines()), " " * 19)
            )
    for each in entry.evidence.observations:
        side = "for    " if each.supports else "against"
        tick = "" if each.met else out.paint("   FALSE", "red")
        out.say(f"{' ' * 19}{side}  {each.case}: {each.measured}{tick}")
    out.say(f"{' ' * 19}articles: {', '.join(claim.articles)}; {entry.seconds:.2f} s")


def _show_closing(out: Terminal, entries: list[Entry]) -> None:
    from seqlaws.ledger import AS_RECORDED, NOT_RUN, RECORDED, RED, counts, pairs

    shown = {entry.claim.id for entry in entries}
    contradictions = [each for each in pairs() if each[1].id in shown and each[2].id in shown]
    if contradictions:
        out.say(f"\n{out.paint('Contradictions', 'bold')} ({len(contradictions)})")
    for pair, one, other in contradictions:
        for place, claim in ((pair.one, one), (pair.other, other)):
            line = textwrap.wrap(f"{claim.sentence} {claim.verdict.word}.", out.width - 11)
            out.say("\n".join([f"  {place:<9}{line[0]}", *(" " * 11 + more for more in line[1:])]))
        out.say(textwrap.indent(textwrap.fill(pair.why, out.width - 11), " " * 11))
    of = counts(entries)
    statuses = [entry.status for entry in entries]
    told = [
        f"{statuses.count(AS_RECORDED)} of {len(entries)} verdicts are as recorded",
        f"{statuses.count(RECORDED)} cannot be executed",
        f"{statuses.count(NOT_RUN)} were not run (they train: --profile thorough)",
        f"{sum(status in RED for status in statuses)} changed",
    ]
    kept = [text for text in told if not text.startswith("0 ") or "changed" in text]
    out.say(f"\n{', '.join(f'{number} {word}' for word, number in of.items())}.")
    red = any(status in RED for status in statuses)
    seconds = sum(entry.seconds for entry in entries)
    out.say(out.paint(f"{'; '.join(kept)}. {seconds:.1f} s.", "red" if red else "green"))
