"""Targets: every way to name an implementation, and one line for everything that names none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqlaws.catalogue import subject_names
from seqlaws.errors import Misunderstood
from seqlaws.targets import resolve, resolve_all

EXAMPLES = Path(__file__).parent / "examples"
NO_SUCH_SUBJECT = f"unknown subject 'sofmax'; there are: {', '.join(subject_names())}"
MINE = """
from seqlaws import Implementation

def attend(x, dim):
    return x.softmax(dim)

mine = Implementation(name={name!r}, subject="softmax", call=attend)
"""


@pytest.fixture(autouse=True)
def beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(EXAMPLES)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(file: str, text: str = "", **fields: str) -> Path:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**fields), encoding="utf-8")
        return path

    return write


def names(target: str) -> list[str]:
    return [each.name for each in resolve(target)]


def refusal(target: str) -> str:
    with pytest.raises(Misunderstood) as refused:
        resolve(target)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("broken_softmax:stable", ["stable"]),
        ("broken_softmax.py:stable", ["stable"]),
        (str(EXAMPLES / "broken_softmax.py:stable"), ["stable"]),
        ("./broken_softmax.py:faulty", ["shifted", "along_the_last_axis"]),
        ("broken_softmax", ["stable", "shifted", "along_the_last_axis"]),
        ("broken_softmax.py", ["stable", "shifted", "along_the_last_axis"]),
        ("lesson:softmax.counts_one_more", ["softmax.counts_one_more"]),
    ],
)
def test_ways_to_name_one(target: str, expected: list[str]) -> None:
    assert names(target) == expected


def test_shipped_ones_by_library_name_and_beginning() -> None:
    of_torch = names("torch")
    assert of_torch and all(name.startswith("torch.") for name in of_torch)
    default = "torch.nn.functional.scaled_dot_product_attention"
    assert names(default) == [default]
    assert names(f"{default}.math") == [f"{default}.math"]
    assert {default, f"{default}.math"} <= set(names("torch.nn")) <= set(of_torch)


def test_the_same_target_gives_the_same_objects() -> None:
    assert resolve("broken_softmax.py:stable")[0] is resolve("broken_softmax:stable")[0]


def test_a_file_finds_its_neighbours_and_its_package(write: Callable[..., Path]) -> None:
    write("kernels.py", "import torch\nattend = torch.softmax\n")
    loose = write("loose.py", "from kernels import attend\n" + MINE, name="loose")
    assert names(f"{loose}:mine") == ["loose"]
    write("package/__init__.py")
    write("package/kernels.py", "import torch\nattend = torch.softmax\n")
    packed = write("package/packed.py", "from .kernels import attend\n" + MINE, name="packed")
    assert names(str(packed)) == ["packed"]


def test_files_of_one_name_stay_apart(write: Callable[..., Path]) -> None:
    one, other = write("one/layer.py", MINE, name="one"), write("other/layer.py", MINE, name="other")
    assert names(str(one)) + names(str(other)) + names(str(one)) == ["one", "other", "one"]


def test_several_targets_give_each_implementation_once_by_its_narrowest_name() -> None:
    found = resolve_all(["broken_softmax:stable", "broken_softmax"])
    assert [(address, each.name) for address, each in found] == [
        ("broken_softmax:stable", "stable"),
        ("broken_softmax:faulty", "shifted"),
        ("broken_softmax:faulty", "along_the_last_axis"),
    ]


def test_two_implementations_of_one_name_are_refused(write: Callable[..., Path]) -> None:
    files = [str(write(f"{name}.py", MINE, name="same")) for name in ("first", "second")]
    with pytest.raises(Misunderstood, match="two different implementations are called 'same': rename one"):
        resolve_all(files)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("broken_sofmax.py", "there is no file broken_sofmax.py; close: broken_softmax.py"),
        ("broken_sofmax", "no module named 'broken_sofmax' here or installed; close: broken_softmax"),
        ("broken_softmax:stabel", "broken_softmax has no 'stabel'; close: stable"),
        ("broken_softmax:mine", "broken_softmax has no 'mine'; there are: stable, faulty"),
        (
            "broken_softmax:shift",
            "broken_softmax:shift is a function, not an Implementation; "
            "wrap it: Implementation(name=…, subject=…, call=shift)",
        ),
        (
            "no_implementation.py",
            "no_implementation.py has no Implementation at its top level; "
            "add one: mine = Implementation(name=…, subject=…, call=softmax)",
        ),
        (
            "no_implementation:mine",
            "no_implementation has no 'mine'; add one: mine = Implementation(name=…, subject=…, call=softmax)",
        ),
        (
            "raises_at_import.py",
            "cannot import raises_at_import.py: KeyError: 'softmax_v2' (raises_at_import.py line 4)",
        ),
        (
            "exits_at_import",
            "cannot import exits_at_import: it calls sys.exit(3) (exits_at_import.py line 5)",
        ),
        ("unknown_subject.py", NO_SUCH_SUBJECT),
        (
            "unknown_capability.py",
            "mine: unknown capability 'gradeint' of softmax; there are: infinite, gradient",
        ),
        (
            "unknown_dialect.py",
            "mine: unknown dialect empty_row='zero' of softmax; there are: nan, zeros, mean",
        ),
        ("unknown_dtype.py", "mine: unknown dtype 'float8'; there are: float16, bfloat16, float32, float64"),
        (
            "unknown_law.py",
            "mine: known names the unknown law 'softmax.sums_to_two'; 'seqlaws laws softmax' lists them",
        ),
        ("lesson:sofmax.counts_one_more", NO_SUCH_SUBJECT),
        (
            "lesson:softmax.count_one_more",
            "no lesson is called 'softmax.count_one_more'; close: softmax.counts_one_more",
        ),
        ("", "'' names no module, file or shipped adapter"),
        (":mine", "':mine' names no module, file or shipped adapter"),
    ],
)
def test_whatever_names_none_is_refused_in_one_line(target: str, line: str) -> None:
    assert refusal(target) == line


def test_a_shipped_name_that_is_not_one_is_refused_with_those_that_are() -> None:
    assert "close: torch.nn.functional.scaled_dot_product_attention" in refusal(
        "torch.nn.functional.scaled_dot_attention"
    )
    assert refusal("torch.relu").startswith("no shipped implementation is called 'torch.relu'; there are: torch.")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(f"{tmp_path}/") == f"{tmp_path}/ is a folder: name a file in it"


def test_a_missing_import_inside_a_target_is_not_taken_for_a_missing_target(write: Callable[..., Path]) -> None:
    path = write("needs_more.py", "import not_there\n")
    assert (
        refusal(str(path)) == f"cannot import {path}: ModuleNotFoundError: No module named 'not_there' ({path} line 1)"
    )
    assert refusal("needs_more").startswith(
        "cannot import needs_more: ModuleNotFoundError: No module named 'not_there'"
    )


def test_a_file_that_is_not_python_is_refused(write: Callable[..., Path]) -> None:
    path = write("torn.py", "def attend(:\n")
    assert refusal(str(path)).startswith(f"cannot import {path}: SyntaxError: ")
