"""What the suite says about itself: its laws, one law in full, its lessons."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from seqlaws.catalogue import load_laws, load_lessons, load_subject, subject_names
from seqlaws.law import LEVELS, Law
from seqlaws.lesson import Lesson
from seqlaws.nearest import misunderstood
from seqlaws.subject import Subject
from seqlaws.targets import LESSON
from seqlaws.terminal import Terminal


def show_laws(out: Terminal, name: str | None) -> None:
    """Every law by subject and level: its name and its claim."""
    subjects = [load_subject(each) for each in ([name] if name else subject_names())]
    for subject in subjects:
        out.say(f"{out.paint(subject.name, 'bold')}: {_count(len(subject.laws), 'law')}   {subject.signature}")
        if name:
            _show_declarations(out, subject)
        column = min(36, max((len(law.short) for law in subject.laws), default=0))
        for level, title in enumerate(LEVELS):
            laws = [law for law in subject.laws if law.level == level]
            if laws:
                out.say(f"  {out.paint(title, 'dim')}")
            for law in laws:
                _two_columns(out, "    ", law.short, column, law.claim)
        out.say()
    total = sum(len(subject.laws) for subject in subjects)
    example = next((law.name for subject in subjects for law in subject.laws), "LAW")
    out.say(f"{_count(total, 'law')} of {_count(len(subjects), 'subject')}. More on one: seqlaws explain {example}")


def _show_declarations(out: Terminal, subject: Subject) -> None:
    """What an implementation of the subject can declare about itself."""
    for title, declared in (
        ("capabilities (can=)", subject.capabilities),
        ("conventions (dialect=), the default first", {k: ", ".join(v) for k, v in subject.dialects.items()}),
    ):
        if declared:
            out.say(f"  {out.paint(title, 'dim')}")
        for name, meaning in declared.items():
            _two_columns(out, "    ", name, max(map(len, declared)), meaning)


def show_law(out: Terminal, name: str) -> None:
    """One law: what it claims, why, what it depends on, and the lessons that it catches."""
    law = find_law(name)
    subject = load_subject(law.subject)
    out.say(out.paint(law.name, "bold"))
    out.say()
    for line in textwrap.wrap(law.claim, out.width - 2):
        out.say(f"  {line}")
    out.say(textwrap.indent(law.formula, "      "))
    out.say()
    own = [each for each in load_lessons(law.subject) if law.name in each.caught_by]
    for title, text in (
        ("Why", law.why),
        ("Source", law.source),
        ("Level", LEVELS[law.level]),
        ("Needs", needs_of(law, subject)),
        ("Depends on", _dependencies(law, subject.laws)),
        ("Catches", "" if own else "no lesson yet"),
    ):
        if text:
            _two_columns(out, "  ", title, len("Depends on"), text)
    for each in own:
        _two_columns(out, "  ", "Catches" if each is own[0] else "", len("Depends on"), f"{each.name}: {told(each)}")


def find_law(name: str) -> Law:
    """The law of a name. Raises Misunderstood, with names that are close, where there is none."""
    subject = name.partition(".")[0]
    names = subject_names()
    laws = {law.name: law for each in ([subject] if subject in names else names) for law in load_laws(each)}
    if name not in laws:
        shorts = [law.name for law in laws.values() if law.short == name]
        raise misunderstood(f"unknown law {name!r}", shorts[0] if shorts else name, list(laws))
    return laws[name]


def needs_of(law: Law, subject: Subject) -> str:
    """What an implementation must declare for the law to apply to it."""
    parts = [" or ".join(f"{name} ({subject.capabilities[name]})" for name in need.split("|")) for need in law.needs]
    parts += [f"not {name}" for name in law.unless]
    parts += [f"{key}={' or '.join(map(repr, values))}" for key, values in law.when.items()]
    return "; ".join([*parts, *(["paths"] if law.needs_paths else [])]) or "nothing"


def _dependencies(law: Law, laws: Iterable[Law]) -> str:
    """The laws that block this one when they are broken; a level that does so as a whole is named once."""
    parts = []
    for level, title in enumerate(LEVELS):
        peers = [each for each in laws if each.level == level]
        before = [each for each in peers if law.depends_on(each)]
        if before and len(before) == len(peers):
            parts.append(f"every {title} law ({len(peers)})")
        else:
            parts += [each.name for each in before]
    return ", ".join(parts) or "nothing"


def show_lessons(out: Terminal, name: str | None) -> None:
    """Every lesson by subject: its grade, its sin and the laws that catch it; honest variants apart."""
    broken = honest = 0
    example = "subject.name"
    for subject in [name] if name else subject_names():
        lessons = load_lessons(subject)
        faulty = [each for each in lessons if not each.honest]
        out.say(f"{out.paint(subject, 'bold')}: {_count(len(faulty), 'lesson')}")
        for each in faulty:
            laws = ", ".join(law.partition(".")[2] for law in each.caught_by)
            _show_lesson(out, each, f"{told(each)} Caught by {laws}.")
        fair = [each for each in lessons if each.honest]
        if fair:
            out.say(f"  {out.paint('honest variants, which nothing may flag', 'dim')}")
        for each in fair:
            _show_lesson(out, each, sin_of(each))
        out.say()
        broken, honest = broken + len(faulty), honest + len(fair)
        example = faulty[0].name if faulty and example == "subject.name" else example
    total = f"{_count(broken, 'lesson')}, {_count(honest, 'honest variant')}"
    out.say(f"{total}. To see one judged: seqlaws check {LESSON}{example}")


def _show_lesson(out: Terminal, lesson: Lesson, text: str) -> None:
    name = lesson.name.partition(".")[2]
    _two_columns(out, "    ", f"{lesson.grade:<8}{name}", 48, text)


def sin_of(lesson: Lesson) -> str:
    """The first sentence of a lesson's story."""
    return " ".join(lesson.story.split("\n\n")[0].split())


def told(lesson: Lesson) -> str:
    """The sin of a lesson, and the public report in which it was found, if there is one."""
    return f"{sin_of(lesson)} Reported as {lesson.incident}." if lesson.incident else sin_of(lesson)


def _two_columns(out: Terminal, indent: str, left: str, column: int, right: str) -> None:
    """A name and its text beside it; below it where the name is too long."""
    start = len(indent) + column + 2
    lines = textwrap.wrap(right, max(20, out.width - start)) or [""]
    if len(left) > column:
        out.say(f"{indent}{left}")
    else:
        out.say(f"{indent}{left:<{column}}  {lines.pop(0)}".rstrip())
    for line in lines:
        out.say(" " * start + line)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
