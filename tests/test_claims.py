"""The ledger of claims: every experiment gives the verdict that is recorded, and the engine sees when one does not."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from seqlaws.catalogue import article_titles, claim_sections
from seqlaws.claim import CLAIMS, HOLDS, PAIRS, Claim, Evidence, HoldsIf, NotExecutable, Refuted, Verdict, claim
from seqlaws.claims_page import html, markdown
from seqlaws.cli import main
from seqlaws.instruments import Bars, Figure, Heat, Series
from seqlaws.ledger import AS_RECORDED, CHANGED, ERROR, NOT_RUN, RECORDED, RED, Entry, chosen, examine, pairs, run

ROOT = Path(__file__).parents[1]
EVERY = chosen([])
IN_SECTION = {"A": 14, "B": 15, "C": 16, "D": 12, "E": 19, "F": 22, "G": 12, "H": 15, "I": 7}


@pytest.mark.parametrize("which", EVERY, ids=[each.id for each in EVERY])
def test_claim(which: Claim, request: pytest.FixtureRequest) -> None:
    if which.budget and request.config.getoption("--hypothesis-profile") != "seqlaws-thorough":
        pytest.skip("trains: runs with --hypothesis-profile seqlaws-thorough")
    entry = run(which)
    assert entry.status not in RED, f"{which.id}: {entry.message}"
    assert entry.status == (AS_RECORDED if which.executable else RECORDED)


@pytest.mark.parametrize(("pair", "one", "other"), pairs(), ids=[f"{each.one} and {each.other}" for each in PAIRS])
def test_contradiction(pair: object, one: Claim, other: Claim) -> None:
    """Whatever the evidence says, it never says both."""
    assert not one.verdict.word == other.verdict.word == "HOLDS"


def test_no_row_of_the_ledger_is_missing() -> None:
    assert {letter: sum(each.section == letter for each in EVERY) for letter in claim_sections()} == IN_SECTION
    for letter, count in IN_SECTION.items():
        assert [each.id for each in EVERY if each.section == letter] == [f"{letter}{i + 1}" for i in range(count)]


@pytest.mark.parametrize("which", EVERY, ids=[each.id for each in EVERY])
def test_claim_says_who_makes_it_and_whose_picture_it_shares(which: Claim) -> None:
    assert which.articles and set(which.articles) <= set(article_titles())
    assert not which.picture or which.picture in CLAIMS
    assert which.sentence.endswith(".") and not which.verdict.because.endswith(".")


def test_the_stored_page_says_what_the_docstrings_say(tmp_path: Path) -> None:
    """Measured numbers may differ from machine to machine, and are left out of the comparison."""
    stored = (ROOT / "docs" / "claims.md").read_text()
    now = markdown([Entry(each, NOT_RUN) for each in EVERY], tmp_path)

    def said(page: str) -> list[str]:
        return [line for line in page.splitlines() if line and not re.match(r"\| (?!\*\*)|\|--|!\[", line)]

    assert said(stored) == said(now), "run python -m seqlaws.claims_page docs"


def _claim(verdict: Verdict, experiment: Callable[[Evidence], None]) -> Claim:
    experiment.__doc__ = "A sentence.\n\nx = y\n\nRule: x is measured."
    made = claim("I99", verdict, articles="S0")(experiment)
    del CLAIMS["I99"]
    return made


def _one_case(see: Evidence) -> None:
    """A sentence.

    x = y

    Rule: x is measured.
    """
    see.supports("one", 1, equals=1)


def _both_sides(see: Evidence) -> None:
    see.supports("one", 1, at_most=1)
    see.refutes("other", 2.0, above=1)


@pytest.mark.parametrize("verdict", [HOLDS, HoldsIf("c"), Refuted("c")])
def test_the_verdict_follows_from_the_sides(verdict: Verdict) -> None:
    only_against = run(_claim(verdict, lambda see: see.refutes("one", 1, equals=1)))
    assert run(_claim(verdict, _one_case)).status == (AS_RECORDED if verdict.word == "HOLDS" else CHANGED)
    assert run(_claim(verdict, _both_sides)).status == (CHANGED if verdict.word == "HOLDS" else AS_RECORDED)
    assert only_against.status == (AS_RECORDED if verdict.word == "REFUTED" else CHANGED)
    assert run(_claim(verdict, lambda see: None)).status == CHANGED


@pytest.mark.parametrize("relation", ["equals", "at_most", "at_least", "below", "above"])
def test_what_is_not_a_number_stands_nowhere(relation: str) -> None:
    entry = run(_claim(HOLDS, lambda see: see.supports("one", float("nan"), **{relation: 1.0})))
    assert entry.status == CHANGED and "nan" in entry.message


def test_an_experiment_that_fails_is_an_error_and_no_verdict() -> None:
    def fails(see: Evidence) -> None:
        _one_case(see)
        raise RuntimeError("no weights")

    entry = run(_claim(HOLDS, fails))
    assert entry.status == ERROR and "no weights" in entry.message


def test_what_trains_is_counted_apart() -> None:
    trains = claim("X2", HOLDS, articles="S0", budget="10 steps, 2 seeds")(_one_case)
    del CLAIMS["X2"]
    assert [examine([trains], training=each)[0].status for each in (False, True)] == [NOT_RUN, AS_RECORDED]


def test_what_no_experiment_settles_is_recorded_with_its_reason() -> None:
    def history(see: Evidence) -> None:
        """It was so."""

    made = claim("X3", NotExecutable("history"), articles="S0")(history)
    del CLAIMS["X3"]
    assert (run(made).status, run(made).message) == (RECORDED, "history")


def test_a_claim_without_its_three_paragraphs_is_refused() -> None:
    def short(see: Evidence) -> None:
        """A sentence."""

    with pytest.raises(TypeError, match="three paragraphs"):
        claim("X4", HOLDS, articles="S0")(short)


def test_a_relation_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="is no relation"):
        Evidence().supports("one", 1, about=1)


def test_the_command_shows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "B8"]) == 0
    shown = capsys.readouterr().out
    assert "for " in shown and "n = 512: 511 = 511" in shown and "1 of 1 verdicts are as recorded" in shown


def test_the_command_writes_json_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "B8", "I*", "--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")]) == 0
    stored = json.loads((tmp_path / "c.json").read_text())
    assert [each["id"] for each in stored["claims"]] == ["B8", *(f"I{i + 1}" for i in range(IN_SECTION["I"]))]
    assert stored["claims"][0]["evidence"][0]["met"] is True
    page = (tmp_path / "c.html").read_text()
    assert "<svg" in page and "id='B8'" in page


def test_an_unknown_claim_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "B99"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no claim is called 'B99'" in line


def test_a_changed_verdict_is_red_and_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = _claim(HOLDS, lambda see: see.supports("the only case", 3, equals=4))
    monkeypatch.setattr("seqlaws.ledger.chosen", lambda ids: [wrong])
    assert main(["claims"]) == 1
    shown = capsys.readouterr().out
    assert "CHANGED" in shown and "the only case: 3 = 4" in shown
    assert "CHANGED" in html([run(wrong)])


@pytest.mark.parametrize(
    "picture",
    [
        Bars("Title & more", "value", ["a", "b"], {"one": [1.0, 2.0], "two": [3.0, -1.0]}),
        Bars("Title", "value", ["a"], {"one": [1e-9]}, y_log=True),
        Heat("Title", "x", "y", ["1", "2"], ["1"], [[0.5, float("nan")]]),
        Figure("Points", "x", "y", (Series("<a>", [1, 2], [3, 4], joined=False),)),
    ],
    ids=lambda picture: type(picture).__name__,
)
def test_a_picture_is_well_formed(picture: Bars | Heat | Figure) -> None:
    root = xml.etree.ElementTree.fromstring(picture.svg())
    assert root.tag.endswith("svg") and len(root) > 5
