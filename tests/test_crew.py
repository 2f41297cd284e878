"""Children that judge side by side: what is found does not depend on how many there are, nor on which is quicker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

import seqlaws
from seqlaws import Implementation
from seqlaws.checking import judge_all
from seqlaws.crew import MOST, hands
from seqlaws.errors import Misunderstood
from seqlaws.law import CONTRACT
from seqlaws.result import Report


def softmax(call: Callable[..., Any], **more: Any) -> Implementation:
    return Implementation(name="mine", subject="softmax", call=call, **{"dtypes": ("float32",), **more})


def told(report: Report) -> list[tuple[Any, ...]]:
    return [(each.law, each.dtype, each.status, each.cases, each.message, each.counterexample) for each in report]


def remembering() -> Implementation:
    """A softmax that goes wrong after so many calls."""
    calls = []

    def call(x: Any, dim: int) -> Any:
        calls.append(dim)
        return torch.softmax(x, dim) * (1.0 if len(calls) < 400 else 1.1)

    return softmax(call, dtypes=("float32", "float64"))


def slow_to_repeat(x: torch.Tensor, dim: int) -> torch.Tensor:
    """A softmax that takes its time with everything that a first law asks, and is wrong in what laws after it ask."""
    if x.requires_grad:
        return torch.softmax(x, dim) * 1.1
    time.sleep(0.002)
    return torch.softmax(x, dim) + torch.rand(())


def crash_on_one_row(x: torch.Tensor, dim: int) -> torch.Tensor:
    if x.shape[0] == 1:
        os.abort()
    return torch.softmax(x, dim)


@pytest.mark.parametrize(
    "make",
    [
        lambda: softmax(torch.softmax, dtypes=("float16", "float32")),
        remembering,
        lambda: softmax(slow_to_repeat),
        lambda: softmax(crash_on_one_row),
    ],
    ids=["honest", "remembering", "slow", "crashing"],
)
def test_the_number_of_jobs_changes_nothing(make: Callable[[], Implementation]) -> None:
    one, three = (told(seqlaws.check(make(), profile="quick", jobs=jobs)) for jobs in (1, 3))
    assert one == three


def test_what_is_found_while_laws_before_it_are_judged_is_blocked_by_them() -> None:
    report = seqlaws.check(softmax(slow_to_repeat), profile="quick", jobs=8)
    levels = {law.name: law.level for law in softmax(torch.softmax).definition.laws}
    assert {levels[result.law] for result in report.broken} == {CONTRACT}
    assert all(result.status in ("blocked", "not_claimed") for result in report if levels[result.law] > CONTRACT)


def test_results_come_in_the_order_of_the_laws() -> None:
    mine = softmax(torch.softmax, dtypes=("float32", "float64"))
    report = seqlaws.check(mine, profile="quick", jobs=4)
    laws = [law.name for law in mine.definition.laws]
    assert [(each.dtype, each.law) for each in report] == [(dtype, law) for dtype in mine.dtypes for law in laws]


def test_after_an_interrupt_what_all_children_had_found_is_told() -> None:
    parent = os.getpid()

    def call(x: Any, dim: int) -> Any:
        if 0 in x.shape:  # which the first laws ask about
            time.sleep(1)
            os.kill(parent, signal.SIGINT)
            time.sleep(60)
        return torch.softmax(x, dim)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        report = judge_all([softmax(call)], profile="quick", jobs=8)
    finally:
        signal.signal(signal.SIGINT, before)
    levels = {law.name: law.level for law in softmax(torch.softmax).definition.laws}
    assert report.interrupted
    assert any(levels[result.law] > CONTRACT for result in report)


def test_all_that_is_blocked_is_not_waited_for() -> None:
    def call(x: Any, dim: int) -> Any:
        if x.requires_grad:
            time.sleep(60)
        return None

    start = time.monotonic()
    report = seqlaws.check(softmax(call), profile="quick", jobs=8)
    assert time.monotonic() - start < 30
    assert {result.status for result in report} <= {"broken", "blocked"}


def test_how_many_work_at_once() -> None:
    assert 1 <= hands(["cpu"]) <= MOST
    assert hands(["cpu", "cuda"]) == 1
    with pytest.raises(Misunderstood, match="0 jobs judge nothing: at least 1 is needed"):
        seqlaws.check(softmax(torch.softmax), jobs=0)
