"""The command line: what it prints, and the exit status by which scripts go."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqlaws
from seqlaws.catalogue import load_laws, load_lessons, subject_names
from seqlaws.cli import main
from seqlaws.law import CONTRACT
from seqlaws.result import STATUSES
from seqlaws.trial import PROFILES

EXAMPLES = Path(__file__).parent / "examples"
PYTHON = [sys.executable, "-m", "seqlaws.cli"]
TABLE = "                    laws   holds"
SLOW = """
import time
from pathlib import Path
import torch
from seqlaws import Implementation

def softmax(x, dim):
    with Path("calls").open("a") as calls:
        calls.write(".")
    time.sleep(0.05)
    return torch.softmax(x, dim)

slow = Implementation(name="slow", subject="softmax", call=softmax, dtypes=("float64",))
"""
NOISY = """
import torch
from seqlaws import Implementation

print("imported")

def softmax(x, dim):
    print("called")
    return torch.softmax(x, dim)

noisy = Implementation(name="noisy", subject="softmax", call=softmax, dtypes=("float32",))
"""
UNRULY = """
import os
import torch
from seqlaws import Implementation

def raises(x, dim):
    raise RuntimeError("no kernel for this shape")

def dies(x, dim):
    if x.shape[dim] > 100:
        os.abort()
    return torch.softmax(x, dim)

