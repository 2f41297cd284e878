"""The simple recurrent layer and the rounding errors that a correct program may make.

h_t = tanh(W x_t + U h_{t−1} + b)                                                    (Elman 1990)

Shapes: x [B,T,D], h0 [B,H], W [H,D], U [H,H], b [H]; hs [B,T,H], hT [B,H].

The bound follows the errors through every step: what a step adds, and what |∂h_t/∂h_{t−1}| makes of
the error before it. It holds for states kept in the input's format or in a wider one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seqlaws.reference.rounding import Array, Format
from seqlaws.reference.running import (
    Computed,
    affine,
    back,
    given,
    kept,
    ones,
    over_tokens,
    product,
    projection,
    stacked,
    summed,
    tanh,
    tanh_slope,
)  # fmt: skip


class Weights(Protocol):
    """One linear map of the input, one of the state, and an offset."""

    W: Array
    U: Array
    b: Array


def rnn(x: Array, h0: Array, w: Weights) -> tuple[Array, Array]:
    """All states [B,T,H], and the last one [B,H]."""
    h, states = h0, np.zeros((x.shape[0], x.shape[1], h0.shape[1]), dtype=h0.dtype)
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ w.W.T + h @ w.U.T + w.b)
        states[:, t] = h
    return states, h


@dataclass(frozen=True)
class Run:
    """One run with everything it computes on the way: ``states`` are those before each step, and the last."""

    x: Computed
    w: Weights
    states: list[Computed]

    @property
    def pieces(self) -> list[Computed]:
        """All states, and the last one."""
        return [stacked(self.states[1:], self.states[0]), self.states[-1]]


def evaluate(x: Array, h0: Array, w: Weights, format: Format) -> Run:
    """The run, each number with the error allowed to it."""
    tokens = given(x, format)
    inputs, states = projection(tokens, w.W), [given(h0, format)]
    for t in range(x.shape[1]):
        states.append(kept(tanh(affine((inputs[:, t], projection(states[-1], w.U)), w.b, format))))
    return Run(tokens, w, states)


def gradients(run: Run, d_hs: Array, d_hT: Array) -> dict[str, Computed]:
    """The gradients of ⟨hs, d_hs⟩ + ⟨hT, d_hT⟩, by backpropagation through time."""
    format, w = run.x.format, run.w
    carry = given(d_hT, format)
    deltas: list[Computed] = []
    for t in reversed(range(d_hs.shape[1])):
        delta = product(summed(given(d_hs[:, t], format), carry, further=1), tanh_slope(run.states[t + 1]))
        carry = back(delta, w.U)
        deltas.insert(0, delta)
    before = run.states[0]
    d_a = stacked(deltas, before)
    return {
        "x": back(d_a, w.W),
        "h0": carry,
        "W": over_tokens(d_a, run.x),
        "U": over_tokens(d_a, stacked(run.states[:-1], before)),
        "b": over_tokens(d_a, ones(d_a))[:, 0],
    }
