"""Memory: bytes that are known, and states that no stream can do without."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqlaws.instruments import Model, memory, streaming_state
from seqlaws.instruments.memory import peak_bytes, saved_bytes

from .models import Attention, CausalConvolution, Convolutions, D, LinearAttention, Windowed

LENGTHS = (64, 128, 256, 512)


def attention(x: Tensor) -> Tensor:
    heads = x.unflatten(2, (2, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads, is_causal=True).transpose(1, 2).flatten(2)


def by_definition(x: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return attention(x)


def test_flash_attention_saves_linearly_and_its_definition_quadratically() -> None:
    flash, plain = ([saved_bytes(Model.of(call, 32), n) for n in LENGTHS] for call in (attention, by_definition))
    assert all(after == 2 * before for before, after in pairwise(flash))
    assert plain[-1] > 3.5 * plain[-2]
    found = memory(by_definition, width=32, length=256).saved
    assert found is not None and found.order == "O(T²)"


def test_what_is_saved_is_counted_once_and_without_parameters() -> None:
    linear = nn.Linear(D, D)
    assert saved_bytes(Model.of(linear), 10) == 10 * D * 4  # its input
    twice = Model.of(lambda x: (x.exp() * 2) + x.exp().sin() * 0, D)
    once = Model.of(lambda x: x.exp() * 2, D)
    assert saved_bytes(once, 10) == 10 * D * 4
    assert saved_bytes(twice, 10) == 2 * 10 * D * 4


def test_measuring_changes_nothing() -> None:
    model = nn.BatchNorm1d(D).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    memory(model, length=64)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training and model.weight.grad is None


def test_the_peak_is_what_is_alive_at_once() -> None:
    def doubled(x: Tensor) -> Tensor:
        y = x + 1
        z = y * 2
        del y
        return z - 1

    numbers = 64  # bytes, for the constants
    assert 0 <= peak_bytes(Model.of(doubled, D), [64])[64] - 2 * 64 * D * 4 <= numbers


def test_a_linear_attention_that_only_says_that_it_is_linear() -> None:
    honest, quadratic = (memory(LinearAttention(materialises=each)) for each in (False, True))
    assert honest.saved is not None and honest.saved.order == "O(T)" and honest.peak_exponent < 1.1
    assert quadratic.saved is not None and quadratic.saved.order == "O(T²)" and quadratic.peak_exponent > 1.8
    assert quadratic.state.ranks == honest.state.ranks  # the same function needs the same state


@pytest.mark.parametrize(
    ("model", "ranks", "order"),
    [
        (nn.RNN(4, 4), [4, 4, 4, 4], "O(1)"),
        (nn.GRU(4, 4), [4, 4, 4, 4], "O(1)"),
        (nn.LSTM(4, 4), [8, 8, 8, 8], "O(1)"),
        (Convolutions([1], 4, 4), [8, 12, 12, 12], "unclassified"),
    ],
    ids=["RNN", "GRU", "LSTM", "Conv1d"],
)
def test_known_states(model: nn.Module, ranks: list[int], order: str) -> None:
    torch.manual_seed(0)
    found = streaming_state(model, width=4)
    assert list(found.ranks.values()) == ranks and found.growth.order == order
    assert str(found.exactness) == "exact"


def test_the_state_of_linear_attention_is_a_matrix_and_a_vector() -> None:
    def attend(x: Tensor) -> Tensor:
        q, k, v = (x @ each.to(x.dtype) for each in weights)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        sums = (k.unsqueeze(-1) * v.unsqueeze(-2)).cumsum(1)
        return (q.unsqueeze(-2) @ sums).squeeze(-2) / (q * k.cumsum(1)).sum(-1, keepdim=True)

    weights = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert list(streaming_state(attend, width=4).ranks.values()) == [8, 16, 20, 20]  # d² + d


def test_the_state_of_causal_attention_grows() -> None:
    torch.manual_seed(0)
    found = streaming_state(Attention("causal"))
    assert list(found.ranks.values()) == [2 * D, 4 * D, 8 * D, 16 * D] and found.growth.order == "O(n)"


def test_a_window_that_is_only_claimed_has_a_growing_state() -> None:
    kept, grown = (list(streaming_state(Windowed(3, leaks=leaks)).ranks.values()) for leaks in (False, True))
    assert kept[-1] == kept[-2]
    assert grown[-1] > grown[-2] > grown[-3]


def test_what_is_not_causal_does_not_stream() -> None:
    assert str(streaming_state(CausalConvolution(), width=D).exactness).startswith("unknown: it is not causal")
