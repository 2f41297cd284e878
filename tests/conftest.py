"""Snapshots: texts that a person reads are kept as files, and a change of one shows as a diff."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"
VARYING = (
    (r"\d+% of \d+\.\d s", "NN% of N.N s"),
    (r"allowed ±[-+.e\d]+", "allowed ±N"),
    (r"(Drawn as: \w+)\(.*\)", r"\1(…)"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write the texts of tests/snapshots anew")


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the stored one of some name, after numbers that vary have been replaced."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        for pattern, replacement in VARYING:
            text = re.sub(pattern, replacement, text)
        if request.config.getoption("--update-snapshots"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        stored = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != stored:
            lines = difflib.unified_diff(stored.splitlines(), text.splitlines(), "stored", "now", lineterm="")
            pytest.fail(
                "\n".join([f"{path.name} differs (pytest --update-snapshots accepts it):", *lines]), pytrace=False
            )

    return compare
