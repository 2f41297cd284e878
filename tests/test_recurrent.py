"""The references of recurrent layers: known facts, directional differences, and bounds of gradients, measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import seqlaws
from seqlaws import Implementation
from seqlaws.adapters.torch_recurrent import layer
from seqlaws.catalogue import load_lessons, load_subject
from seqlaws.formats import DTYPES, FORMATS, Array
from seqlaws.inputs import Inputs
from seqlaws.reference.gru import gru
from seqlaws.reference.lstm import lstm
from seqlaws.reference.rnn import rnn
from seqlaws.reference.running import given, logistic, sigmoid, tanh
from seqlaws.run import Run
from seqlaws.spec.gru import GruCase
from seqlaws.spec.lstm import LstmCase
from seqlaws.spec.recurrent.drawing import RecurrentCase
from seqlaws.spec.rnn import RnnCase

KINDS: dict[str, type[RecurrentCase]] = {"rnn": RnnCase, "lstm": LstmCase, "gru": GruCase}
DIALECTS = [("rnn", {}), ("lstm", {}), ("gru", {"reset": "before"}), ("gru", {"reset": "after"})]
GATES = {"rnn": ("",), "lstm": ("_i", "_f", "_g", "_o"), "gru": ("_r", "_z", "_n")}


def _weights(kind: str, units: int, width: int, **changes: Any) -> SimpleNamespace:
    """Zeros throughout, with some of them replaced."""
    made: dict[str, Array] = {"c_n": np.zeros(units)}
    for gate in GATES[kind]:
        made |= {
            f"W{gate}": np.zeros((units, width)),
            f"U{gate}": np.zeros((units, units)),
            f"b{gate}": np.zeros(units),
        }
    return SimpleNamespace(**{**made, **{name: np.array(value, dtype=float) for name, value in changes.items()}})


def test_a_simple_recurrence_by_hand() -> None:
    w = _weights("rnn", 1, 1, W=[[1.0]], U=[[2.0]], b=[0.5])
    hs, last = rnn(np.array([[[1.0], [-1.0]]]), np.array([[0.25]]), w)
    first = np.tanh(1.0 + 0.5 + 0.5)
    np.testing.assert_allclose(hs[0, :, 0], [first, np.tanh(-1.0 + 2.0 * first + 0.5)], rtol=1e-15)
    assert last[0, 0] == hs[0, 1, 0]


def test_an_lstm_without_weights_halves_its_cell_and_shows_half_of_it() -> None:
    hs, (h, c) = lstm(np.ones((1, 2, 3)), (np.zeros((1, 1)), np.full((1, 1), 4.0)), _weights("lstm", 1, 3))
    assert c.tolist() == [[1.0]]
    np.testing.assert_allclose(hs[0, :, 0], [0.5 * np.tanh(2.0), 0.5 * np.tanh(1.0)], rtol=1e-15)
    assert h[0, 0] == hs[0, 1, 0]


def test_each_gate_of_an_lstm_does_what_its_name_says() -> None:
    state = (np.zeros((1, 1)), np.full((1, 1), 3.0))
    shut = _weights("lstm", 1, 1, b_i=[-1e3], b_f=[1e3], b_o=[1e3])
    assert lstm(np.ones((1, 50, 1)), state, shut)[1][1].tolist() == [[3.0]]
    fresh = _weights("lstm", 1, 1, b_i=[1e3], b_f=[-1e3], b_g=[1e3], b_o=[-1e3])
    hs, (_, c) = lstm(np.ones((1, 2, 1)), state, fresh)
    assert (c.tolist(), hs.tolist()) == ([[1.0]], [[[0.0], [0.0]]])


def test_a_gru_keeps_at_one_and_replaces_at_zero() -> None:
    x, h0 = np.ones((1, 3, 1)), np.full((1, 1), 0.75)
    assert gru(x, h0, _weights("gru", 1, 1, b_z=[1e3], b_n=[5.0]))[1].tolist() == [[0.75]]
    np.testing.assert_allclose(gru(x, h0, _weights("gru", 1, 1, b_z=[-1e3], b_n=[0.5]))[1], [[np.tanh(0.5)]])


def test_the_two_resets_differ_where_several_units_are_reset_differently() -> None:
    w = _weights("gru", 2, 1, b_r=[1e3, -1e3], b_z=[-1e3, -1e3], U_n=[[0.0, 1.0], [1.0, 0.0]])
    x, h0 = np.zeros((1, 1, 1)), np.array([[0.5, 0.25]])
    np.testing.assert_allclose(gru(x, h0, w)[1], [[0.0, np.tanh(0.5)]])
    np.testing.assert_allclose(gru(x, h0, w, reset="after")[1], [[np.tanh(0.25), 0.0]])


@pytest.mark.parametrize(("kind", "dialect"), DIALECTS)
def test_the_plain_program_and_the_one_with_bounds_agree(kind: str, dialect: dict[str, str]) -> None:
    x = KINDS[kind](5, 6, 3, 4, seed=3).inputs(FORMATS["float32"])
    w = SimpleNamespace(**x.arrays)
    if kind == "lstm":
        hs, lasts = lstm(x.x, (x.h0, x.c0), w)
    else:
        hs, last = rnn(x.x, x.h0, w) if kind == "rnn" else gru(x.x, x.h0, w, **dialect)
        lasts = (last,)  # type: ignore[assignment]
    due = np.concatenate([hs, *(last[:, None] for last in lasts)], axis=1)
    np.testing.assert_allclose(
        load_subject(kind).exact(x, {"missing_state": "undefined", **dialect})[0], due, rtol=1e-12
    )


@pytest.mark.parametrize(("kind", "dialect"), DIALECTS)
def test_gradients_are_directional_differences(kind: str, dialect: dict[str, str]) -> None:
    subject = load_subject(kind)
    x = KINDS[kind](3, 5, 2, 4, gain=1.5, fill="normal", seed=7).inputs(FORMATS["float64"])
    spoken = {"missing_state": "undefined", **dialect}
    cotangent = x.noise("cotangent", subject.shape(x))
    found = subject.exact_gradient(x, cotangent, spoken)
    assert set(found) == set(subject.differentiable)
    step = 2.0**-18

    def along(y: Inputs) -> Any:
        return (subject.exact(y, spoken)[0] * cotangent).sum()

    for name in subject.differentiable:
        direction = np.sign(x.noise("direction of " + name, getattr(x, name).shape))
        ahead, behind = (along(x.but(**{name: getattr(x, name) + sign * step * direction})) for sign in (1, -1))
        due = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(float((found[name][0] * direction).sum()), float(due), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_honest_gradients_stay_within_their_bounds(kind: str, dtype: str) -> None:
    worst = 0.0
    for seed in range(12):
        gain = (0.5, 0.9, 1.5)[seed % 3]
        x = KINDS[kind](7, 1 + seed % 8, 1 + seed % 5, 1 + seed % 6, gain, seed=seed).inputs(FORMATS[dtype])
        for lesson in (each for each in load_lessons(kind) if each.honest and dtype in each.implementation.dtypes):
            run = Run(lesson.implementation, "cpu", dtype)
            found = run.gradient(x, x.noise("cotangent", run.subject.shape(x)), run.subject.differentiable)
            for each in found.values():
                if each.value.size:
                    error = np.abs(each.value - each.reference)
                    with np.errstate(invalid="ignore"):  # nothing is allowed to a gradient that is exactly 0
                        worst = max(worst, float(np.where(error > 0, error / each.bound, 0.0).max()))
    print(f"{kind} {dtype}: {worst:.3f}")
    assert worst <= 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_stay_small_where_states_fade(kind: str, dtype: str) -> None:
    x = KINDS[kind](5, 60, 3, 4, gain=0.5, fill="normal", seed=3).inputs(FORMATS[dtype])
    subject = load_subject(kind)
    defaults = {key: values[0] for key, values in subject.dialects.items()}
    assert subject.exact(x, defaults)[1].max() < 500 * x.format.unit


@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_and_no_sequences(kind: str) -> None:
    subject = load_subject(kind)
    defaults = {key: values[0] for key, values in subject.dialects.items()}
    for batch, length in ((0, 3), (2, 0), (0, 0)):
        x = KINDS[kind](batch, length, 2, 3, seed=1).inputs(FORMATS["float32"])
        value, bound = subject.exact(x, defaults)
        assert value.shape == bound.shape == subject.shape(x)
        for name, (gradient, error) in subject.exact_gradient(x, np.ones(subject.shape(x)), defaults).items():
            assert gradient.shape == error.shape == getattr(x, name).shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_of_torch_stay_within_their_bounds(dtype: str) -> None:
    format = FORMATS[dtype]
    a = format.round(np.concatenate([np.linspace(-30, 30, 4001), [-1000.0, -100.0, -89.0, 0.0, 89.0, 1000.0]]))
    tensor = torch.from_numpy(a).to(getattr(torch, dtype))
    for bounded, function in (
        (tanh, torch.tanh),
        (sigmoid, torch.sigmoid),
        (sigmoid, lambda t: 0.5 + 0.5 * (t / 2).tanh()),
    ):
        due = bounded(given(a.astype(format.wide), format))
        assert (np.abs(function(tensor).double().numpy() - due.value) <= due.error).all()


def test_the_logistic_function_keeps_its_tails() -> None:
    np.testing.assert_allclose(logistic(np.array([-700.0, 0.0, 700.0])), [np.exp(-700.0), 0.5, 1.0], rtol=1e-15)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_packed_steps_beyond_the_end_carry_the_state_bit_by_bit(kind: str) -> None:
    torch.manual_seed(0)
    x, lengths = torch.randn(3, 7, 4), [7, 2, 5]
    state: Any = torch.randn(3, 5)
    state = (state, torch.randn(3, 5)) if kind == "lstm" else state
    w = SimpleNamespace(**{
        f"{name}{gate}": torch.randn(*shape)
        for gate in GATES[kind]
        for name, shape in (("W", (5, 4)), ("U", (5, 5)), ("b", (5,)), ("c", (5,)))
    })  # fmt: skip
    loud = torch.where(torch.arange(7)[:, None] < torch.tensor(lengths)[:, None, None], x, 100.0)
    plain, shouted = (layer(each, state, w, kind=kind, lengths=lengths) for each in (x, loud))
    for one, other in zip(
        (plain[0], *mapped_to_list(plain[1])), (shouted[0], *mapped_to_list(shouted[1])), strict=True
    ):
        assert torch.equal(one, other)
    last = mapped_to_list(plain[1])[0]
    assert torch.equal(last, plain[0][torch.arange(3), torch.tensor(lengths) - 1])


def mapped_to_list(state: Any) -> list[torch.Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize(
    ("subject", "result", "message"),
    [
        ("rnn", None, "returned a NoneType where (hs, h) was due"),
        ("gru", (1, 2, 3), "returned 3 values (tuple) where (hs, h) was due"),
        ("lstm", (1, 2, 3), "returned 3 values (tuple) where (hs, (h, c)) was due"),
        ("lstm", (1, 2), "returned an int for the state, where (hs, (h, c)) was due"),
    ],
)
def test_a_result_of_another_form_is_told_so(subject: str, result: Any, message: str) -> None:
    mine = Implementation("mine", subject, lambda x, state, w: result)
    (found,) = seqlaws.check(mine, dtype="float32", law=f"{subject}.answers_in_kind").results
    assert (found.status, found.message) == ("broken", message)
