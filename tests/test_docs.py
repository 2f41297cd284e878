"""What the documents show is what a run shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import seqlaws
from seqlaws import handbook
from seqlaws.targets import resolve

ROOT = Path(__file__).parents[1]
FAULTY = {each.name: each for each in resolve(str(ROOT / "tests" / "examples" / "broken_attention.py"))}
CARD = re.compile(r"```text\nBROKEN  (\S+)   by (\S+)   \[cpu-float32\]\n(.*?)```", re.DOTALL)
SHOWN = [(page, *found) for page in ("README.md", "docs/cards.md") for found in CARD.findall((ROOT / page).read_text())]


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("page", "law", "name", "card"), SHOWN, ids=[f"{page}: {name}" for page, _, name, _ in SHOWN])
def test_a_card_that_is_shown_is_the_card_of_a_run(page: str, law: str, name: str, card: str) -> None:
    (result,) = seqlaws.check(FAULTY[name], dtype="float32", law=law).broken
    assert _words(card) in _words(result.card)


def test_the_catalogue_of_laws_is_that_of_the_docstrings() -> None:
    stored = (ROOT / "docs" / "laws.md").read_text()
    assert stored == handbook.page(), "run python -m seqlaws.handbook docs"


def test_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
