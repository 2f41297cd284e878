"""Encoder–decoders: known facts of the shipped models, and how a model without a reference is judged."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seqlaws
from seqlaws import Implementation
from seqlaws.adapters import torch_seq2seq as models
from seqlaws.factory import built, copied, fresh, tensors_in
from seqlaws.formats import FORMATS
from seqlaws.law import Law
from seqlaws.run import Run
from seqlaws.spec.seq2seq import Seq2seqCase
from seqlaws.spec.seq2seq.gradients import STEP, _slope, gradients_are_the_slopes_of_the_output
from seqlaws.spec.seq2seq.laws import earlier_targets_have_influence
from seqlaws.trial import trial

CASE = Seq2seqCase(3, 5, 4, 8, model=1, seed=1)
ANYWHERE = {"padding": "anywhere"}


def made(kind: type[nn.Module], **declared: Any) -> Implementation:
    return Implementation("mine", "seq2seq", models.factory(kind), **{"dialect": ANYWHERE, **declared})


def holds(law: Law, model: Implementation, case: Seq2seqCase, dtype: str = "float32") -> bool:
    verdict = trial(law, Run(model, "cpu", dtype), case.inputs(FORMATS[dtype]))
    assert verdict.reached
    return verdict.holds


def test_a_single_source_token_gets_all_the_attention() -> None:
    model = models.factory(models.AdditiveAttention)(0, 8)
    source, target = torch.randn(2, 1, 8), torch.randn(2, 3, 8)
    states, _ = model.encode(source)
    other = model.decode(target, (torch.cat([states, 9 * states], dim=1), torch.tensor([[True, False]] * 2)))
    read = models.stepped(model.decoder, target, 9 * states[:, -1])
    alone = model.head(torch.tanh(model.join(torch.cat([read, states.expand(-1, 3, -1)], dim=-1))))
    torch.testing.assert_close(other, alone)


def test_making_a_model_leaves_random_generators_alone() -> None:
    before = torch.get_rng_state()
    fresh(models.context.call, torch.empty(0), 3, 8)
    assert torch.equal(before, torch.get_rng_state())


def test_the_model_of_a_seed_is_kept_and_copies_are_apart() -> None:
    like = torch.empty(0, dtype=torch.float64)
    model = built(models.additive.call, like, 3, 8)
    assert built(models.additive.call, like, 3, 8) is model
    memory = model.encode(torch.ones(1, 2, 8, dtype=torch.float64))
    other = copied(memory)
    assert [each.data_ptr() for each in tensors_in(memory)] != [each.data_ptr() for each in tensors_in(other)]
    assert all(map(torch.equal, tensors_in(memory), tensors_in(other)))


def test_the_error_of_a_model_is_read_off_its_own() -> None:
    bounds = {}
    for name, format in FORMATS.items():
        out = Run(models.additive, "cpu", name)(CASE.inputs(format))
        assert (np.abs(out.value - out.reference) <= out.bound).all()
        bounds[name] = float(out.bound.max())
    assert bounds["float64"] < 1e-12 < bounds["float32"] < 1e-4 < bounds["bfloat16"]


def test_a_model_need_not_run_in_a_dtype_that_it_does_not_declare() -> None:
    def single(seed: int, d_model: int) -> Any:
        model = models.additive.call(seed, d_model)
        encode = model.encode

        def refusing(source: torch.Tensor, **options: Any) -> Any:
            if source.dtype != torch.float32:
                raise TypeError("float32 only")
            return encode(source, **options)

        model.encode = refusing
        return model

    declared = {"can": models.additive.can, "dialect": models.additive.dialect, "dtypes": ("float32",)}
    report = seqlaws.check(Implementation(name="single", subject="seq2seq", call=single, **declared), profile="quick")
    assert report.broken == []
    assert report.count("holds") > 10 and report.count("vacuous") > 0


def test_a_rank_is_not_counted_and_gradients_are_not_compared_below_float64() -> None:
    single = made(models.ContextVector, can=models.context.can, dtypes=("float32",))
    report = seqlaws.check(single, law="seq2seq.*", profile="quick")
    vacuous = {each.law.partition(".")[2] for each in report.results if each.status == "vacuous"}
    assert vacuous == {"gradients_are_the_slopes_of_the_output", "the_memory_bounds_what_can_pass"}
    assert report.broken == []


def test_nothing_is_held_against_a_model_that_runs_in_a_half_type_alone() -> None:
    def half(seed: int, d_model: int) -> Any:
        model = models.additive.call(seed, d_model).bfloat16()
        model.to = lambda **_: model
        return model

    only = Implementation("half", "seq2seq", half, dialect=ANYWHERE, dtypes=("bfloat16",))
    assert seqlaws.check(only, profile="quick").broken == []


def test_an_influence_that_a_half_type_rounds_away_is_found_in_float64() -> None:
    """Found by a reviewer: torch.nn.Transformer with seed 11."""
    case = Seq2seqCase(37, 9, 13, 4, model=5, seed=139329)
    assert holds(earlier_targets_have_influence, models.transformer, case, "bfloat16")


class Shifted(models.AdditiveAttention):
    """Shifts its target to the right by itself."""

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        return super().decode(torch.cat([torch.zeros_like(target[:, :1]), target[:, :-1]], dim=1), memory)


def test_a_model_that_shifts_its_target_is_told_to_declare_it() -> None:
    report = seqlaws.check(made(Shifted), dtype="float32", profile="quick")
    (broken,) = report.broken
    assert broken.law == "seq2seq.earlier_targets_have_influence"
    assert "target='shifted'" in broken.card
    declared = made(Shifted, dialect={**ANYWHERE, "target": "shifted"})
    assert seqlaws.check(declared, dtype="float32", profile="quick").broken == []


def test_a_model_that_says_it_shifts_and_does_not_shows_the_answer() -> None:
    report = seqlaws.check(
        made(models.AdditiveAttention, dialect={**ANYWHERE, "target": "shifted"}), dtype="float32", profile="quick"
    )
    assert [each.law for each in report.broken] == ["seq2seq.outputs_see_the_past_of_the_target_only"]
    assert "target='as_given'" in report.broken[0].card


class Kink(nn.Module):
    """Adds the source of one token to the target, and a slope of 5 from a threshold on."""

    threshold = 0.0
    detached = False

    def __init__(self, d_model: int) -> None:
        super().__init__()

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        return (
            source.sum(dim=(1, 2))[:, None, None].detach() if self.detached else source.sum(dim=(1, 2))[:, None, None]
        )

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        return target + memory + 5 * (memory - self.threshold).relu()


@pytest.mark.parametrize("alpha", [*np.linspace(-2.5, 2.5, 61), 2 / 3, -2 / 3])
def test_a_kink_beside_the_point_is_no_wrong_gradient(alpha: float) -> None:
    """Wherever the slope jumps: the error of the difference stays below what is allowed to it."""
    kind = type("Kinked", (Kink,), {})
    model = made(kind, can={"gradient"})
    x = Seq2seqCase(1, 1, 1, 1).inputs(FORMATS["float32"])
    x = x.but(source=np.array([[[0.5]]]), target=np.array([[[0.25]]]))
    kind.threshold = 0.5 + alpha * STEP
    one = np.ones((1, 1, 1))
    found, allowed = _slope(Run(model, "cpu", "float32"), x, "source", one, one)
    rights = (1.0, 6.0) if alpha == 0 else ((1.0,) if alpha > 0 else (6.0,))
    assert all(abs(found - right) <= allowed for right in rights)
    if abs(alpha) >= 2:
        assert allowed < 1e-6


class Detached(Kink):
    """The same without a gradient of the source."""

    threshold, detached = 100.0, True


def test_a_gradient_that_is_off_is_seen_to_be() -> None:
    case = Seq2seqCase(3, 5, 4, 8, model=1, seed=1)
    assert holds(gradients_are_the_slopes_of_the_output, made(Kink, can={"gradient"}), case)
    assert not holds(gradients_are_the_slopes_of_the_output, made(Detached, can={"gradient"}), case)


class Parts:
    """No module, but an object that holds one, and whose memory knows itself. It takes no padding."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def encode(self, source: Tensor) -> deque[Any]:
        memory: deque[Any] = deque(self.inner.encode(source))
        memory.append(memory)
        return memory

    def decode(self, target: Tensor, memory: deque[Any]) -> Any:
        return self.inner.decode(target, tuple(memory)[:2])


def test_a_model_may_be_an_object_of_parts_without_padding() -> None:
    make = models.factory(models.AdditiveAttention)
    mine = Implementation(
        "mine", "seq2seq", lambda seed, d_model: Parts(make(seed, d_model)), can={"cross_attention", "gradient"}
    )
    report = seqlaws.check(mine, dtype="float16", profile="quick")
    assert {result.status for result in report} <= {"holds", "not_claimed", "vacuous"}


def test_a_copy_keeps_what_refers_to_itself() -> None:
    memory: deque[Any] = deque([torch.ones(2)])
    memory.append(memory)
    other = copied(memory)
    assert other[1] is other
    assert other[0] is not memory[0]
    assert len(list(tensors_in(memory))) == 1


def test_an_object_that_moves_itself_is_asked_to_and_its_parts_are_frozen() -> None:
    class Moving(Parts):
        def to(self, **place: Any) -> Moving:
            self.moved = place
            return self

    model = fresh(lambda seed, d_model: Moving(nn.Linear(d_model, 1)), torch.empty(0, dtype=torch.float64), 0, 2)
    assert model.moved == {"device": torch.device("cpu"), "dtype": torch.float64}
    assert not any(each.requires_grad for each in model.inner.parameters())
