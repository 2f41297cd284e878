"""Path length: known closed forms, random programs, and what it says when it cannot know."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from seqlaws.errors import Misunderstood
from seqlaws.instruments import path_length
from seqlaws.instruments.growth import order_of

from .models import (
    Attention,
    Branching,
    ByItem,
    CausalConvolution,
    Convolutions,
    Counting,
    D,
    DoublingScan,
    Layers,
    Noisy,
    ThroughNumpy,
)  # fmt: skip
from .programs import program


@pytest.mark.parametrize(
    ("model", "values", "order"),
    [
        (nn.RNN(D, D), [7, 13, 25, 49, 97, 193], "O(n)"),
        (nn.LSTM(D, D, batch_first=True), [9, 14, 22, 38, 70, 134], "O(n)"),
        (nn.GRU(D, D), [8, 14, 26, 50, 98, 194], "O(n)"),
        (nn.MultiheadAttention(D, 2), [4] * 6, "O(1)"),
        (nn.TransformerEncoderLayer(D, 2, 16), [14] * 6, "O(1)"),
        (DoublingScan(), [1, 2, 3, 4, 5, 6], "O(log n)"),
        (nn.Conv1d(D, D, 3, padding=1), [1] * 6, "O(1)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_growth_is_told_from_exact_values_and_in_time(model: nn.Module, values: list[int], order: str) -> None:
    started = time.perf_counter()
    result = path_length(model, width=D)
    assert time.perf_counter() - started < 20  # 2 s on an idle core; this one is shared
    assert result.growth is not None
    assert (list(result.growth.values), result.growth.order) == (values, order)
    assert str(result.exactness) == "exact"


def test_a_recurrence_takes_three_operators_a_step() -> None:
    result = path_length(nn.RNN(D, D), 12, growth=False)
    for t in range(12):
        for s in range(12):
            assert result.lengths[t][s] == (4 + 3 * (t - s) if s <= t else None)


def test_a_cell_state_takes_two_operators_a_step() -> None:
    """By hand: the output gate is 5 operators away, 9 a step later through h; from then on the cell carries."""
    result = path_length(nn.LSTM(D, D), 12, growth=False)
    for t in range(12):
        for s in range(t + 1):
            assert result.lengths[t][s] == {0: 5, 1: 9}.get(t - s, 8 + 2 * (t - s))


@pytest.mark.parametrize(("kernel", "layers"), [(2, [2, 4, 6, 8]), (3, [2, 3, 4, 6]), (4, [1, 2, 3, 4])])
def test_dilated_convolutions_need_logarithmically_many_layers(kernel: int, layers: list[int]) -> None:
    for length, count in zip((4, 16, 64, 256), layers, strict=True):
        for many in (count - 1, count):
            result = path_length(
                Convolutions([kernel**i for i in range(many)], kernel), length, width=D, sources=[0], certify=False
            )
            assert result.depends(length - 1, 0) == (many == count)


@pytest.mark.parametrize("window", [2, 3, 5, 9, 17])
def test_restricted_attention_needs_n_over_r_layers(window: int) -> None:
    length = 33
    count = -(-(length - 1) // (window - 1))
    for many in (count - 1, count):
        if many:
            result = path_length(Layers(many, window), length, width=D, sources=[0], growth=False, certify=False)
            assert result.depends(length - 1, 0) == (many == count)


@pytest.mark.parametrize("low", [-float("inf"), -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("kind", ["causal", "band"])
def test_masks_are_seen(kind: str, low: float) -> None:
    result = path_length(Attention(kind, low), 16)
    assert str(result.exactness) == "exact" and result.causal
    assert sum(each is not None for row in result.lengths for each in row) == (136 if kind == "causal" else 58)


def test_dependence_is_certain_in_large_batches_of_convolutions() -> None:
    result = path_length(Convolutions([1, 3]), 32, width=D, growth=False)
    assert str(result.exactness) == "exact" and result.causal


def test_a_convolution_that_only_says_that_it_is_causal() -> None:
    assert path_length(Convolutions([1]), 8, width=D).causal
    assert not path_length(CausalConvolution(), 8, width=D).causal


def test_random_programs_never_depend_on_more_than_is_found() -> None:
    found = Counter(str(path_length(program(seed, 6, 4), 6, width=4, growth=False).exactness) for seed in range(400))
    assert not [why for why in found if why.startswith("unknown")], found
    assert found["exact"] >= 380


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (ThroughNumpy(), "unknown: numbers leave the tensors and come back: at a tensor from outside torch"),
        (ByItem(), "unknown: numbers leave the tensors and come back: at mul, another input brings another argument"),
        (Branching(), "unknown: "),
        (Counting(), "unknown: it is not a function of its input alone"),
        (Noisy(), "unknown: it is not a function of its input alone"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_is_hidden_is_said(model: nn.Module, why: str) -> None:
    assert str(path_length(model, 6, width=4).exactness).startswith(why)


@torch.library.custom_op("seqlaws_tests::opaque", mutates_args=())
def opaque(x: torch.Tensor) -> torch.Tensor:
    return x.tanh()


def test_an_operator_without_a_rule_is_named() -> None:
    result = path_length(lambda x: opaque(x) + x, 6, width=4)
    assert str(result.exactness).startswith("unknown: no rule for seqlaws_tests.opaque: no dependence is missing")


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (nn.Linear(4, 4).forward, None),
        (lambda x: x[:, :-1], "<lambda> returns [2, 5, 4] for [2, 6, 4]; "),
        (lambda x: "no", "<lambda> returns a str, not a tensor"),
        (
            nn.TransformerDecoderLayer(4, 2),
            "TransformerDecoderLayer cannot be called with one tensor [2, 6, 4]: TypeError: ",
        ),
        (3, "a int cannot be measured"),
    ],
    ids=["a method", "another length", "no tensor", "two tensors", "a number"],
)
def test_a_mismatch_takes_one_line(model: Callable[..., Any], why: str | None) -> None:
    if why is None:
        assert str(path_length(model, 6, width=4).exactness) == "exact"
        return
    with pytest.raises(Misunderstood) as said:
        path_length(model, 6, width=4)
    assert str(said.value).startswith(why) and "\n" not in str(said.value)


def test_nan_is_no_evidence() -> None:
    def model(x: torch.Tensor) -> torch.Tensor:
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu()  # the first position sees nothing
        return (x @ x.mT).masked_fill(hidden, -torch.inf).softmax(-1) @ x

    result = path_length(model, 6, width=4, growth=False)
    assert str(result.exactness).startswith("upper bound: 6 pairs are connected")


def test_entries_of_the_batch_that_mix_are_noticed() -> None:
    result = path_length(lambda x: x - x.mean(0), 6, width=4)
    assert str(result.exactness).startswith("upper bound: entries of the batch influence one another")
    assert result.lengths[3][3] == 1 and result.lengths[3][2] is None


def test_nothing_is_left_behind() -> None:
    model = nn.TransformerEncoderLayer(D, 2, 16).train()
    state = torch.get_rng_state()
    path_length(model, 4)
    assert model.training and model.self_attn.training
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ((3, 3, 3, 3, 3, 3), "O(1)"),
        ((1, 1, 2, 4, 8, 16), "O(n)"),
        ((2, 4, 4, 6, 8, 8), "O(log n)"),
        ((4, 8, 16, 32, 40, 40), "unclassified"),  # a window of 20: it may yet stay, or not
        ((1, 4, 16, 64, 256, 1024), "O(n²)"),
        ((1, 2, 4, 8, 15, 31), "unclassified"),
        ((1, 2), "unclassified"),
    ],
)
def test_orders_of_growth(values: tuple[int, ...], order: str) -> None:
    assert order_of(values) == order
