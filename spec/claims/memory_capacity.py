"""How much a state of fixed size holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Series


def came_back(tokens: list[int], number: Callable[[Any], Any]) -> int:
    """How many of the newest bits come back from a unit h ← (h + x)/2 of numbers of this kind."""
    h = number(0)
    for token in tokens:
        h = (h + number(token)) / number(2)
    for count, token in enumerate(reversed(tokens)):
        found = int(2 * h >= 1)
        if found != token:
            return count
        h = 2 * h - number(found)
    return len(tokens)


def longest(number: Callable[[Any], Any]) -> int:
    """The longest T at which (0, 0, …, 0, 1) and (1, 0, …, 0, 1) still end in two numbers."""
    unit: list[Any] = [number(0), number(1) / number(2)]  # after the oldest token
    length = 1
    while (unit[0] + number(1)) / number(2) != (unit[1] + number(1)) / number(2):
        unit = [each / number(2) for each in unit]
        length += 1
    return length


def states(cell: nn.RNNCellBase, sequences: Tensor) -> int:
    """How many states sequences [N, T] end in, if inputs count and each number of the state keeps 3 bits."""
    cell.weight_ih.data.normal_()
    h = torch.zeros(len(sequences), cell.hidden_size)
    with torch.no_grad():
        for x in sequences.T:
            h = _three_bits(cell(x[:, None], h))
    return len({tuple(each) for each in h.tolist()})


def _three_bits(h: Tensor) -> Tensor:
    """The middle of one of 8 equal parts of [−1, 1]."""
    return ((h + 1) * 4).floor().clamp(0, 7) / 4 - 7 / 8


@claim(
    "B2",
    HoldsIf("each number of the state has finitely many bits"),
    articles="S0 S1 S2 S3",
    source="Siegelmann & Sontag 1995; Jaeger 2001",
)
def compressing_a_long_sequence_loses_detail(see: Evidence) -> None:
    """Compressing a long sequence into the state inevitably loses detail.

    d numbers of b bits: two of V^T sequences share a state as soon as T > b·d/log₂V
    one exact number: h ← (h + x)/V keeps every sequence

    Rule: all binary sequences are run through networks with 2 numbers of 3 bits, and the states are counted.
    A single unit returns all tokens, newest first: how long may the sequence be?
    """
    for length in (7, 10):
        every = torch.tensor(list(product([-1.0, 1.0], repeat=length)))
        for cell in (nn.RNNCell(1, 2), nn.GRUCell(1, 2)):
            lost = 2**length - states(cell, every)
            name = f"{type(cell).__name__}, 2 × 3 bits, T = {length}: sequences without a state of their own"
            see.supports(name, lost, at_least=2**length - 2**6)
    capacity = 512 * 32
    fits = next(n for n in range(1, capacity) if 50257 ** (n + 1) > 2**capacity)
    see.supports("512 numbers of float32, V = 50,257: longest T", fits, equals=int(capacity / math.log2(50257)))
    for kind in (np.float16, np.float32, np.float64):
        bits = np.finfo(kind).nmant + 1
        see.supports(f"one {kind.__name__} unit, V = 2: longest T with two states", longest(kind), equals=bits)
    tokens = torch.randint(2, (500,)).tolist()
    see.refutes("one exact unit, V = 2: tokens that come back of 500", came_back(tokens, Fraction), equals=500)
    lengths = list(range(1, 101))
    kinds: dict[str, Callable[[Any], Any]] = {
        "exact": Fraction,
        "float64": np.float64,
        "float32": np.float32,
        "float16": np.float16,
    }
    see.picture(
        Figure(
            "Bits that come back from one unit",
            "length T of the sequence, in bits",
            "newest bits that come back",
            tuple(
                Series(name, lengths, [came_back(tokens[:n], kind) for n in lengths]) for name, kind in kinds.items()
            ),
        )
    )


PERIOD = 1024


def remembered(run: Callable[[Tensor], Tensor], lags: int) -> list[float]:
    """The shares r²_k, k = 0 … lags − 1, of the input k steps ago that linear read-outs of the state explain.

    ``run`` gives the states [T, d] for an input [T]. The input has a period and a flat spectrum, so that its
    shifts within a period are orthogonal: no chance agreement, and Bessel's inequality bounds the sum by d.
    """
    phases = torch.rand(PERIOD // 2 + 1, dtype=torch.float64) * 2 * math.pi
    phases[[0, -1]] = 0.0
    wave = torch.fft.irfft(torch.polar(torch.ones_like(phases), phases), n=PERIOD) * math.sqrt(PERIOD)
    with torch.no_grad():
        basis = torch.linalg.qr(run(wave.repeat(2))[PERIOD:])[0]
    shifts = torch.stack([wave.roll(lag) for lag in range(lags)], 1)
    return ((basis.T @ shifts).square().sum(0) / PERIOD).tolist()


def _linear(size: int) -> Callable[[Tensor], Tensor]:
    """h ← W·h + w·x with |eigenvalues| up to 0.9."""
    matrix = torch.randn(size, size, dtype=torch.float64)
    matrix *= 0.9 / torch.linalg.eigvals(matrix).abs().max()
    given = torch.randn(size, dtype=torch.float64)

    def run(wave: Tensor) -> Tensor:
        h, found = torch.zeros(size, dtype=torch.float64), []
        for x in wave:
            h = matrix @ h + given * x
            found.append(h)
        return torch.stack(found)

    return run


def _cell(cell: nn.RNNCellBase) -> Callable[[Tensor], Tensor]:
    """Everything that a cell keeps from step to step."""

    def run(wave: Tensor) -> Tensor:
        state, found = None, []
        for x in wave.view(-1, 1, 1):
            state = cell(x, state)
            found.append(torch.cat(state, 1) if isinstance(state, tuple) else state)
        return torch.cat(found)

    return run


@claim("B4", HOLDS, articles="S1", source="Jaeger 2001")
def the_capacity_of_the_state_is_finite(see: Evidence) -> None:
    """The hidden state has a finite capacity, whatever the architecture.

    at most 2^(b·d) states of d numbers of b bits
    linear memory capacity: Σ_k r²_k ≤ d, with r²_k the share of the input k steps ago that the state explains

    Rule: the states that 4,096 random sequences lead to are counted. For the second, Bessel's inequality
    holds exactly on an input whose shifts are orthogonal: the sum over 60 lags is at most the size of the
    state.
    """
    many = 3 * torch.randn(4096, 50)
    for cell in (nn.RNNCell(1, 2), nn.GRUCell(1, 2)):
        see.supports(f"{type(cell).__name__}, 2 × 3 bits: states", states(cell, many), at_most=2**6)
    size, lags = 20, list(range(60))
    runs = {
        "linear": (_linear(size), size),
        "tanh RNN": (_cell(nn.RNNCell(1, size, dtype=torch.float64)), size),
        "GRU": (_cell(nn.GRUCell(1, size, dtype=torch.float64)), size),
        "LSTM": (_cell(nn.LSTMCell(1, size, dtype=torch.float64)), 2 * size),
    }
    shares = {name: remembered(run, len(lags)) for name, (run, _) in runs.items()}
    for name, (_, numbers) in runs.items():
        see.supports(f"{name}, {numbers} numbers: memory capacity", math.fsum(shares[name]), at_most=numbers)
    named = {f"{name}, area {math.fsum(each):.1f}": each for name, each in shares.items()}
    see.picture(
        Figure(
            "How much of the input k steps ago the state explains",
            "lag k",
            "r²",
            tuple(Series(name, lags, each) for name, each in named.items()),
        )
    )
