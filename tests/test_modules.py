"""A user's own module is judged by one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqlaws

NAMES = {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent", "bias_ih_l0": "bias"}


class Own(nn.Module):
    """A long short-term memory with names of its own and one offset."""

    order = (0, 1, 2, 3)

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.recurrent = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:
        h, c = state[0][0], state[1][0]
        outputs = [x.new_zeros(x.shape[0], 0, h.shape[1])]
        for t in range(x.shape[1]):
            gates = (x[:, t] @ self.kernel.T + h @ self.recurrent.T + self.bias).chunk(4, dim=1)
            i, f, g, o = (gates[place] for place in self.order)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h[:, None])
        return torch.cat(outputs, dim=1), (h[None], c[None])


class Swapped(Own):
    """The same with the order of another library."""

    order = (0, 3, 1, 2)


@pytest.mark.parametrize(
    ("build", "like"),
    [
        (nn.RNN, "torch.nn.RNN"),
        (nn.LSTM, "torch.nn.LSTM"),
        (nn.GRU, "torch.nn.GRU"),
        (nn.MultiheadAttention, "torch.nn.MultiheadAttention"),
        (nn.TransformerEncoderLayer, "torch.nn.TransformerEncoderLayer"),
    ],
)
def test_a_class_with_the_interface_of_torch(build: Any, like: str) -> None:
    mine = seqlaws.module(build, like=like)
    for law in ("*definition", "*.leaves_random_generators_alone", "*.refuses_malformed_input"):
        report = seqlaws.check(mine, dtype="float32", profile="quick", law=law)
        assert [result.status for result in report] == ["holds"] * len(report.results)


def test_naming_a_class_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    seqlaws.module(nn.GRU, like="torch.nn.GRU")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_with_names_of_its_own() -> None:
    mine = seqlaws.module(Own, like="torch.nn.LSTM", names=NAMES)
    assert mine.name.endswith(".Own")
    report = seqlaws.check(mine, dtype="float32", profile="quick")
    assert report.broken == []
    assert sum(result.status == "holds" for result in report) > 30


def test_a_class_with_another_order_of_gates() -> None:
    report = seqlaws.check(seqlaws.module(Swapped, like="torch.nn.LSTM", names=NAMES), dtype="float32", profile="quick")
    assert report.broken


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"like": "torch.nn.Linear"}, r"unknown interface 'torch.nn.Linear'; there are: torch.nn.RNN, .*"),
        ({"like": "torch.nn.LSTM"}, r".*Own has no parameter 'bias_ih_l0'; names=\{…\} maps .* to its own names"),
        (
            {"like": "torch.nn.LSTM", "names": {"bias": "bias"}},
            r".*: torch.nn.LSTM has no parameter 'bias'; it has: .*",
        ),
        (
            {"like": "torch.nn.LSTM", "names": {**NAMES, "bias_ih_l0": "bias_ih"}},
            r".*Own has no parameter 'bias_ih'; .*",
        ),
    ],
)
def test_what_does_not_match_is_named_in_one_line(how: Any, line: str) -> None:
    with pytest.raises(seqlaws.Misunderstood, match=f"^{line}$"):
        seqlaws.module(Own, **how)
