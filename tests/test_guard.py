"""Crashes, hangs and memory hogs: the law that met them is broken, with the case; the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import seqlaws
from seqlaws import Implementation, Known
from seqlaws.checking import judge_all
from seqlaws.errors import Misunderstood
from seqlaws.guard import Child, Limits
from seqlaws.result import Judged, Result

ONE_LAW = "softmax.sums_to_one"


def softmax(call: Callable[..., Any], **more: Any) -> Implementation:
    return Implementation(name="mine", subject="softmax", call=call, **{"dtypes": ("float32",), **more})


def doing(what: Callable[[], object]) -> Implementation:
    """A softmax that does something else first, in every call on a wide axis."""

    def call(x: Any, dim: int) -> Any:
        if x.shape[dim] > 100:
            what()
        return torch.softmax(x, dim)

    return softmax(call)


def allocate_for_ever() -> None:
    held = []
    while True:
        held.append(torch.ones(1 << 21))


DEADLY = {
    "the process died of SIGSEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "the process died of SIGABRT": os.abort,
    "the process exited with status 0": lambda: os._exit(0),
    "a call took longer than 0.5 s": lambda: time.sleep(60),
}


@pytest.mark.parametrize("how", DEADLY)
def test_what_ends_the_process_breaks_the_law_with_its_case(how: str) -> None:
    report = seqlaws.check(doing(DEADLY[how]), law=ONE_LAW, limit=0.5)
    assert [result.status for result in report] == ["broken"]
    result = report.broken[0]
    assert result.message == how
    assert result.counterexample is not None and result.counterexample.startswith("SoftmaxCase(shape=")
    assert how in result.card and result.counterexample in result.card


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is watched through /proc")
def test_a_call_that_takes_all_memory() -> None:
    report = seqlaws.check(doing(allocate_for_ever), law=ONE_LAW, memory=0.2)
    assert [result.message for result in report] == ["a call took more than 0.2 GiB of memory"]


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x, dim: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda x, dim: _raise(KeyboardInterrupt("mine")), "raised KeyboardInterrupt: mine"),
        (lambda x, dim: None, "returned a NoneType, not a tensor"),
        (lambda x, dim: torch.softmax(x, dim)[None], "returned shape (1, 1, 1) where (1, 1) was due"),
        (lambda x, dim: torch.softmax(x, dim).double(), "returned dtype float64 where float32 was due"),
        (lambda x, dim: torch.softmax(x, dim).to_sparse(), "returned a sparse_coo tensor where a dense one was due"),
        (lambda x, dim: torch.nested.nested_tensor([x]), "returned a nested tensor where a dense one was due"),
    ],
)
def test_what_is_not_an_answer_breaks_the_contract(returned: Callable[..., Any], message: str) -> None:
    report = seqlaws.check(softmax(returned), law="*in_kind")
    assert [(result.status, result.message) for result in report] == [("broken", message)]


@pytest.mark.parametrize("change", [lambda x: x.unsqueeze_(0), lambda x: x.t_() if x.ndim == 2 else x])
def test_an_input_that_changes_its_shape_is_not_left_alone(change: Callable[..., Any]) -> None:
    def changing(x: Any, dim: int) -> Any:
        out = torch.softmax(x, dim)
        change(x)
        return out

    report = seqlaws.check(softmax(changing), law="*.leaves_its_inputs_alone", profile="quick")
    assert [(each.status, each.message) for each in report] == [("broken", "changed its input x in place")]


def crash_on_nothing(x: Any, dim: int) -> Any:
    if x.numel() == 0:
        os.abort()
    return torch.softmax(x, dim)


def test_the_laws_before_and_after_a_crash_are_judged() -> None:
    mine = softmax(crash_on_nothing)
    report = seqlaws.check(mine, profile="quick")
    assert [result.law for result in report] == [law.name for law in mine.definition.laws]
    statuses = [result.status for result in report]
    assert statuses.count("broken") == 1
    crash = statuses.index("broken")
    assert report.results[crash].message == "the process died of SIGABRT"
    assert "holds" in statuses[:crash] and "holds" in statuses[crash:]


def test_the_same_seed_gives_the_same_report() -> None:
    def told() -> list[tuple[Any, ...]]:
        report = seqlaws.check(softmax(crash_on_nothing), profile="quick", seed=3)
        return [(each.law, each.status, each.cases, each.message, each.counterexample) for each in report]

    assert told() == told()


def test_a_failure_counts_although_reducing_it_ends_the_process() -> None:
    def call(x: Any, dim: int) -> Any:
        if x.numel() < 500:
            os.abort()
        return torch.softmax(x, dim) * 1.1

    (result,) = seqlaws.check(softmax(call), law=ONE_LAW)
    assert result.status == "broken"
    assert "got 1.1, expected 1" in result.message
    assert result.message.endswith("; while it was reduced: the process died of SIGABRT")


def test_a_known_crash_is_known() -> None:
    mine = softmax(lambda x, dim: os.abort(), known={ONE_LAW: Known("aborts", dtypes=("float32",))})
    (result,) = seqlaws.check(mine, law=ONE_LAW)
    assert (result.status, result.reason, result.message) == ("known", "aborts", "the process died of SIGABRT")


def any_child_has_ended() -> bool:
    """Whether there is a child of this process that has ended and that nobody has waited for."""
    with suppress(ChildProcessError):
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


@pytest.fixture
def listening() -> Iterator[None]:
    """Ctrl-C is heard, even where a shell in the background has switched it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_leaves_what_was_found(listening: None) -> None:
    heard: list[Result] = []

    def interrupt() -> None:
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)

    report = judge_all([doing(interrupt)], laws="softmax.[ks]*", heard=lambda result, judged: heard.append(result))
    assert report.interrupted
    assert list(report) == heard


