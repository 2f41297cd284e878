"""The report: cards as laws break, and at the end a table and what a person must know beside it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from seqlaws.catalogue import load_laws
from seqlaws.kinship import known_elsewhere, relatives
from seqlaws.result import RED, Judged, Report, Result
from seqlaws.terminal import WIDTH, Terminal

HEADINGS = {
    "holds": "holds",
    "broken": "broken",
    "known_but_holds": "holds again",
    "error": "error",
    "known": "known",
    "vacuous": "vacuous",
    "blocked": "blocked",
    "not_claimed": "not claimed",
}
JUDGED = frozenset({"holds", "known"}) | RED
Pair = tuple[Judged, Result]


@dataclass
class Live:
    """What is shown while laws are judged: a line of progress, and every red result in full."""

    out: Terminal
    err: Terminal
    planned: int = 0
    heard_of: int = 0
    shown: set[tuple[str, str, str]] = field(default_factory=set)
    start: float = field(default_factory=time.monotonic)

    def expect(self, count: int) -> None:
        """Take note of how many results there will be."""
        self.planned = count

    def heard(self, result: Result, judged: Judged) -> None:
        """Take note of one result."""
        self.heard_of += 1
        if result.status in RED:
            self.clear()
            fault = (judged.name, result.law, result.status)
            if fault in self.shown:
                self.out.say(f"{self.out.paint(_title(judged, result), 'red')}   also here")
            else:
                show_red(self.out, judged, result)
            self.shown.add(fault)
        self._draw(f"{judged.name}  {result.device}-{result.dtype}  {result.law}")

    def clear(self) -> None:
        """Take the line of progress away."""
        if self.err.interactive:
            print("\r\x1b[K", end="", file=self.err.stream, flush=True)

    def _draw(self, text: str) -> None:
        if self.err.interactive:
            done = 20 * self.heard_of // max(1, self.planned, self.heard_of)
            bar = f"{'█' * done}{'░' * (20 - done)} {self.heard_of}/{self.planned}"
            line = f"{bar}  {time.monotonic() - self.start:.0f} s  {text}"
            print(f"\r\x1b[K{line[: self.err.width - 1]}", end="", file=self.err.stream, flush=True)


def show_red(out: Terminal, judged: Judged, result: Result) -> None:
    """A red result in full."""
    title, account = _title(judged, result), result.message
    if result.card:
        title, _, account = result.card.partition("\n")
    elif result.status == "error":
        account = f"\n  The suite itself failed; nothing is said about the implementation.\n{_indented(result.message)}"
    elif result.status == "known_but_holds":
        account = f"\n{_indented(result.message)}\n{_indented('It was listed because: ' + result.reason)}"
    out.say(f"\n{out.paint(title, 'red')}\n{account}")


def _title(judged: Judged, result: Result) -> str:
    return f"{HEADINGS[result.status].upper()}  {result.law}   by {judged.name}   [{result.device}-{result.dtype}]"


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")


def show_report(out: Terminal, report: Report, planned: int) -> None:
    """The table, what stands behind its numbers, and one closing sentence."""
    if report.red:
        out.say()
    _show_table(out, report)
    pairs = [(judged, result) for judged in report.implementations for result in judged.results]
    for status, lead, detailed in SECTIONS:
        chosen = [(judged, result) for judged, result in pairs if result.status == status]
        if chosen:
            _show_section(out, HEADINGS[status], chosen, lead, detailed)
    for judged in report.implementations:
        broken = {result.law for result in judged.results if result.status == "broken"}
        for fault in known_elsewhere(judged.name, broken):
            out.say(_wrapped(f"Perhaps inherited: {fault}", ""))
        if {result.law for result in judged.results} != {law.name for law in load_laws(judged.subject)}:
            continue  # whether it breaks these alone is not known
        if alike := relatives(judged.subject, broken):
            names = ", ".join(f"lesson:{name}" for name in alike)
            out.say(_wrapped(f"{judged.name} breaks just the laws that are broken first by {names}", ""))
    for note in report.notes:
        out.say(_wrapped(f"Note: {note}", ""))
    seconds = sum(judged.seconds for judged in report.implementations)
    inside = sum(judged.in_implementation + judged.in_reference for judged in report.implementations)
    if seconds:
        beside = f", spent side by side in {report.seconds:.1f} s" if 0 < report.seconds < seconds else ""
        out.say(f"Time inside implementations and references: {inside / seconds:.0%} of {seconds:.1f} s{beside}.")
    out.say(out.paint(closing(report, planned), "red" if report.red else "yellow" if report.interrupted else "green"))


def closing(report: Report, planned: int) -> str:
    """The outcome in one sentence."""
    total = len(report.results)
    part = ""
    if total < planned:
        part = f"{'Interrupted' if report.interrupted else 'Stopped'} after {total:,} of {planned:,} judgements. "
    counts = {status: report.count(status) for status in HEADINGS if report.count(status)}
    if not report.red:
        others = ", ".join(f"{count:,} {HEADINGS[status]}" for status, count in counts.items() if status != "holds")
        rest = f"; {others}" if others else ""
        return f"{part}Nothing is broken: of {total:,} judgements {counts.get('holds', 0):,} hold{rest}."
    faults = []
    for status, one, many in (
        ("broken", "law is broken", "laws are broken"),
        ("known_but_holds", "known fault is gone", "known faults are gone"),
        ("error", "law could not be judged", "laws could not be judged"),
    ):
        laws = {result.law for result in report if result.status == status}
        if laws:
            faults.append(
                f"{len(laws)} {one if len(laws) == 1 else many} (in {counts[status]:,} of {total:,} judgements)"
            )
    return f"{part}{', '.join(faults)}."


def why_nothing_was_judged(report: Report) -> str:
    """One line, if not one law came to be judged; a run in which nothing happened is never green."""
    if report.interrupted or any(result.status in JUDGED for result in report):
        return ""
    reasons = [*report.notes, *(result.reason or NEVER_REACHED for result in report)]
    return f"no law was judged: {'; '.join(dict.fromkeys(reasons))}"


def _show_table(out: Terminal, report: Report) -> None:
    statuses = [each for each in HEADINGS if each in ("holds", "broken") or report.count(each)]
    titles = ["laws", *(HEADINGS[each] for each in statuses), "sub-cases", "seconds"]
    widths = [max(len(title), 6) + 2 for title in titles]
    out.say(" " * 16 + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))

    def row(name: str, results: list[Result]) -> None:
        cells = [f"{len(results):>{widths[0]},}"]
        for status, width in zip(statuses, widths[1:], strict=False):
            number = sum(result.status == status for result in results)
            style = "red" if status in RED else "yellow" if status in ("known", "vacuous", "blocked") else "green"
            cells.append(out.paint(f"{number:>{width},}", style) if number else f"{'·':>{width}}")
        cells.append(f"{sum(result.cases for result in results):>{widths[-2]},}")
        cells.append(f"{sum(result.seconds for result in results):>{widths[-1]}.1f}")
        out.say(f"{name:<16}{''.join(cells)}")

    for judged in report.implementations:
        out.say(out.paint(judged.name, "bold"))
        cells = dict.fromkeys((result.device, result.dtype) for result in judged.results)
        for device, dtype in cells:
            row(f"  {device} {dtype}", [r for r in judged.results if (r.device, r.dtype) == (device, dtype)])
        if not cells:
            out.say("  nothing judged")
    row("all", report.results)
    out.say()


def _show_section(
    out: Terminal, title: str, pairs: list[Pair], lead: Callable[[Judged, Result], str], detailed: bool
) -> None:
    """Results of one status, grouped by what explains them: once per explanation, not once per dtype."""
    out.say(f"{out.paint(title[0].upper() + title[1:], 'bold')} ({len(pairs):,})")
    for explanation, explained in _grouped(pairs, lead).items():
        out.say(_wrapped(explanation, "  "))
        for name, own in _grouped(explained, lambda judged, result: judged.name).items():
            laws = _grouped(own, lambda judged, result: result.law)
            if not detailed:
                out.say(f"      {name}: {len(laws)} law{'s' * (len(laws) != 1)} ({_places(own)})")
                continue
            if name != explanation:
                out.say(f"      {name}")
            for law, where in laws.items():
                out.say(f"{'' if name == explanation else '  '}      {law} ({_places(where)})")
    out.say()


def _grouped(pairs: Iterable[Pair], key: Callable[[Judged, Result], str]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for judged, result in pairs:
        groups.setdefault(key(judged, result), []).append((judged, result))
    return groups


def _places(pairs: Iterable[Pair]) -> str:
    """Devices, and the dtypes on each where they are not all that were judged there."""
    places: dict[str, list[str]] = {}
    every: dict[str, set[str]] = {}
    for judged, result in pairs:
        if result.dtype not in places.setdefault(result.device, []):
            places[result.device].append(result.dtype)
        every.setdefault(result.device, {each.dtype for each in judged.results if each.device == result.device})
    return "; ".join(
        f"{device}, every dtype" if len(dtypes) == len(every[device]) > 1 else f"{device} {', '.join(dtypes)}"
        for device, dtypes in places.items()
    )


def _last_line(text: str) -> str:
    return (text.splitlines() or [""])[-1]


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


NEVER_REACHED = "no drawn case reached what the law is about"
# Which results are listed below the table, what they are grouped by, and whether law by law.
SECTIONS: tuple[tuple[str, Callable[[Judged, Result], str], bool], ...] = (
    ("not_claimed", lambda judged, result: result.reason, False),
    ("blocked", lambda judged, result: result.reason, False),
    ("vacuous", lambda judged, result: NEVER_REACHED, True),
    ("known", lambda judged, result: result.reason, True),
    ("known_but_holds", lambda judged, result: f"{result.message} ({result.reason})", True),
    ("error", lambda judged, result: _last_line(result.message), True),
    ("broken", lambda judged, result: judged.name, True),
)
