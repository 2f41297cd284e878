"""Sequential depth: known values in both models of cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqlaws.instruments import sequential_depth

from .models import D, DoublingScan


@pytest.mark.parametrize(
    ("model", "unit", "unit_order", "fan_in_2_order"),
    [
        (nn.RNN(D, D), 97, "O(n)", "O(n)"),
        (nn.LSTM(D, D, batch_first=True), 225, "O(n)", "O(n)"),
        (nn.GRU(D, D), 289, "O(n)", "O(n)"),
        (nn.MultiheadAttention(D, 2), 7, "O(1)", "O(log n)"),
        (nn.Conv1d(D, D, 3, padding=1), 1, "O(1)", "O(1)"),
        (DoublingScan(), 5, "O(log n)", "O(log n)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_known_depths(model: nn.Module, unit: int, unit_order: str, fan_in_2_order: str) -> None:
    result = sequential_depth(model, 32, width=D)
    assert (result.unit, result.unit_growth.order) == (unit, unit_order)
    assert result.fan_in_2_growth.order == fan_in_2_order
    assert str(result.exactness) == "exact"


def test_depth_is_that_of_the_data_not_of_the_program() -> None:
    def loop(x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(x[:, t]) for t in range(x.shape[1])], 1)

    assert sequential_depth(loop, 16, width=D).unit == 1


def test_a_chain_counts_its_longest_branch() -> None:
    assert sequential_depth(lambda x: x + x.tanh().sin().cos(), 4, width=D).unit == 4
    assert sequential_depth(lambda x: x.sum(2, keepdim=True) + x, 4, width=D).fan_in_2 == 3 + 1


def test_growth_ends_at_the_length() -> None:
    result = sequential_depth(nn.RNN(D, D), 12)
    assert result.unit == 3 * 12 + 1 and result.unit_growth.lengths == (2, 4, 8)


def test_what_a_place_is_filled_with_counts() -> None:
    def filled(x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_fill(1, torch.tensor([0]), x.sum().tanh().tanh().tanh())

    assert sequential_depth(filled, 8, width=D).unit > 3
