"""Laws as pytest items, in sessions inside this one; those that load a Hypothesis profile run apart."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

import pytest
import torch

from seqlaws import Implementation, tests_for
from seqlaws.blocking import dependencies
from seqlaws.catalogue import load_subject
from seqlaws.errors import Misunderstood
from seqlaws.items import LawFailed, _end
from seqlaws.result import Result
from seqlaws.warm import one_thread

LAWS = load_subject("softmax").laws
CONTRACT = "softmax.answers_in_kind"
SUM = "softmax.sums_to_one"

MINE = """
import os, time, torch
from seqlaws import Implementation

def implement(name, call, **more):
    return Implementation(name=name, subject="softmax", call=call, **{"dtypes": ("float32",), **more})

def doubled(x, dim):
    return torch.softmax(x, dim) * 2

def here(x, dim):
    with open("pids", "a") as log:
        print(os.getpid(), tuple(x.shape), file=log)
    return torch.softmax(x, dim)

def rarely_wrong(x, dim):
    return here(x, dim) * (1.5 if 11 < x.shape[dim] < 67 else 1)

def wrong_in_one_worker(x, dim):
    # which of the two workers gets which item depends on which is ready first
    return torch.softmax(x, dim) * (2 if "agrees_with" in os.environ["PYTEST_CURRENT_TEST"] else 1)