def test_an_interrupt_while_a_child_is_made_leaves_none(listening: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fork, made = os.fork, []

    def interrupted() -> int:
        made.append(fork())
        if made[0]:
            os.kill(os.getpid(), signal.SIGINT)
        return made[0]

    monkeypatch.setattr(os, "fork", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Child(lambda request, line: None, Limits())
    with pytest.raises(ProcessLookupError):
        os.kill(made[0], 0)


def test_an_interrupt_while_children_are_ended_leaves_none(listening: None, monkeypatch: pytest.MonkeyPatch) -> None:
    killpg, ended = os.killpg, []

    def interrupted(group: int, number: int) -> None:
        if ended:  # the first has only found out what a child can do here
            os.kill(os.getpid(), signal.SIGINT)
        ended.append(group)
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", interrupted)
    waiting = doing(lambda: time.sleep(60))
    report = judge_all([waiting, waiting], laws=ONE_LAW, jobs=2, limit=0.5)
    assert report.interrupted
    assert len(ended) == 3
    for child in ended:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_nothing_that_was_started_is_left(tmp_path: Path) -> None:
    written = tmp_path / "pid"

    def start_another_and_crash() -> None:
        written.write_text(str(subprocess.Popen(["sleep", "60"]).pid))
        os.abort()

    seqlaws.check(doing(start_another_and_crash), law=ONE_LAW)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int(written.read_text()), 0)
            time.sleep(0.05)
    assert not any_child_has_ended()


def test_output_goes_where_it_went_and_threads_stay(capfd: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    (result,) = seqlaws.check(doing(lambda: print("said", torch.get_num_threads())), law=ONE_LAW)
    assert result.status == "holds"
    assert set(capfd.readouterr().out.splitlines()) == {"said 1"}
    assert torch.get_num_threads() == threads


def test_without_fork_laws_are_judged_here_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    report = seqlaws.check(softmax(torch.softmax), law=ONE_LAW)
    assert [result.status for result in report] == ["holds"]
    assert [note.partition(",")[0] for note in report.notes] == ["cpu: judged in this process"]


@pytest.mark.parametrize(
    ("request_", "possible"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'; there are: cpu, cuda, all"),
        ({"dtype": "float8"}, "unknown dtype 'float8'; there are: float16, bfloat16, float32, float64"),
        ({"profile": "slow"}, "unknown profile 'slow'; there are: quick, default, thorough"),
        ({"law": "softmax.nosuch*"}, "no law is called 'softmax.nosuch*'; 'seqlaws laws softmax' lists what there is"),
    ],
)
def test_what_cannot_be_asked(request_: dict[str, str], possible: str) -> None:
    with pytest.raises(Misunderstood) as refusal:
        seqlaws.check(softmax(torch.softmax), **request_)  # type: ignore[arg-type]
    assert str(refusal.value) == possible


def test_where_nothing_is_judged_nothing_is_green() -> None:
    with pytest.raises(Misunderstood) as refusal:
        seqlaws.check(softmax(torch.softmax, devices=("cpu",)), dtype="float16", device="cpu")
    assert str(refusal.value) == "no law was judged: mine: not judged in dtype float16, which it does not declare"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_an_absent_device() -> None:
    with pytest.raises(Misunderstood, match="no CUDA device is present; there is: cpu"):
        seqlaws.check(softmax(torch.softmax), device="cuda")
    report = seqlaws.check(softmax(torch.softmax), device="all", law=ONE_LAW)
    assert [result.device for result in report] == ["cpu"]
    assert report.notes == ["cuda: not judged, no such device is present"]


def test_a_glob_selects_laws_and_not_those_on_which_they_depend() -> None:
    report = seqlaws.check(softmax(lambda x, dim: 1 / 0), law="*.sums_to_one")
    assert [(result.law, result.status) for result in report] == [(ONE_LAW, "broken")]


def test_fail_fast_ends_with_the_first_red_result() -> None:
    def command(implementation: Implementation) -> str:
        return f"judge {implementation.name}"

    heard: list[str] = []

    def hear(result: Result, judged: Judged) -> None:
        heard.append(f"{judged.name} {result.status}")

    wrong = softmax(lambda x, dim: torch.softmax(x, dim) * 1.1)
    report = judge_all([wrong, wrong], laws="*s_to_one", fail_fast=True, command=command, heard=hear)
    assert heard == ["mine broken"]
    assert "Again:    judge mine --law softmax.sums_to_one" in report.broken[0].card


def test_fail_fast_takes_a_glance_at_every_law_first() -> None:
    heard: list[str] = []
    wrong = softmax(lambda x, dim: 2 * torch.softmax(x, dim))
    judge_all([wrong], dtypes=["float32"], fail_fast=True, heard=lambda result, judged: heard.append(result.status))
    assert heard == ["broken"]


def test_what_ends_the_process_at_the_first_glance_is_broken() -> None:
    report = judge_all([softmax(lambda x, dim: os._exit(3))], dtypes=["float32"], fail_fast=True)
    assert [result.status for result in report] == ["broken"]
    assert report.broken[0].message == "the process exited with status 3"


def test_what_no_glance_shows_is_found_all_the_same() -> None:
    def fooled(x: torch.Tensor, dim: int) -> torch.Tensor:
        return torch.softmax(x, dim) * (2 if x.shape[dim] > 100 else 1)

    report = judge_all([softmax(fooled)], dtypes=["float32"], fail_fast=True)
    statuses = [result.status for result in report]
    assert statuses.count("broken") == 1 and statuses[-1] == "broken" and len(statuses) > 1
