"""Long short-term memory and the rounding errors that a correct program may make.

i = σ(W_i x + U_i h + b_i),  f = σ(W_f x + U_f h + b_f),  o = σ(W_o x + U_o h + b_o)
g = tanh(W_g x + U_g h + b_g),   c′ = f ⊙ c + i ⊙ g,   h′ = o ⊙ tanh(c′)
                                             (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000)

Shapes: x [B,T,D], h0 and c0 [B,H], every W [H,D], U [H,H], b [H]; hs [B,T,H], hT and cT [B,H].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from seqlaws.reference.rounding import Array, Format
from seqlaws.reference.running import (
    Computed,
    affine,
    back,
    beside,
    given,
    kept,
    logistic,
    ones,
    over_tokens,
    product,
    projection,
    sigmoid,
    sigmoid_slope,
    stacked,
    summed,
    tanh,
    tanh_slope,
)

GATES = "ifgo"


class Weights(Protocol):
    """For every gate one linear map of the input, one of the state, and an offset."""

    W_i: Array
    W_f: Array
    W_g: Array
    W_o: Array
    U_i: Array
    U_f: Array
    U_g: Array
    U_o: Array
    b_i: Array
    b_f: Array
    b_g: Array
    b_o: Array


def lstm(x: Array, state: tuple[Array, Array], w: Weights) -> tuple[Array, tuple[Array, Array]]:
    """All hidden states [B,T,H], and the last hidden state and cell [B,H]."""
    h, c = state
    states = np.zeros((x.shape[0], x.shape[1], h.shape[1]), dtype=h.dtype)
    for t in range(x.shape[1]):
        i = logistic(x[:, t] @ w.W_i.T + h @ w.U_i.T + w.b_i)
        f = logistic(x[:, t] @ w.W_f.T + h @ w.U_f.T + w.b_f)
        g = np.tanh(x[:, t] @ w.W_g.T + h @ w.U_g.T + w.b_g)
        o = logistic(x[:, t] @ w.W_o.T + h @ w.U_o.T + w.b_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        states[:, t] = h
    return states, (h, c)


@dataclass(frozen=True)
class Step:
    """What one step computes on the way."""

    i: Computed
    f: Computed
    g: Computed
    o: Computed
    c: Computed
    squashed: Computed
    h: Computed


@dataclass(frozen=True)
class Run:
    """One run with everything it computes on the way."""

    x: Computed
    h0: Computed
    c0: Computed
    w: Weights
    steps: list[Step]

    @property
    def hidden(self) -> list[Computed]:
        """The hidden states before each step, and the last."""
        return [self.h0, *(step.h for step in self.steps)]

    @property
    def cells(self) -> list[Computed]:
        """The cells before each step, and the last."""
        return [self.c0, *(step.c for step in self.steps)]

    @property
    def pieces(self) -> list[Computed]:
        """All hidden states, the last one, and the last cell."""
        return [stacked(self.hidden[1:], self.h0), self.hidden[-1], self.cells[-1]]


def side_by_side(w: Any, name: str) -> Array:
    """The weights of all gates, one below another: [4H, …]."""
    return np.concatenate([getattr(w, f"{name}_{gate}") for gate in GATES])


def evaluate(x: Array, h0: Array, c0: Array, w: Weights, format: Format) -> Run:
    """The run, each number with the error allowed to it."""
    tokens, h, c = given(x, format), given(h0, format), given(c0, format)
    run = Run(tokens, h, c, w, [])
    inputs, recurrent, offset = projection(tokens, side_by_side(w, "W")), side_by_side(w, "U"), side_by_side(w, "b")
    size = h0.shape[1]
    for t in range(x.shape[1]):
        a = affine((inputs[:, t], projection(h, recurrent)), offset, format)
        i, f, g, o = (a[:, gate * size : (gate + 1) * size] for gate in range(4))
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = kept(f * c + i * g)
        squashed = tanh(c)
        h = kept(o * squashed)
        run.steps.append(Step(i, f, g, o, c, squashed, h))
    return run


def gradients(run: Run, d_hs: Array, d_hT: Array, d_cT: Array) -> dict[str, Computed]:
    """The gradients of ⟨hs, d_hs⟩ + ⟨hT, d_hT⟩ + ⟨cT, d_cT⟩, by backpropagation through time."""
    format, w = run.x.format, run.w
    carry_h, carry_c, recurrent = given(d_hT, format), given(d_cT, format), side_by_side(w, "U")
    deltas: list[Computed] = []
    for t in reversed(range(d_hs.shape[1])):
        s, before = run.steps[t], run.cells[t]
        d_h = summed(given(d_hs[:, t], format), carry_h, further=4)
        d_c = carry_c + product(d_h, s.o, tanh_slope(s.squashed))
        delta = beside(
            product(d_c, s.g, sigmoid_slope(s.i)),
            product(d_c, before, sigmoid_slope(s.f)),
            product(d_c, s.i, tanh_slope(s.g)),
            product(d_h, s.squashed, sigmoid_slope(s.o)),
        )
        carry_h, carry_c = back(delta, recurrent, parts=4), d_c * s.f
        deltas.insert(0, delta)
    d_a = stacked(deltas, beside(*[run.h0] * 4))
    d_W, d_U = over_tokens(d_a, run.x), over_tokens(d_a, stacked(run.hidden[:-1], run.h0))
    d_b, size = over_tokens(d_a, ones(d_a))[:, 0], run.h0.value.shape[1]
    found = {"x": back(d_a, side_by_side(w, "W"), parts=4), "h0": carry_h, "c0": carry_c}
    for place, gate in enumerate(GATES):
        rows = slice(place * size, (place + 1) * size)
        found |= {f"W_{gate}": d_W[rows], f"U_{gate}": d_U[rows], f"b_{gate}": d_b[rows]}
    return found
