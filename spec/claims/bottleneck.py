"""How many directions of the past get through a state of fixed size, and what attention adds to it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Series, streaming_state

Sequences = Callable[[Tensor], Tensor]
"""From [B, T, D] to [B, S, D']."""


def singular_values(f: Sequences, x: Tensor) -> list[float]:
    """The singular values of the Jacobian of f at x [T, D], all outputs by all inputs, largest first."""
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

    Rule: the state is counted after 1, 10 and 1,000 steps. The rank of what 16 inputs do to all later
    outputs, in float64, is at most the number of its numbers.
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


class Translator(nn.Module):
    """An encoder and a decoder of width 5; the decoder may attend to the outputs of the encoder."""

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

    Rule: the rank of the Jacobian from 20 inputs of width 3 to 20 outputs of width 3, in float64, is at most
    the number of numbers that the encoder hands over.
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

    Rule: the rank of the Jacobian from 20 inputs of width 3 is full for 20 outputs of width 3, and at most
    d_v = 5 for 60 numbers made of what one query reads, or of what 20 equal queries read.
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
