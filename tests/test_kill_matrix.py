"""The kill matrix as a test: every lesson is caught, every law catches one first, nothing honest is flagged."""

from __future__ import annotations

import pytest

from seqlaws.blocking import dependencies
from seqlaws.catalogue import load_laws, load_lessons, subject_names
from seqlaws.kinship import STORE, relatives
from seqlaws.lesson import Lesson
from seqlaws.matrix import broken_laws, telling_dtype

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
    every = {law.name: law for law in load_laws(lesson.subject)}
    before = dependencies(every[lesson.caught_by[0]], every)
    asked = before | set(lesson.caught_by)
    found = set(broken_laws(lesson.implementation, telling_dtype(lesson), among=asked))
    assert set(lesson.caught_by) <= found
    assert found & before == set(), "a law that comes before it is broken too"


@pytest.mark.parametrize(
    ("lesson", "dtype"),
    [(lesson, dtype) for lesson in HONEST for dtype in lesson.implementation.dtypes],
    ids=lambda part: part if isinstance(part, str) else part.name,
)
def test_nothing_honest_is_flagged(lesson: Lesson, dtype: str) -> None:
    assert list(broken_laws(lesson.implementation, dtype)) == []


@pytest.mark.parametrize("subject", subject_names())
def test_every_law_has_a_lesson_that_it_catches_first(subject: str) -> None:
    promised = {lesson.caught_by[0] for lesson in load_lessons(subject) if not lesson.honest}
    assert {law.name for law in load_laws(subject)} - promised == set()


@pytest.mark.parametrize("subject", LEAST)
def test_there_are_enough_lessons(subject: str) -> None:
    honest = [lesson for lesson in load_lessons(subject) if lesson.honest]
    broken = [lesson for lesson in load_lessons(subject) if not lesson.honest]
    assert (len(broken), len(honest)) >= LEAST[subject]
    assert len(honest) >= LEAST[subject][1]


def test_the_page_and_the_store_name_every_lesson() -> None:
    stored = STORE.read_text()
    page = (STORE.parents[1] / "docs" / "kill-matrix.md").read_text()
    missing = [
        each.name
        for each in LESSONS
        if f'"{each.name}"' not in stored or f"`{each.name.partition('.')[2]}`" not in page
    ]
    assert missing == [], "run python -m seqlaws.matrix docs"


def test_relatives_are_the_lessons_with_the_same_first_laws() -> None:
    assert relatives("softmax", set()) == []
