"""The gated recurrent unit, in both conventions, and the rounding errors that a correct program may make.

r = σ(W_r x + U_r h + b_r),  z = σ(W_z x + U_z h + b_z),  h′ = (1 − z) ⊙ n + z ⊙ h
reset before the product:  n = tanh(W_n x + U_n (r ⊙ h) + b_n)                        (Cho et al. 2014)
reset after it:            n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))

Shapes: x [B,T,D], h0 [B,H], every W [H,D], U [H,H], b and c_n [H]; hs [B,T,H], hT [B,H].
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
    blended,
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


class Weights(Protocol):
    """For both gates and the candidate one linear map of the input, one of the state, and an offset.

    ``c_n`` is the offset of the state's map in the candidate; only a reset after the product needs it.
    """

    W_r: Array
    W_z: Array
    W_n: Array
    U_r: Array
    U_z: Array
    U_n: Array
    b_r: Array
    b_z: Array
    b_n: Array
    c_n: Array


def gru(x: Array, h0: Array, w: Weights, *, reset: str = "before") -> tuple[Array, Array]:
    """All states [B,T,H], and the last one [B,H]."""
    h, states = h0, np.zeros((x.shape[0], x.shape[1], h0.shape[1]), dtype=h0.dtype)
    for t in range(x.shape[1]):
        r = logistic(x[:, t] @ w.W_r.T + h @ w.U_r.T + w.b_r)
        z = logistic(x[:, t] @ w.W_z.T + h @ w.U_z.T + w.b_z)
        heard = (r * h) @ w.U_n.T if reset == "before" else r * (h @ w.U_n.T + w.c_n)
        n = np.tanh(x[:, t] @ w.W_n.T + heard + w.b_n)
        h = (1.0 - z) * n + z * h
        states[:, t] = h
    return states, h


@dataclass(frozen=True)
class Step:
    """What one step computes on the way; ``heard`` is r ⊙ h, or U_n h + c_n."""

    r: Computed
    z: Computed
    n: Computed
    heard: Computed
    h: Computed


@dataclass(frozen=True)
class Run:
    """One run with everything it computes on the way."""

    x: Computed
    h0: Computed
    w: Weights
    reset: str
    steps: list[Step]

    @property
    def states(self) -> list[Computed]:
        """The states before each step, and the last."""
        return [self.h0, *(step.h for step in self.steps)]

    @property
    def pieces(self) -> list[Computed]:
        """All states, and the last one."""
        return [stacked(self.states[1:], self.h0), self.states[-1]]


def evaluate(x: Array, h0: Array, w: Weights, format: Format, reset: str = "before") -> Run:
    """The run, each number with the error allowed to it."""
    tokens, h = given(x, format), given(h0, format)
    run = Run(tokens, h, w, reset, [])
    for_r, for_z, for_n = (projection(tokens, matrix) for matrix in (w.W_r, w.W_z, w.W_n))
    for t in range(x.shape[1]):
        r = sigmoid(affine((for_r[:, t], projection(h, w.U_r)), w.b_r, format))
        z = sigmoid(affine((for_z[:, t], projection(h, w.U_z)), w.b_z, format))
        if reset == "before":
            heard = r * h
            n = tanh(affine((for_n[:, t], projection(heard, w.U_n)), w.b_n, format))
        else:
            heard = affine((projection(h, w.U_n),), w.c_n, format)
            n = tanh(affine((for_n[:, t],), w.b_n, format) + r * heard)
        h = kept(blended(z, h, n))
        run.steps.append(Step(r, z, n, heard, h))
    return run


def gradients(run: Run, d_hs: Array, d_hT: Array) -> dict[str, Computed]:
    """The gradients of ⟨hs, d_hs⟩ + ⟨hT, d_hT⟩, by backpropagation through time."""
    format, w, before = run.x.format, run.w, run.reset == "before"
    carry, one = given(d_hT, format), given(np.ones_like(run.h0.value), format)
    deltas: dict[str, list[Computed]] = {"r": [], "z": [], "n": [], "heard": []}
    for t in reversed(range(d_hs.shape[1])):
        s, h = run.steps[t], run.states[t]
        d_h = summed(given(d_hs[:, t], format), carry, further=4)
        d_n = product(d_h, one - s.z, tanh_slope(s.n))
        # z's gradient may be a difference of two terms; z and 1 − z may be a softmax of two, with that of its gradient
        d_z = product(d_h, h - s.n, sigmoid_slope(s.z)).widened(d_h, h.size + s.n.size)
        if before:
            d_heard = back(d_n, w.U_n)
            d_r, straight = product(d_heard, h, sigmoid_slope(s.r)), d_heard * s.r
        else:
            d_heard = d_n * s.r
            d_r, straight = product(d_n, s.heard, sigmoid_slope(s.r)), back(d_heard, w.U_n)
        # z g may also be g − (1 − z) g, both rounded, and each may enter the sum by itself
        direct = (d_h * s.z).widened(d_h * (one - s.z), 4)
        carry = summed(direct, straight, back(d_r, w.U_r, parts=3), back(d_z, w.U_z, parts=3))
        for name, delta in (("r", d_r), ("z", d_z), ("n", d_n), ("heard", d_heard)):
            deltas[name].insert(0, delta)
    d = {name: stacked(parts, run.h0) for name, parts in deltas.items()}
    states = stacked(run.states[:-1], run.h0)
    found = {"x": summed(*(back(d[gate], getattr(w, f"W_{gate}"), parts=3) for gate in "rzn"), further=1), "h0": carry}
    for gate in "rzn":
        found[f"W_{gate}"] = over_tokens(d[gate], run.x)
        found[f"b_{gate}"] = over_tokens(d[gate], ones(d[gate]))[:, 0]
    found |= {f"U_{gate}": over_tokens(d[gate], states) for gate in "rz"}
    if before:
        found["U_n"] = over_tokens(d["n"], stacked([step.heard for step in run.steps], run.h0))
        found["c_n"] = given(np.zeros_like(w.b_n), format)
    else:
        found["U_n"] = over_tokens(d["heard"], states)
        found["c_n"] = over_tokens(d["heard"], ones(d["heard"]))[:, 0]
    return found
