"""The kill matrix as a test: every lesson is caught, every law catches one first, nothing honest is flagged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seqlaws.blocking import dependencies
from seqlaws.catalogue import load_laws, load_lessons, subject_names
from seqlaws.judge import breaks_at_once
from seqlaws.kinship import STORE, relatives
from seqlaws.lesson import Lesson
from seqlaws.matrix import Row, broken_laws, faults, sections, telling_dtype
from seqlaws.run import Run

PAGE = Path(__file__).parents[1] / "docs" / "kill-matrix.md"
LESSONS = [lesson for subject in subject_names() for lesson in load_lessons(subject) if not lesson.honest]
HONEST = [lesson for subject in subject_names() for lesson in load_lessons(subject) if lesson.honest]
LEAST = {
    "softmax": (12, 4),
    "attention": (35, 4),
    "multihead": (15, 4),
    "rnn": (12, 4),
    "lstm": (14, 4),
    "gru": (12, 4),
    "rotary": (40, 4),
    "sinusoidal": (25, 4),
    "alibi": (15, 4),
    "norm": (20, 4),
    "encoder": (30, 4),
    "embedding": (10, 4),
    "seq2seq": (15, 4),
    "tokens": (13, 4),
}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_lesson_is_caught_as_it_says(lesson: Lesson) -> None:
    """Of the laws that come before, the first case is asked: whoever writes the page asks all of theirs."""
    every = {law.name: law for law in load_laws(lesson.subject)}
    dtype = telling_dtype(lesson)
    before = [every[name] for name in every if name in dependencies(every[lesson.caught_by[0]], every)]
    assert breaks_at_once(before, Run(lesson.implementation, "cpu", dtype), 0) is None
    found = set(broken_laws(lesson.implementation, dtype, among=frozenset(lesson.caught_by)))
    assert found == set(lesson.caught_by)


@pytest.mark.parametrize(
    ("lesson", "dtype"),
    # one dtype after another, for then there is room to remember what the references of its cases are
    sorted(
        ((lesson, dtype) for lesson in HONEST for dtype in lesson.implementation.dtypes),
        key=lambda pair: (pair[0].subject, pair[1]),
    ),
    ids=lambda part: part if isinstance(part, str) else part.name,
)
def test_nothing_honest_is_flagged(lesson: Lesson, dtype: str) -> None:
    assert list(broken_laws(lesson.implementation, dtype)) == []


@pytest.mark.parametrize("subject", ["attention", "multihead"])
def test_a_mask_that_looks_causal_is_drawn_where_causality_is_not_claimed(subject: str) -> None:
    """Where it is, another law combines the two and catches the same sin before."""
    lesson = next(each for each in LESSONS if each.name == f"{subject}.takes_what_hides_the_future_for_causality")
    mine = replace(lesson.implementation, can=frozenset({"bool_mask", "float_mask"}))
    law = f"{subject}.agrees_with_its_definition"
    assert list(broken_laws(mine, "float32", among=frozenset({law}))) == [law]


@pytest.mark.parametrize("subject", subject_names())
def test_every_law_has_a_lesson_that_it_catches_first(subject: str) -> None:
    promised = {lesson.caught_by[0] for lesson in load_lessons(subject) if not lesson.honest}
    assert {law.name for law in load_laws(subject)} - promised == set()


@pytest.mark.parametrize("subject", subject_names())
def test_there_are_enough_lessons(subject: str) -> None:
    honest = [lesson for lesson in load_lessons(subject) if lesson.honest]
    broken = [lesson for lesson in load_lessons(subject) if not lesson.honest]
    assert len(broken) >= LEAST[subject][0]
    assert len(honest) >= LEAST[subject][1]


@pytest.mark.parametrize("subject", subject_names())
def test_the_page_and_the_store_say_what_there_is(subject: str) -> None:
    """What stands on the page is what a run would write there, as far as that can be told without one."""
    laws = load_laws(subject)
    sinners = {each.name.partition(".")[2]: each for each in load_lessons(subject) if not each.honest}
    honest = [each.name.partition(".")[2] for each in load_lessons(subject) if each.honest]
    stored = {name.partition(".")[2]: first for name, first in json.loads(STORE.read_text())[subject].items()}
    number = {law.name: place for place, law in enumerate(laws, 1)}
    title, *lines = sections(PAGE.read_text())[subject].splitlines()
    rows = [line.strip("| ").split(" | ")[:3] for line in lines if line.startswith("| `")]
    assert title == f"## {subject}: {len(sinners)} lessons, {len(honest)} honest variants, {len(laws)} laws"
    assert [line for line in lines if line[:1].isdigit()] == [
        f"{place}. `{law.short}` — {law.claim}" for place, law in enumerate(laws, 1)
    ]
    assert set(stored) == set(sinners), "engine/kills.json: run python -m seqlaws.matrix docs"
    assert rows == [
        [f"`{name}`", each.grade, ", ".join(f"● {number.get(law, law)}" for law in stored[name])]
        for name, each in sinners.items()
    ]
    assert all(set(each.caught_by[:1]) <= set(stored[name]) for name, each in sinners.items())
    named = ", ".join(f"`{name}`" for name in honest)
    assert lines[-1] == f"Honest variants: {named}: {len(honest)} of {len(honest)} break nothing."


def test_a_page_is_not_written_in_peace_where_a_lesson_is_caught_by_another_law_or_something_honest_is_flagged() -> (
    None
):
    lesson = next(each for each in LESSONS if each.subject == "softmax" and len(each.caught_by) == 1)
    caught, variant = lesson.caught_by[0], next(each for each in HONEST if each.subject == "softmax")
    assert faults("softmax", [Row(lesson.name, (caught,), (caught,)), Row(variant.name, (), ())]) == []
    assert faults(
        "softmax", [Row(lesson.name, (caught, "softmax.a"), ("softmax.a",)), Row(variant.name, (caught,), (caught,))]
    ) == [
        f"{lesson.name} is not caught first by {caught}: softmax.a",
        f"{variant.name} is honest and breaks {caught}",
    ]


def test_the_page_and_the_store_name_every_subject() -> None:
    assert list(sections(PAGE.read_text())) == subject_names()
    assert sorted(json.loads(STORE.read_text())) == subject_names()


def test_every_lesson_is_a_relative_of_what_is_caught_as_it_is() -> None:
    stored = json.loads(STORE.read_text())
    first = {each.name: set(stored[each.subject].get(each.name, ())) for each in LESSONS}
    strangers = [each.name for each in LESSONS if each.name not in relatives(each.subject, first[each.name])]
    assert strangers == [], "engine/kills.json: run python -m seqlaws.matrix docs"


def test_nothing_is_a_relative_of_what_breaks_no_law() -> None:
    assert relatives("softmax", set()) == []