every = [Implementation(name=f.__name__, subject="softmax", call=f, dtypes=("float32",)) for f in (raises, dies)]
"""


@pytest.fixture(autouse=True)
def beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(EXAMPLES)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """Carries out a command line: its exit status, standard output and standard error."""

    def run(line: str) -> tuple[int, str, str]:
        status = main(shlex.split(line))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def verdicts(report: dict[str, Any]) -> list[tuple[str, ...]]:
    keys = ("law", "device", "dtype", "status", "cases")  # how far a case is reduced depends on the time it takes
    return [tuple(str(result[key]) for key in keys) for each in report["implementations"] for result in each["results"]]


def test_an_honest_implementation_is_green(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    status, out, err = run(f"check broken_softmax.py:stable --profile quick --dtype float32 --json {file}")
    assert (status, err) == (0, "")
    laws = len(load_laws("softmax"))
    assert out.startswith(TABLE) and f"cpu float32{laws:>11}" in out
    assert f"Nothing is broken: of {laws} judgements" in out.splitlines()[-1]
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert (stored["schema"], stored["seqlaws"], stored["seed"], stored["profile"]) == (
        1,
        seqlaws.__version__,
        0,
        "quick",
    )
    (implementation,) = stored["implementations"]
    assert (implementation["name"], implementation["subject"]) == ("stable", "softmax")
    assert len(implementation["results"]) == laws
    assert all(result["status"] in STATUSES for result in implementation["results"])


def test_a_broken_law_is_red_and_its_card_says_how_to_see_it_again(run: Any, snapshot: Any) -> None:
    command = "check broken_softmax.py:faulty --profile quick --dtype float32 --law softmax.sums_to_one"
    status, out, err = run(command)
    assert (status, err) == (1, "")
    cards, table, _ = out.partition(TABLE)
    assert table
    snapshot("check_broken", cards)
    again = next(line for line in cards.splitlines() if line.startswith("  Again:"))
    status, repeated, _ = run(again.partition(" seqlaws ")[2])
    assert (status, repeated.partition(TABLE)[0]) == (1, cards)


def test_x_stops_at_the_first(run: Any) -> None:
    status, out, _ = run("check broken_softmax.py:faulty --profile quick --dtype float32 -x")
    assert status == 1
    assert out.count("BROKEN") == 1
    assert out.splitlines()[-1].startswith("Stopped after ")


def test_the_same_seed_gives_the_same_verdicts(run: Any) -> None:
    command = "check broken_softmax.py --profile quick --dtype float16 --law 'softmax.s*' --seed 7 --json -"
    first, second = (run(command)[1] for _ in range(2))
    assert verdicts(json.loads(first)) == verdicts(json.loads(second))


def test_json_on_standard_output_stands_alone(run: Any) -> None:
    status, out, err = run("check broken_softmax.py --profile quick --dtype float32 --law 'softmax.sums*' --json -")
    assert status == 1
    assert {result[3] for result in verdicts(json.loads(out))} == {"holds", "broken"}
    assert "BROKEN  softmax.sums_to_one" in err and "1 law is broken" in err


def test_nothing_that_a_target_prints_gets_into_the_json(run: Any, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    status, out, err = run(f"check {tmp_path}/noisy.py --profile quick --law 'softmax.sums*' --json -")
    assert (status, "imported" in err) == (0, True)
    assert {result[3] for result in verdicts(json.loads(out))} == {"holds"}


def test_a_refused_command_leaves_no_file_behind(run: Any, tmp_path: Path) -> None:
    assert run(f"check torch.softmax --profile fast --json {tmp_path}/report.json")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_what_raises_or_dies_is_broken_and_the_run_goes_on(run: Any, tmp_path: Path) -> None:
    (tmp_path / "unruly.py").write_text(UNRULY)
    status, out, _ = run(f"check {tmp_path}/unruly.py --profile quick")
    assert status == 1
    assert "raised RuntimeError: no kernel for this shape" in out
    assert "SIGABRT" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("  cpu")]
    assert [row[2] for row in rows] == [str(len(load_laws("softmax")))] * 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "the following arguments are required: COMMAND (see seqlaws --help)"),
        ("check", "the following arguments are required: TARGET (see seqlaws check --help)"),
        ("check no_such_file.py", "there is no file no_such_file.py; there are: "),
        ("check no_implementation.py", "no_implementation.py has no Implementation at its top level; add one: "),
        ("check unknown_capability.py", "mine: unknown capability 'gradeint' of softmax; there are: "),
        ("check broken_softmax.py --dtype float8", "unknown dtype 'float8'; there are: float16, "),
        ("check broken_softmax.py --dtype ''", "unknown dtype ''; there are: float16, "),
        ("check broken_softmax.py --device tpu", "unknown device 'tpu'; there are: cpu, cuda, all"),
        ("check broken_softmax.py --profile fast", "unknown profile 'fast'; there are: quick, default, thorough"),
        ("check broken_softmax.py --law 'softmax.wrong*'", "no law is called 'softmax.wrong*'; "),
        ("check broken_softmax.py --seed x", "argument --seed: invalid int value: 'x' "),
        ("check broken_softmax.py --limit 0", "argument --limit: '0' is not a positive number "),
        ("check broken_softmax.py --memory nan", "argument --memory: 'nan' is not a positive number "),
        ("check broken_softmax.py --json no/such/folder.json", "cannot write no/such/folder.json: No such file"),
        (
            "check broken_attention.py --dtype float64",
            "no law was judged: without_scale: not judged in dtype float64, ",
        ),
        ("laws sofmax", "unknown subject 'sofmax'; there are: "),
        ("lessons sofmax", "unknown subject 'sofmax'; there are: "),
        ("explain softmax.sum_to_one", "unknown law 'softmax.sum_to_one'; close: softmax.sums_to_one"),
        ("explain sums_to_one", "unknown law 'sums_to_one'; close: softmax.sums_to_one"),
    ],
)
def test_what_cannot_be_understood_takes_one_line(run: Any, line: str, why: str) -> None:
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert err.startswith(f"seqlaws: {why}") and err.count("\n") == 1


def test_laws_are_listed_by_subject(run: Any) -> None:
    status, out, _ = run("laws")
    assert status == 0
    for subject in subject_names():
        assert f"{subject}: {len(load_laws(subject))} laws" in out
        assert all(law.short in out for law in load_laws(subject))
    status, out, _ = run("laws softmax")
    assert "attention" not in out and "empty_row  nan, zeros, mean" in out and "infinite  accepts" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_law_is_explained(run: Any) -> None:
    status, out, _ = run("explain attention.a_zero_query_gets_the_mean")
    assert status == 0
    (law,) = [law for law in load_laws("attention") if law.short == "a_zero_query_gets_the_mean"]
    assert law.claim in out and law.formula in out
    gates = sum(each.level == CONTRACT for each in load_laws("attention"))
    assert f"every contract law ({gates})" in out
    assert all(each.name in out for each in load_lessons("attention") if law.name in each.caught_by)


def test_lessons_are_listed_and_can_be_judged(run: Any) -> None:
    status, out, _ = run("lessons softmax")
    assert status == 0
    broken, _, honest = out.partition("honest variants, which nothing may flag")
    for lesson in load_lessons("softmax"):
        assert lesson.name.partition(".")[2] in (honest if lesson.honest else broken)
    told = out.splitlines()[-1].partition("seqlaws ")[2]
    assert run(f"{told} --profile quick --dtype float32")[0] == 1


def test_help_names_every_profile(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["check", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in PROFILES)


def test_listing_laws_loads_neither_torch_nor_hypothesis() -> None:
    program = (
        "import sys; from seqlaws.cli import main; main(['laws']); print({'torch', 'hypothesis'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_reader_that_leaves_is_no_fault() -> None:
    with subprocess.Popen([*PYTHON, "laws"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send to one process")
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_what_was_found_is_printed_and_stored(tmp_path: Path, asked: signal.Signals) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    with subprocess.Popen(
        [*PYTHON, "check", "slow.py", "--profile", "quick", "--json", "report.json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell in the background may have switched Ctrl-C off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        calls = tmp_path / "calls"
        until = time.monotonic() + 60
        while (not calls.exists() or calls.stat().st_size < 40) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(asked)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("Interrupted after ")
    assert "Nothing is broken" in out
    assert {each.name for each in tmp_path.iterdir()} <= {"slow.py", "calls", "report.json", "__pycache__"}
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert stored["interrupted"] and verdicts(stored)