right = implement("right", torch.softmax)
wrong = implement("wrong", doubled)
raising = implement("raising", lambda x, dim: 1 / 0)
crashing = implement("crashing", lambda x, dim: os.abort())
hanging = implement("hanging", lambda x, dim: time.sleep(60))
known = implement("known", doubled, known={"softmax.sums_to_one": "issue 7"})
mended = implement("mended", torch.softmax, known={"softmax.sums_to_one": "issue 8"})
forward_only = implement("forward_only", torch.softmax, can=())
half = implement("half", torch.softmax, dtypes=("float16", "float32"), devices=("cpu",))
"""


@pytest.fixture(scope="module", autouse=True)
def loaded() -> Iterator[None]:
    """What sessions inside this one would load, and pytester would throw out again."""
    with one_thread():
        yield


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(mine=MINE)
    return pytester


def summary(result: pytest.RunResult) -> list[str]:
    """The lines of the section seqlaws, without their blanks."""
    found = re.search(r"=+ seqlaws =+\n(.*?)\n=", result.stdout.str() + "\n=", re.DOTALL)
    return [re.sub(" +", " ", line) for line in found[1].splitlines()] if found else []


def test_a_target_gives_one_item_for_each_law_and_dtype(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_another="def test_another(): assert False")
    listed = suite.inline_run("--implementation", "mine:half", "--collect-only", "-q")
    ids = [item.nodeid for call in listed.getcalls("pytest_collection_finish") for item in call.session.items]
    assert ids == [f"half::{law.name}[cpu-{dtype}]" for dtype in ("float16", "float32") for law in LAWS]


def test_files_that_are_named_are_collected_too(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_another="def test_another(): pass")
    result = suite.runpytest("--implementation", "mine:right", "-k", "sums_to_one or another", "test_another.py")
    result.assert_outcomes(passed=2, deselected=len(LAWS) - 1)


def test_tests_for_in_a_file(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_mine="""
        from mine import right, wrong
        from seqlaws import tests_for

        test_right = tests_for(right)
        test_both = tests_for([right, wrong])

        class TestClass:
            test_inside = tests_for(right)
        """
    )
    result = suite.runpytest("-k", "sums_to_one", "-v")
    result.assert_outcomes(passed=3, failed=1, deselected=4 * len(LAWS) - 4)
    result.stdout.fnmatch_lines_random(
        [
            f"test_mine.py::test_right::{SUM}[[]cpu-float32[]] PASSED*",
            f"test_mine.py::test_both::right::{SUM}[[]cpu-float32[]] PASSED*",
            f"test_mine.py::test_both::wrong::{SUM}[[]cpu-float32[]] FAILED*",
            f"test_mine.py::TestClass::test_inside::{SUM}[[]cpu-float32[]] PASSED*",
        ]
    )
    by_id = suite.runpytest(f"test_mine.py::test_both::wrong::{SUM}[cpu-float32]")
    by_id.assert_outcomes(failed=1)


def test_what_tests_for_refuses() -> None:
    mine = Implementation(name="mine", subject="softmax", call=print)
    for given in ([], [mine, mine], print, [print]):
        with pytest.raises(Misunderstood, match="tests_for takes"):
            tests_for(given)  # type: ignore[arg-type]


def test_a_failure_is_the_card_and_nothing_else(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--implementation", "mine:wrong", "-k", SUM)
    result.assert_outcomes(failed=1, deselected=len(LAWS) - 1)
    shown = result.stdout.str().partition("= FAILURES =")[2].partition("= seqlaws =")[0].splitlines()
    headline, *card = shown[1:-1]
    assert headline.strip("_ ") == f"wrong: {SUM}[cpu-float32]"
    assert card[0] == f"BROKEN  {SUM}   by wrong   [cpu-float32]"
    again = f"pytest --implementation mine:wrong -k '{SUM}[cpu-float32]'"
    assert card[-1] == f"  Again:    {again}"
    suite.runpytest(*shlex.split(again)[1:]).assert_outcomes(failed=1, deselected=len(LAWS) - 1)
    result.stdout.fnmatch_lines([f"FAILED wrong::{SUM}[[]cpu-float32[]] - at [[]0[]]: got 2*"])
    result.stdout.no_fnmatch_line("*git apply*")


def test_every_status_has_its_outcome(suite: pytest.Pytester) -> None:
    options = [f"--implementation=mine:{name}" for name in ("known", "mended", "forward_only")]
    result = suite.runpytest(*options, "-k", f"{SUM} or has_a_gradient", "-rsxf")
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED * does not claim gradient",
            f"XFAIL known::{SUM}*issue 7",
            f"FAILED mended::{SUM}* - listed as known, but*",
        ]
    )
    assert summary(result) == ["holds 3 of 6", "known 1 of 6", "known but holds 1 of 6", "not claimed 1 of 6"]
    law = LAWS[0]
    with pytest.raises(pytest.skip.Exception, match="vacuous: no drawn case reached"):
        _end(law, Result(law.name, "cpu", "float32", "vacuous"))
    with pytest.raises(LawFailed, match="IndexError"):
        _end(law, Result(law.name, "cpu", "float32", "error", message="IndexError"))


def test_known_laws_fail_under_runxfail(suite: pytest.Pytester) -> None:
    suite.runpytest("--implementation", "mine:known", "-k", SUM, "--runxfail").assert_outcomes(
        failed=1, deselected=len(LAWS) - 1
    )


def test_one_fault_is_one_failure(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--implementation", "mine:raising", "-rs")
    result.assert_outcomes(failed=1, skipped=len(LAWS) - 1)
    result.stdout.fnmatch_lines([f"SKIPPED * mine.py:*: blocked: {CONTRACT} is broken"])
    backwards = """
        def pytest_collection_modifyitems(items):
            items.reverse()
        """
    suite.makeconftest(backwards)
    assert suite.runpytest("--implementation", "mine:raising", "-k", f"{CONTRACT} or {SUM}").parseoutcomes() == {
        "failed": 1, "skipped": 1, "deselected": len(LAWS) - 2,
    }  # fmt: skip


def test_a_law_is_blocked_through_others_in_any_order(suite: pytest.Pytester) -> None:
    every = {law.name: law for law in load_subject("attention").laws}
    first, last = "attention.the_future_has_no_influence", "attention.is_causal_equals_the_triangular_mask"
    assert first in dependencies(every[last], every) and not every[last].depends_on(every[first])
    suite.makeconftest("def pytest_collection_modifyitems(items):\n    items.reverse()")
    target = "lesson:attention.sees_the_next_token"
    result = suite.runpytest("--implementation", target, "-k", f"({first} or {last}) and cpu-float32", "-rs")
    assert {key: count for key, count in result.parseoutcomes().items() if key != "deselected"} == {
        "failed": 1, "skipped": 1,
    }  # fmt: skip
    result.stdout.fnmatch_lines([f"SKIPPED * blocked: {first} is broken"])


def test_a_law_that_is_not_in_the_session_blocks_nothing(suite: pytest.Pytester) -> None:
    suite.runpytest("--implementation", "mine:raising", "-k", SUM).assert_outcomes(failed=1, deselected=len(LAWS) - 1)


def test_crashes_and_hangs_fail_their_items_only(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_mine="""
        import mine, seqlaws
        test_crash = seqlaws.tests_for(mine.crashing)
        test_hang = seqlaws.tests_for(mine.hanging, limit=0.5)
        test_right = seqlaws.tests_for(mine.right)
        """
    )
    result = suite.runpytest("-k", f"{SUM}")
    result.assert_outcomes(failed=2, passed=1, deselected=3 * len(LAWS) - 3)
    result.stdout.fnmatch_lines(["*the process died of SIGABRT", "*Drawn as: SoftmaxCase(*"])
    result.stdout.fnmatch_lines(["*a call took longer than 0.5 s", "*Drawn as: SoftmaxCase(*"])


@pytest.mark.parametrize("options", [(), ("--pdb",), ("--trace",)])
def test_with_the_debugger_laws_run_in_the_process_of_the_session(
    suite: pytest.Pytester, options: tuple[str, ...]
) -> None:
    suite.makepyfile(test_mine="import mine, seqlaws; test_it = seqlaws.tests_for(mine.implement('it', mine.here))")
    suite.runpytest("-k", SUM, *options).assert_outcomes(passed=1, deselected=len(LAWS) - 1)
    pids = {int(line.split()[0]) for line in (suite.path / "pids").read_text().splitlines()}
    assert (pids == {os.getpid()}) == bool(options)


def test_without_fork_laws_are_judged_in_the_session_and_the_summary_says_so(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork")
    suite.makeconftest("def pytest_collection_modifyitems(items): items.reverse()")
    result = suite.runpytest("--implementation", "mine:raising", "-k", f"{CONTRACT} or {SUM}")
    result.assert_outcomes(failed=1, skipped=1, deselected=len(LAWS) - 2)
    assert summary(result)[-1].startswith("cpu: judged in this process, which a crash or a hang ends, since")


def test_only_what_failed_last_runs_again(suite: pytest.Pytester) -> None:
    options = ("--implementation", "mine:wrong", "-k", f"{CONTRACT} or {SUM}")
    suite.runpytest(*options).assert_outcomes(passed=1, failed=1, deselected=len(LAWS) - 2)
    suite.runpytest(*options, "--lf").assert_outcomes(failed=1, deselected=len(LAWS) - 1)


def test_markers_and_junit(suite: pytest.Pytester) -> None:
    result = suite.runpytest(
        "--implementation", "mine:right", "--strict-markers", "--junitxml=report.xml",
        "-m", "seqlaws and softmax and hypothesis and gradients",
    )  # fmt: skip
    result.assert_outcomes(passed=sum(law.level == 3 for law in LAWS), deselected=sum(law.level != 3 for law in LAWS))
    assert '<property name="seqlaws" value="holds" />' in (suite.path / "report.xml").read_text()


def test_what_cannot_be_understood_is_one_line(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--implementation", "mine:rihgt")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ERROR collecting*", "mine has no 'rihgt'; close: right*", "*short test summary*"])


def test_a_device_that_is_not_declared_is_skipped_with_the_reason(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--implementation", "mine:half", "--device=all", "-rs", "-k", "cuda")
    result.stdout.fnmatch_lines(["SKIPPED * does not declare the device cuda"])


def test_an_absent_device_is_refused(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = suite.runpytest("--implementation", "mine:right", "--device", "cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: no CUDA device is present; there is: cpu*"])


def test_an_option_called_device_in_a_conftest_file_stays_theirs(suite: pytest.Pytester) -> None:
    suite.makeconftest("def pytest_addoption(parser): parser.addoption('--device', default='theirs')")
    suite.makepyfile(test_theirs="def test_theirs(request): assert request.config.getoption('--device') == 'mps'")
    result = suite.runpytest("--device=mps", "--law-device=cpu", "--implementation=mine:right", "-k", SUM)
    result.assert_outcomes(passed=1, deselected=len(LAWS) - 1)
    suite.runpytest("--device=mps").assert_outcomes(passed=1)


def test_workers_share_the_items_and_the_summary(suite: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    result = suite.runpytest_subprocess("-n2", "--implementation=mine:raising", "--implementation=mine:right")
    right = Implementation(name="right", subject="softmax", call=torch.softmax)
    unasked = sum(bool(law.not_asked_of(right)) for law in LAWS)
    result.assert_outcomes(failed=1, passed=len(LAWS) - unasked, skipped=len(LAWS) - 1 + unasked)
    assert f"blocked {len(LAWS) - 1} of {2 * len(LAWS)}" in summary(result)


def test_a_law_that_blocks_in_one_worker_and_holds_in_the_other_is_not_overlooked(suite: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    suite.makepyfile(
        test_mine="import mine, seqlaws; test_it = seqlaws.tests_for(mine.implement('it', mine.wrong_in_one_worker))"
    )
    result = suite.runpytest_subprocess("-n2", "-k", f"{SUM} or agrees_with_its_definition")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, skipped=1)
    assert f"test_mine.py::test_it::{SUM}[cpu-float32] was found broken when another law asked" in result.stdout.str()


def test_hypothesis_replays_what_it_found_and_tells_of_it(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_mine="import mine, seqlaws; test_it = seqlaws.tests_for(mine.implement('it', mine.rarely_wrong))"
    )

    def run(*options: str) -> str:
        return suite.runpytest_subprocess("-k", SUM, "-p", "no:xdist", *options).stdout.str()

    drawn = re.compile(r"Drawn as: .*")
    found = drawn.search(run("--hypothesis-profile=default"))
    assert found
    replayed = run("--hypothesis-profile=default", "--hypothesis-show-statistics")
    assert found[0] in replayed
    assert f"test_mine.py::test_it::{SUM}[cpu-float32]:\n\n  - during reuse phase" in replayed


def test_the_same_seed_draws_the_same_cases(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypothesis.core.global_force_seed", None)  # where Hypothesis keeps it, put back afterwards
    suite.makepyfile(test_mine="import mine, seqlaws; test_it = seqlaws.tests_for(mine.implement('it', mine.here))")

    def shapes(seed: int) -> list[str]:
        log = suite.path / "pids"
        log.unlink(missing_ok=True)
        suite.runpytest("-k", SUM, f"--hypothesis-seed={seed}", "--hypothesis-profile=default").assert_outcomes(
            passed=1, deselected=len(LAWS) - 1
        )
        return [line.partition(" ")[2] for line in log.read_text().splitlines()]

    first, again, other = shapes(1), shapes(1), shapes(2)
    assert first == again != other


def test_a_session_without_implementations_pays_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_modules():
            assert "seqlaws.plugin" in sys.modules
            assert not {"torch", "numpy", "hypothesis", "seqlaws.items", "seqlaws.implementation"} & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert summary(result) == []
