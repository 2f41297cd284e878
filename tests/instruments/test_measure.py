"""`seqlaws measure`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shlex
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqlaws import measuring
from seqlaws.cli import main
from seqlaws.errors import Misunderstood
from seqlaws.instruments.subjects import model_of
from seqlaws.targets import resolve

MODELS = """
import torch
from torch import nn
from seqlaws import Implementation

def positions(x):
    return x.cumsum(1)

def make(width=4):
    return nn.Linear(width, width)

def fails():
    raise RuntimeError("no weights")

ready = nn.GRU(4, 4)
words = "no model"

def attend(q, k, v, *, mask=None, is_causal=False, scale=None):
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v

mine = Implementation(name="mine", subject="attention", call=attend)
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Carries out a command line beside a file of models: its exit status, standard output and standard error."""
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "PATIENCE", 600)

    def run(line: str) -> tuple[int, str, str]:
        status = main(["measure", *shlex.split(line)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_class_with_arguments(run: Any) -> None:
    status, out, err = run("path torch.nn.LSTM --args input_size=16,hidden_size=16,batch_first=True --length 8")
    assert (status, err) == (0, "")
    assert out == ("LSTM: path length 22 at n = 8, causal\n  unclassified: 9, 14, 22 at n = 2, 4, 8\n  exact\n")


@pytest.mark.parametrize(
    ("target", "longest"),
    [
        ("'torch.nn.LSTM(4, D)' --width 4", 22),
        ("models:positions", 1),
        ("models.py:make", 1),
        ("models:ready", 26),
        ("models:mine", 1),
        ("lesson:attention.forgets_the_scale", 1),
    ],
)
def test_what_a_target_may_be(run: Any, target: str, longest: int) -> None:
    status, out, err = run(f"path {target} --length 8 --json -")
    assert status == 0, err
    (measured,) = json.loads(out)["measured"]
    assert (measured["longest"], measured["exactness"]) == (longest, "exact")


def test_only_what_torch_computes_is_measured() -> None:
    implementation = resolve("numpy.reference.rnn")[0]
    with pytest.raises(Misunderstood, match=r"numpy.reference.rnn computes in numpy; instruments see what torch"):
        model_of(implementation, 4, torch.device("cpu"))


def test_several_targets_go_into_one_plot(run: Any, tmp_path: Path) -> None:
    status, out, _ = run("path 'torch.nn.RNN(4, 4)' 'torch.nn.MultiheadAttention(4, 2)' --plot path.svg --length 16")
    assert status == 0 and out.count("path length") == 2
    drawn = xml.etree.ElementTree.parse(tmp_path / "path.svg").getroot()
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "RNN, O(n)" in texts and "MultiheadAttention, O(1)" in texts
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("speed torch.nn.LSTM", "argument QUANTITY: invalid choice: 'speed' "),
        ("path", "measure path: which TARGET? (see seqlaws measure --help)"),
        ("table1 torch.nn.LSTM", "measure table1: its rows are fixed, it takes no TARGET "),
        ("table1 --length 5", "measure table1: its rows are fixed, it takes no --length "),
        ("work 'torch.nn.LSTM(D, D)' --width 5", "measure work: torch.nn.LSTM(D, D) is made on the cpu, for several "),
        ("path 'torch.nn.Linear(9, 9)(4, 4)'", "arguments '9, 9)(4, 4' cannot be read; "),
        ("path ./nosuch.py", "'./nosuch.py' names no class, factory, callable or Implementation "),
        ("path torch.nn.LSTMM", "'torch.nn.LSTMM' names no class, factory, callable or Implementation "),
        ("path nosuch.py:name", "there is no file nosuch.py"),
        ("path models:nosuch", "models has no 'nosuch'; "),
        ("path models:words", "a str cannot be measured"),
        ("path models:fails", "models:fails cannot be made: RuntimeError: no weights"),
        ("path torch.nn.LSTM", "torch.nn.LSTM cannot be made: TypeError: "),
        ("path torch.nn.Linear", "torch.nn.Linear needs arguments: --args 'in_features, out_features'"),
        ("path 'torch.nn.LSTM(4'", "'torch.nn.LSTM(4' has no closing bracket"),
        ("path torch.nn.LSTM --args input_size=", "arguments 'input_size=' cannot be read"),
        ("path torch.nn.LSTM --args input_size=__import__('os')", "argument "),
        ("path 'torch.nn.Embedding(4, 4)'", "Embedding cannot be called with one tensor [2, 64, 4]: RuntimeError: "),
        ("path models:make --length 0", "argument --length: '0' is not a positive whole number "),
        ("path models:make --device tpu", "unknown device 'tpu'; there are: cpu, cuda"),
        ("path models:make --plot path.pdf", "cannot write path.pdf: a plot is an .svg or a .png"),
        ("path models:make --length 2 --json no/such/file", "cannot write no/such/file: No such file"),
        ("path models:make --length 2 --plot no/such/file.svg", "cannot write no/such/file.svg: No such file"),
        (
            "path lesson:softmax.halves_the_gradient",
            "softmax.halves_the_gradient implements softmax; instruments measure: ",
        ),
    ],
)
def test_what_cannot_be_understood_takes_one_line(run: Any, line: str, why: str) -> None:
    status, out, err = run(line)
    assert (status, out) == (2, ""), out
    assert err.startswith(f"seqlaws: {why}") and err.count("\n") == 1, err


def test_png_needs_matplotlib(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    status, _, err = run("path models:make --length 2 --plot path.png")
    assert status == 2 and err == "seqlaws: cannot write path.png: PNG needs matplotlib; .svg needs nothing\n"


def test_progress_is_shown_after_a_while(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PATIENCE", 0.001)
    assert "measuring the path of models:ready … 0 s" in run("path models:ready")[2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("depth 'torch.nn.GRU(4, 4)' --length 16", "GRU: sequential depth 145 at n = 16"),
        ("work 'torch.nn.LSTM(D, D)'", "LSTM: 16·D²·T operations in contractions, O(T)"),
        ("work 'torch.nn.LSTM(4, 4)'", "LSTM: 256·T operations in contractions at D = 4, O(T)"),
        ("memory models:ready --length 128", "GRU: bytes saved for backward: 128·T, O(T)"),
        ("gradient models:make --length 8", "Linear: gradient at output 7, lags 0 … 7: unclassified"),
        ("gradient models:ready --length 30", "GRU: gradient at output 29, lags 0 … 29: exponential"),
        ("table1", "Table 1 with k = 3, r = 3"),
    ],
)
def test_every_quantity_is_printed_written_and_drawn(run: Any, tmp_path: Path, line: str, said: str) -> None:
    status, out, err = run(f"{line} --json it.json --plot it.svg")
    assert (status, err) == (0, "") and out.startswith(said), out + err
    assert json.loads((tmp_path / "it.json").read_text(encoding="utf-8"))["measured"]
    drawn = xml.etree.ElementTree.parse(tmp_path / "it.svg").getroot()
    points = [line.get("points", "") for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert points and all(points) and "nan" not in " ".join(points)
