"""How much a state of fixed size holds, and what attention adds to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Series, streaming_state

Sequences = Callable[[Tensor], Tensor]
"""From [B, T, D] to [B, S, D']."""


def singular_values(f: Sequences, x: Tensor) -> list[float]:
    """The singular values of the Jacobian of f at x [T, D], all outputs by all inputs, in descending order."""
    outputs = f(x[None]).numel()
    copies = x.expand(outputs, -1, -1).clone().requires_grad_()
    picked = f(copies).flatten(1).diagonal().sum()  # output i of copy i
    (jacobian,) = torch.autograd.grad(picked, copies)
    return torch.linalg.svdvals(jacobian.flatten(1)).tolist()


def rank(values: list[float]) -> int:
    """How many singular values lie above the rounding of float64, 1e-12 of the largest."""
    return sum(each > 1e-12 * values[0] for each in values)


def _spectra(values: dict[str, list[float]], title: str) -> Figure:
    series = (Series(name, list(range(1, 1 + len(each))), each) for name, each in values.items())
    return Figure(title, "index", "singular value", tuple(series), y_log=True)


def _attention(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


@claim("B1", HOLDS, articles="S0 S1 S2 S3")
def the_state_has_a_fixed_size(see: Evidence) -> None:
    """The hidden state has one fixed size, however long the sequence is.

    numbers in the state: d (RNN, GRU), 2d (LSTM), for every T
    rank ∂(y_(t+1), y_(t+2), …)/∂(x_1, …, x_t) ≤ numbers in the state

    Rule: the state is counted after 1, 10 and 1,000 steps. The rank of what 16 inputs do to all later outputs,
    in float64, is at most the number of its numbers.
    """
    layers = {"RNN": nn.RNN(8, 6), "GRU": nn.GRU(8, 6), "LSTM": nn.LSTM(8, 6)}
    for name, layer in layers.items():
        size = 12 if name == "LSTM" else 6
        see.supports(
            f"{name}, d = 6: numbers in the state", tuple(_numbers(layer, n) for n in (1, 10, 1000)), equals=(size,) * 3
        )
        see.supports(f"{name}, d = 6: rank of past on future", streaming_state(layer).ranks[16], at_most=size)
    runs: dict[str, Sequences] = {name: _later(layer) for name, layer in layers.items()}
    x = torch.randn(32, 8, dtype=torch.float64)
    spectra = {name: _past_on_future(run, x) for name, run in {**runs, "causal attention": _attention}.items()}
    see.picture(_spectra({name: each[:40] for name, each in spectra.items()}, "What 16 inputs do to all later outputs"))


def _numbers(layer: nn.RNNBase, length: int) -> int:
    state = layer(torch.randn(length, 1, 8))[1]
    return sum(each.numel() for each in (state if isinstance(state, tuple) else (state,)))


def _later(layer: nn.RNNBase) -> Sequences:
    layer = layer.double()
    return lambda x: layer(x.transpose(0, 1))[0].transpose(0, 1)


def _past_on_future(run: Sequences, x: Tensor) -> list[float]:
    def future(past: Tensor) -> Tensor:
        return run(torch.cat([past, x[16:].expand(len(past), -1, -1)], 1))[:, 16:]

    return singular_values(future, x[:16])


def came_back(tokens: list[int], number: Callable[[Any], Any]) -> int:
    """How many of the newest bits come back from a unit h ← (h + x)/2 that computes in numbers of this kind."""
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
    return len(h.unique(dim=0))


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

    Rule: the states that 4,096 random sequences lead to are counted. For the second, Bessel's inequality holds
    exactly on an input whose shifts are orthogonal: the sum over 60 lags is at most the size of the state.
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


class Translator(nn.Module):
    """An encoder and a decoder of width 5, with or without attention of the decoder to the encoder's outputs."""

    def __init__(self, kind: str, *, attends: bool) -> None:
        super().__init__()
        self.encoder: nn.RNNBase = getattr(nn, kind)(3, WIDTH, batch_first=True)
        self.decoder: nn.RNNBase = getattr(nn, kind)(3, WIDTH, batch_first=True)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(2 * WIDTH if attends else WIDTH, 3)
        self.attends = attends
        self.targets = nn.Parameter(torch.randn(1, 20, 3))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        """Twenty outputs [B, 20, 3] for a source [B, T, 3]."""
        read, state = self.encoder(x)
        decoded = self.decoder(self.targets.expand(len(x), -1, -1), state)[0]
        return self.head(torch.cat([decoded, self.look(decoded, read)], -1) if self.attends else decoded)

    def look(self, queries: Tensor, read: Tensor) -> Tensor:
        """What attention brings to the queries from the encoder's outputs."""
        return F.scaled_dot_product_attention(4 * self.query(queries), 4 * self.key(read), self.value(read))


WIDTH = 5


@claim("B5", HOLDS, articles="S0 S2 S3", source="Cho et al. 2014; Sutskever et al. 2014; Bahdanau et al. 2015")
def the_source_is_squeezed_through_one_vector(see: Evidence) -> None:
    """The encoder of a sequence-to-sequence network must squeeze the whole source through one vector.

    without attention: rank ∂(y_1, …, y_S)/∂(x_1, …, x_T) ≤ numbers in the state that is handed over

    Rule: the rank of the Jacobian from 20 inputs of width 3 to 20 outputs of width 3, in float64, is at most the
    number of numbers that the encoder hands over.
    """
    x = torch.randn(20, 3, dtype=torch.float64)
    for kind, numbers in {"RNN": WIDTH, "GRU": WIDTH, "LSTM": 2 * WIDTH}.items():
        found = rank(singular_values(Translator(kind, attends=False), x))
        see.supports(f"{kind}, {numbers} numbers handed over: rank of 60", found, at_most=numbers)
    spectra = {
        "without attention": singular_values(Translator("GRU", attends=False), x),
        "with attention": singular_values(Translator("GRU", attends=True), x),
    }
    see.picture(_spectra(spectra, "What 20 inputs do to 20 outputs of an encoder and a decoder of width 5"))


@claim(
    "B6",
    HoldsIf("many different queries read; what one query reads is again one vector"),
    articles="S0 S1 S2",
    source="Bahdanau et al. 2015",
    picture="B5",
)
def attention_removes_the_bottleneck(see: Evidence) -> None:
    """With attention, the bottleneck of a single vector between encoder and decoder is gone.

    all queries together: rank ∂(y_1, …, y_S)/∂(x_1, …, x_T) is limited by neither state nor read-out
    one query: rank ∂f(o)/∂(x_1, …, x_T) ≤ d_v for every f of its read-out o

    Rule: the rank of the Jacobian from 20 inputs of width 3 is full for 20 outputs of width 3, and at most d_v = 5
    for 60 numbers made of what one query reads, or of what 20 equal queries read.
    """
    x = torch.randn(20, 3, dtype=torch.float64)
    model, wide = Translator("GRU", attends=True), nn.Linear(WIDTH, 60, dtype=torch.float64)
    see.supports("20 queries: rank of 60", rank(singular_values(model, x)), equals=60)

    def one(x: Tensor) -> Tensor:
        return wide(model.look(torch.ones(len(x), 1, WIDTH, dtype=torch.float64), model.encoder(x)[0])).tanh()

    def equal(x: Tensor) -> Tensor:
        return model.look(torch.ones(len(x), 20, WIDTH, dtype=torch.float64), model.encoder(x)[0])

    see.refutes("60 numbers made of one read-out: rank", rank(singular_values(one, x)), at_most=WIDTH)
    see.refutes("20 equal queries: rank of 100", rank(singular_values(equal, x)), at_most=WIDTH)
