"""The judge: how each status comes about, and what depends on what."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from seqlaws import Implementation, Known
from seqlaws.blocking import dependencies
from seqlaws.errors import Misunderstood
from seqlaws.inputs import Inputs
from seqlaws.judge import dialect_hint, judge_law, judge_laws
from seqlaws.law import STRUCTURE, Law, law
from seqlaws.result import Result
from seqlaws.run import Run
from seqlaws.spec.softmax import SoftmaxCase
from seqlaws.subject import SUBJECTS, Cases
from seqlaws.trial import PROFILES
from seqlaws.verdict import HOLDS, Verdict, vacuous


def softmax(call: Callable[..., Any] = torch.softmax, **declared: Any) -> Implementation:
    return Implementation(name="mine", subject="softmax", call=call, **declared)


def doubled(x: torch.Tensor, dim: int) -> torch.Tensor:
    return 2 * torch.softmax(x, dim)


def named(name: str) -> Law:
    return next(each for each in softmax().definition.laws if each.short == name)


def judged(name: str, implementation: Implementation, seed: int = 0) -> Result:
    return judge_law(named(name), Run(implementation, "cpu", "float32"), profile="quick", seed=seed)


@pytest.fixture
def passing_law(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Law]:
    """Makes laws that are forgotten after the test."""
    from seqlaws import law as home

    softmax()
    monkeypatch.setattr(home, "_LAWS", dict(home._LAWS))

    def make(check: Callable[[Any, Inputs], Verdict], **more: Any) -> Law:
        check.__name__, check.__doc__ = "a_law", "A claim.\n\nformula\n\nWhy: because."
        return law(SUBJECTS["softmax"], STRUCTURE, **more)(check)

    return make


def test_it_holds_and_counts_sub_cases() -> None:
    result = judged("sums_to_one", softmax())
    assert result.status == "holds"
    assert result.cases > PROFILES["quick"]


def test_it_is_broken_with_a_case_a_message_and_a_card() -> None:
    result = judged("sums_to_one", softmax(doubled))
    assert result.status == "broken"
    assert result.counterexample is not None
    assert "x = [" in result.counterexample
    assert "got 2, expected 1" in result.message
    assert "BROKEN  softmax.sums_to_one   by mine" in result.card


def test_the_same_seed_gives_the_same_verdict_and_counterexample() -> None:
    one, other = (judged("sums_to_one", softmax(doubled), seed=5) for _ in range(2))
    assert (one.counterexample, one.message, one.cases) == (other.counterexample, other.message, other.cases)


def test_an_exception_is_a_broken_law() -> None:
    def raises(x: torch.Tensor, dim: int) -> torch.Tensor:
        raise ValueError("no such kernel")

    assert judged("answers_in_kind", softmax(raises)).message == "raised ValueError: no such kernel"


def test_of_an_exception_within_another_the_inner_one_is_told() -> None:
    def raises(x: torch.Tensor, dim: int) -> torch.Tensor:
        raise RuntimeError("It failed in the interpreter.\nTraceback:\n  line 3\nValueError: no such kernel\n")

    message = judged("answers_in_kind", softmax(raises)).message
    assert message == "raised ValueError: no such kernel"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, dim: None, "returned a NoneType, not a tensor"),
        (lambda x, dim: torch.softmax(x, dim).sum(), "returned shape () where"),
        (lambda x, dim: torch.softmax(x, dim).double(), "returned dtype float64 where float32 was due"),
        (lambda x, dim: torch.softmax(x, dim).to("meta"), "returned device meta where cpu was due"),
    ],
)
def test_what_comes_back_is_checked_for_its_kind(call: Callable[..., Any], message: str) -> None:
    result = judged("answers_in_kind", softmax(call))
    assert result.status == "broken"
    assert message in result.message


def test_a_known_fault_replays_its_stored_case() -> None:
    known = Known("it is doubled", case=SoftmaxCase((1, 2), 1))
    result = judged("sums_to_one", softmax(doubled, known={"softmax.sums_to_one": known}))
    assert (result.status, result.reason, result.counterexample) == ("known", "it is doubled", repr(known.case))


def test_a_known_fault_without_a_case_is_looked_for() -> None:
    assert judged("sums_to_one", softmax(doubled, known={"softmax.sums_to_one": "doubled"})).status == "known"


@pytest.mark.parametrize("known", ["doubled", Known("doubled", case=SoftmaxCase((1, 2), 1))])
def test_a_known_fault_that_is_gone_is_red(known: str | Known) -> None:
    assert judged("sums_to_one", softmax(known={"softmax.sums_to_one": known})).status == "known_but_holds"


def test_a_known_fault_of_another_dtype_does_not_count() -> None:
    known = Known("doubled", dtypes=("float16",))
    assert judged("sums_to_one", softmax(doubled, known={"softmax.sums_to_one": known})).status == "broken"


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        ({"dtypes": ()}, "mine: names no dtype; there are: float16, bfloat16, float32, float64"),
        ({"devices": ()}, "mine: names no device; there are: cpu, cuda"),
        ({"framework": "numpy", "dtypes": ("bfloat16",)}, "mine: names no dtype; there are: "),
        ({"known": {"softmax.sums_to_one": Known("?", dtypes=("fp32",))}}, "mine: unknown dtype 'fp32'; there are: "),
        ({"known": {"softmax.sums_to_one": Known("?", devices=("gpu",))}}, "mine: unknown device 'gpu'; there are: "),
    ],
)
def test_what_would_never_be_judged_is_refused(declared: Any, line: str) -> None:
    with pytest.raises(Misunderstood) as refusal:
        softmax(**declared)
    assert str(refusal.value).startswith(line)


def test_numpy_knows_no_bfloat16_and_no_device_but_the_processor() -> None:
    mine = softmax(framework="numpy")
    assert (mine.dtypes, mine.devices) == (("float16", "float32", "float64"), ("cpu",))


def test_what_is_not_claimed_is_not_judged() -> None:
    gradient = next(each for each in softmax().definition.laws if "gradient" in each.needs)
    result = judge_law(gradient, Run(softmax(can=set()), "cpu", "float32"), profile="quick", seed=0)
    assert (result.status, result.cases) == ("not_claimed", 0)
    assert "gradient" in result.reason


def test_a_law_that_no_case_reaches_is_vacuous(passing_law: Callable[..., Law]) -> None:
    made = passing_law(lambda f, x: vacuous())
    assert judge_law(made, Run(softmax(), "cpu", "float32"), profile="quick", seed=0).status == "vacuous"


@pytest.mark.parametrize("known", ["issue 17", Known("issue 17", case=SoftmaxCase((1, 2), 1))])
def test_a_known_fault_that_no_case_reaches_is_vacuous(passing_law: Callable[..., Law], known: str | Known) -> None:
    made = passing_law(lambda f, x: vacuous())
    run = Run(softmax(known={made.name: known}), "cpu", "float32")
    assert judge_law(made, run, profile="quick", seed=0).status == "vacuous"


def test_looking_for_another_dialect_leaves_marks_like_any_other_call() -> None:
    run, marks = Run(softmax(), "cpu", "float32"), []
    run.clock.watch = marks.append
    dialect_hint(named("sums_to_one"), run, SoftmaxCase((2, 3), 1).inputs(run.format))
    assert marks[:2] == [True, False]


def test_a_fault_of_the_suite_is_an_error_and_not_a_broken_law(passing_law: Callable[..., Law]) -> None:
    def fault(f: Any, x: Inputs) -> Verdict:
        raise KeyError("in the law itself")

    result = judge_law(passing_law(fault), Run(softmax(), "cpu", "float32"), profile="quick", seed=0)
    assert result.status == "error"
    assert "in the law itself" in result.message


def test_a_sweep_draws_nothing_in_the_quick_profile(passing_law: Callable[..., Law]) -> None:
    shared = SUBJECTS["softmax"].cases
    sweep = passing_law(lambda f, x: HOLDS, cases=Cases(shared.always, shared.strategy), examples=0.1)
    run = Run(softmax(), "cpu", "float32")
    fixed = sum(run.inputs(case).rows for case in sweep.cases.always(run.implementation.claims))
    cases = {profile: judge_law(sweep, run, profile=profile, seed=0).cases for profile in ("quick", "default")}
    assert cases["quick"] == fixed < cases["default"]


def test_a_law_that_calls_often_tries_fewer_of_the_shared_cases_except_in_the_thorough_profile(
    passing_law: Callable[..., Law],
) -> None:
    tried: dict[str, list[int]] = {"default": [], "thorough": []}
    often = passing_law(lambda f, x: tried[profile].append(id(x)) or HOLDS, examples=0.5)  # type: ignore[func-returns-value]
    run = Run(softmax(), "cpu", "float32")
    shared = {id(run.inputs(case)) for case in often.cases.always(run.implementation.claims)}
    for profile in tried:
        judge_law(often, run, profile=profile, seed=0)
    assert shared <= set(tried["thorough"])
    assert len(shared & set(tried["default"])) == 1 + len(shared) // 2


def test_a_law_that_returns_no_verdict_is_an_error(passing_law: Callable[..., Law]) -> None:
    made = passing_law(lambda f, x: True)  # type: ignore[arg-type, return-value]
    assert judge_law(made, Run(softmax(), "cpu", "float32"), profile="quick", seed=0).status == "error"


def test_what_depends_on_a_broken_law_is_blocked() -> None:
    implementation = softmax(lambda x, dim: torch.softmax(x, dim).sum())
    results = list(
        judge_laws(implementation, "cpu", "float32", implementation.definition.laws, profile="quick", seed=0)
    )
    assert [result.law for result in results if result.status == "broken"] == ["softmax.answers_in_kind"]
    assert {result.status for result in results[1:]} <= {"blocked"}
    assert results[-1].reason == "softmax.answers_in_kind is broken"


def test_dependence_goes_through_other_laws(passing_law: Callable[..., Law]) -> None:
    first = passing_law(lambda f, x: HOLDS)
    every = {each.name: each for each in softmax().definition.laws}
    assert "softmax.answers_in_kind" in dependencies(first, every)
    assert first.name not in dependencies(first, every)


@pytest.mark.parametrize("doc", [None, "Only a claim.", "A claim.\n\nformula", "A claim.\n\nformula\n\nBecause."])
def test_a_law_must_say_what_why_and_how(doc: str | None) -> None:
    def unexplained(f: Any, x: Inputs) -> Verdict:
        return HOLDS

    unexplained.__doc__ = doc
    with pytest.raises(TypeError, match="three parts"):
        law(SUBJECTS["softmax"], STRUCTURE)(unexplained)


@pytest.mark.parametrize(("call", "status"), [(torch.softmax, "holds"), (doubled, "broken")])
def test_no_tensor_waits_for_the_garbage_collector(call: Callable[..., Any], status: str) -> None:
    def tensors() -> int:
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = tensors()
        assert judged("agrees_with_its_gradient", softmax(call)).status == status
        assert tensors() <= before + 2  # those of the last call
    finally:
        gc.enable()
