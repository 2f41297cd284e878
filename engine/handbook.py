"""The catalogue of all laws as a page, from their docstrings. `python -m seqlaws.handbook docs` writes it."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from seqlaws.catalogue import load_lessons, load_subject, subject_names
from seqlaws.explain import needs_of, told
from seqlaws.law import LEVELS, Law
from seqlaws.lesson import GRADES
from seqlaws.subject import Subject


def page() -> str:
    """Every law with its formula, reason and source, what it needs, and the easiest lesson that it catches first."""
    subjects = [load_subject(name) for name in subject_names()]
    stated = defaultdict(list)
    for subject in subjects:
        for law in subject.laws:
            stated[law.check].append(law)
    shared = [laws for laws in stated.values() if len(laws) > 1]
    lines = [
        "# Laws",
        "",
        f"{sum(len(subject.laws) for subject in subjects)} laws of {len(subjects)} subjects: "
        f"{len(shared)} are stated once for several subjects, {len(stated) - len(shared)} for one.",
        "Generated from the docstrings in `spec/` by `python -m seqlaws.handbook docs`.",
        "`seqlaws explain LAW` shows one of them, with everything it depends on.",
        "",
        "## Shared by several subjects",
        "",
    ]
    for laws in shared:
        names = ", ".join(law.subject for law in laws)
        lines += [*_law(laws[0], f"`{laws[0].short}`"), f"Stated for: {names}."]
        lines += [*_notes(laws[0], load_subject(laws[0].subject)), ""]
    for subject in subjects:
        own = [law for law in subject.laws if len(stated[law.check]) == 1]
        lines += [*_subject(subject), ""]
        for law in own:
            lines += [*_law(law, f"`{law.name}`"), *_notes(law, subject), ""]
    return "\n".join(lines).rstrip() + "\n"


def _subject(subject: Subject) -> Iterator[str]:
    yield from (f"## {subject.name}", "", f"`{subject.signature}`")
    if subject.capabilities:
        yield from ("", "| capability | meaning |", "|---|---|")
        yield from (f"| `{name}` | {meaning} |" for name, meaning in subject.capabilities.items())
    if subject.dialects:
        yield from ("", "| dialect | values, the default first |", "|---|---|")
        yield from (f"| `{name}` | {', '.join(f'`{each}`' for each in v)} |" for name, v in subject.dialects.items())


def _law(law: Law, title: str) -> Iterator[str]:
    yield from (f"### {title}", "", law.claim, "", "```text", law.formula, "```", "", f"Why: {law.why}", "")
    if law.source:
        yield from (f"Source: {law.source}", "")


def _notes(law: Law, subject: Subject) -> Iterator[str]:
    caught = (each for each in load_lessons(subject.name) if each.caught_by[:1] == (law.name,))
    easiest = min(caught, key=lambda each: (GRADES.index(each.grade), not each.incident))
    yield f"Level: {LEVELS[law.level]}. Needs: {needs_of(law, subject)}."
    yield f"Lesson: `{easiest.name}`: {told(easiest)}"


def main(folder: str) -> None:
    """Write the page into a folder."""
    Path(folder, "laws.md").write_text(page())


if __name__ == "__main__":
    main(*sys.argv[1:])
