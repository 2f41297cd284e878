"""A second way to the same numbers: the equations of the layers, run on distances instead of values.

All channels of a position have one distance, so each step of a layer is a few lines of arithmetic:
an operator is one more than the nearest of its operands (path) or the farthest (depth).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from torch import nn

from seqlaws.instruments import path_length, sequential_depth

D, T = 8, 12
Choose = Callable[..., float]
Layer = Callable[[list[float], Choose, float], list[float]]


def rnn(x: list[float], choose: Choose, nothing: float) -> list[float]:
    h, states = nothing, []
    for given in x:
        projected = given + 2  # a product and a bias
        recurrent = h + 1  # one operator for both
        h = choose(projected, recurrent) + 1 + 1  # a sum, tanh
        states.append(h)
    return states


def lstm(x: list[float], choose: Choose, nothing: float) -> list[float]:
    h = c = nothing
    states = []
    for given in x:
        gate = choose(given + 2, h + 1) + 1 + 1  # a sum, a sigmoid: the same for all four
        c = choose(choose(gate, c) + 1, gate + 1) + 1  # f ⊙ c + i ⊙ g
        h = choose(gate, c + 1) + 1  # o ⊙ tanh c
        states.append(h)
    return states


def gru(x: list[float], choose: Choose, nothing: float) -> list[float]:
    h, states = nothing, []
    for given in x:
        projected, recurrent = given + 2, h + 1
        gate = choose(projected, recurrent) + 1 + 1
        new = choose(choose(gate, recurrent) + 1, projected) + 1 + 1  # tanh(… + r ⊙ …)
        h = choose(choose(choose(h, new) + 1, gate) + 1, new) + 1  # (h − n) ⊙ z + n
        states.append(h)
    return states


def attention(x: list[float], choose: Choose, nothing: float) -> list[float]:
    projected = [given + 2 for given in x]
    states = []
    for t in range(len(x)):
        scores = [choose(projected[t] + 1, key) + 1 for key in projected]  # the query is scaled first
        weight = choose(*scores) + 1
        states.append(choose(weight, *projected) + 1 + 1)
    return states


LAYERS = [
    pytest.param(nn.RNN(D, D), rnn, id="RNN"),
    pytest.param(nn.LSTM(D, D), lstm, id="LSTM"),
    pytest.param(nn.GRU(D, D), gru, id="GRU"),
    pytest.param(nn.MultiheadAttention(D, 2), attention, id="MultiheadAttention"),
]


@pytest.mark.parametrize(("module", "layer"), LAYERS)
def test_every_pair_has_the_path_length_of_the_equations(module: nn.Module, layer: Layer) -> None:
    result = path_length(module, T, growth=False)
    for source in range(T):
        marked = [0 if t == source else math.inf for t in range(T)]
        expected = [int(each) if each < math.inf else None for each in layer(marked, min, math.inf)]
        assert [row[source] for row in result.lengths] == expected


@pytest.mark.parametrize(("module", "layer"), LAYERS)
def test_the_depth_is_that_of_the_equations(module: nn.Module, layer: Layer) -> None:
    assert sequential_depth(module, T).unit == max(layer([0.0] * T, max, -math.inf))
