"""What the gates of an LSTM and of a GRU do."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, NotExecutable, claim
from seqlaws.formats import FORMATS, Array
from seqlaws.instruments import Figure, Series, gradient_profile
from seqlaws.reference import lstm as reference
from seqlaws.reference.gru import gru
from seqlaws.reference.rounding import gamma
from seqlaws.reference.running import logistic
from seqlaws.spec.claims.gradient_rates import LOST
from seqlaws.spec.claims.rounding import SINGLE, exact, share

OPEN, SHUT = 200.0, -200.0
"""What a gate must hear to be 1 and 0 in float32, whatever way its exponential is computed."""


def published(x: Array, h: Array, c: Array, w: dict[str, Array]) -> tuple[Array, Array]:
    """One step by the six equations of S1, each matrix beside [h_{t−1}, x_t]: h_t and C_t."""
    both = np.concatenate((h, x), -1)
    forget = logistic(both @ w["W_f"].T + w["b_f"])
    store = logistic(both @ w["W_i"].T + w["b_i"])
    update = np.tanh(both @ w["W_C"].T + w["b_C"])
    cell = forget * c + store * update
    emit = logistic(both @ w["W_o"].T + w["b_o"])
    return emit * np.tanh(cell), cell


@claim("D1", HOLDS, articles="S1", source="Hochreiter & Schmidhuber 1997; Gers et al. 2000")
def six_equations_define_an_lstm(see: Evidence) -> None:
    """Six equations define an LSTM: three gates and a candidate from the last state and the input, cell,
    state.

    f, i, o = σ(W · [h_{t−1}, x_t] + b), C̃ = tanh(W_C · [h_{t−1}, x_t] + b_C), C_t = f ⊙ C_{t−1} + i ⊙ C̃,
    h_t = o ⊙ tanh(C_t); in torch W = [W_hh W_ih], b = b_ih + b_hh, and the rows are those of i, f, C̃, o

    Rule: over 6 steps nn.LSTM and nn.LSTMCell in float32 stay within the derived bound of the equations,
    which are computed in float64. The shares given are of that bound.
    """
    inputs, width, steps, batch = 5, 7, 6, 3
    layer, cell = nn.LSTM(inputs, width, batch_first=True), nn.LSTMCell(inputs, width)
    with torch.no_grad():
        for bias in layer.all_weights[0][2:]:
            bias.abs_()  # of one sign, their sum is as large as its parts, and the reference may take it as one offset
        for target, source in zip(cell.parameters(), layer.parameters(), strict=True):
            target.copy_(source)
    given, recurrent, *biases = layer.all_weights[0]
    matrices, parts = torch.cat((recurrent, given), 1), {}
    for row, gate in enumerate(("i", "f", "C", "o")):
        rows = slice(row * width, (row + 1) * width)
        parts[f"W_{gate}"] = exact(matrices[rows])
        parts[f"b_{gate}"] = exact(biases[0])[rows] + exact(biases[1])[rows]
    x, h0, c0 = torch.randn(batch, steps, inputs), torch.randn(batch, width), torch.randn(batch, width)
    h, c = exact(h0), exact(c0)
    every: list[Array] = []
    for t in range(steps):
        h, c = published(exact(x)[:, t], h, c, parts)
        every.append(h)
    bounds = reference.evaluate(exact(x), exact(h0), exact(c0), named(parts, width), SINGLE).pieces

    out, (_, last) = layer(x, (h0.unsqueeze(0), c0.unsqueeze(0)))
    see.supports(
        f"nn.LSTM, {steps} steps: states, share of the bound",
        share(out, np.stack(every, 1), bounds[0].bound),
        at_most=1.0,
    )
    see.supports("nn.LSTM: last cell, share of the bound", share(last[0], c, bounds[2].bound), at_most=1.0)
    state = (h0, c0)
    for t in range(steps):
        state = cell(x[:, t], state)
    see.supports("nn.LSTMCell: last state, share of the bound", share(state[0], h, bounds[1].bound), at_most=1.0)
    see.supports("nn.LSTMCell: last cell, share of the bound", share(state[1], c, bounds[2].bound), at_most=1.0)


def named(parts: dict[str, Array], width: int) -> Any:
    """The matrices of S1 under the names that the reference has for them."""
    weights = SimpleNamespace()
    for gate in "ifgo":
        matrix = parts[f"W_{gate}" if gate != "g" else "W_C"]
        setattr(weights, f"U_{gate}", matrix[:, :width])
        setattr(weights, f"W_{gate}", matrix[:, width:])
        setattr(weights, f"b_{gate}", parts[f"b_{gate}" if gate != "g" else "b_C"])
    return weights


@claim("D2", HoldsIf("computed in real numbers; rounded ones reach 0 and 1"), articles="S1")
def three_gates_lie_between_zero_and_one(see: Evidence) -> None:
    """An LSTM has three gates, whose values lie between zero and one, without reaching either.

    0 < σ(b) < 1; in floating point with unit roundoff u, σ(b) = 1 from about b = −ln u on, and σ(−b) = 0
    where eᵇ overflows

    Rule: at ±4 every format gives values strictly between. The least b with σ(b) = 1 is found among multiples
    of 1/64, no further than 2 from −ln u, which leaves room for how the exponential is computed. At −1000 the
    gate is 0 exactly. At 20, where float32 has 1, float64 has less.
    """
    for name in ("float16", "bfloat16", "float32", "float64"):
        dtype, middle = getattr(torch, name), -math.log(FORMATS[name].unit)
        least, most = torch.sigmoid(torch.tensor([-4.0, 4.0], dtype=dtype)).tolist()
        see.supports(f"{name}: σ(−4)", least, above=0.0)
        see.supports(f"{name}: σ(4)", most, below=1.0)
        grid = torch.arange(0, 64 * 50, dtype=torch.float64) / 64
        threshold = float(grid[torch.sigmoid(grid.to(dtype)) == 1].min())
        see.refutes(
            f"{name}: σ(b) = 1 from b = {threshold:.1f} on: distance to −ln u", abs(threshold - middle), at_most=2.0
        )
        see.refutes(f"{name}: σ(−1000)", float(torch.sigmoid(torch.tensor(-1000.0, dtype=dtype))), equals=0.0)
    see.supports("float64: 1 − σ(20)", 1 - float(torch.sigmoid(torch.tensor(20.0, dtype=torch.float64))), above=0.0)


def storage() -> nn.LSTM:
    """A cell with one unit that hears a value and what to do: [value, store, discard, emit], each 0 or 1."""
    layer = nn.LSTM(4, 1, batch_first=True)
    with torch.no_grad():
        for each in layer.parameters():
            each.zero_()
        given, _, shift, _ = layer.all_weights[0]
        for row, column, weight, bias in (
            (0, 1, OPEN - SHUT, SHUT),
            (1, 2, SHUT - OPEN, OPEN),
            (3, 3, OPEN - SHUT, SHUT),
        ):
            given[row, column] = weight
            shift[row] = bias
        given[2, 0] = 1.0
    return layer


def orders(length: int, **at: list[int]) -> Tensor:
    """Random values, with orders to store, discard and emit at some steps."""
    x = torch.zeros(1, length, 4)
    x[0, :, 0] = torch.randn(length)
    for column, name in enumerate(("store", "discard", "emit"), 1):
        x[0, at.get(name, []), column] = 1.0
    return x


@claim("D3", HOLDS, articles="S1", source="Gers et al. 2000")
def gates_discard_store_and_emit(see: Evidence) -> None:
    """The forget gate decides what the cell discards, the input gate what it stores, the output gate what it
    emits.

    f = 1, i = 0: C_t = C_{t−1};  f = 0: ∂C_t/∂C_{t−1} = 0;  i = 0: ∂C_t/∂x_t = 0;  o = 0: h_t = 0

    Rule: a cell whose gates are opened and shut by its inputs keeps a value through 10,000 steps of noise
    bitwise, and the other three are zero exactly, where the opened gate gives what is not zero.
    """
    layer = storage()
    kept = torch.tensor([[[0.7]]])
    with torch.no_grad():
        _, (_, last) = layer(orders(10_000), (torch.zeros(1, 1, 1), kept))
    see.supports("f = 1, i = 0: cell after 10,000 steps of noise", float(last), equals=float(kept))
    for name, given, wanted, relation in (
        ("f = 0: ∂C_t/∂C_{t−1}", orders(1, discard=[0]), "cell", {"equals": 0.0}),
        ("f = 1: ∂C_t/∂C_{t−1}", orders(1), "cell", {"equals": 1.0}),
        ("i = 0: ∂C_t/∂(value)", orders(1), "value", {"equals": 0.0}),
        ("i = 1: ∂C_t/∂(value)", orders(1, store=[0]), "value", {"above": 0.0}),
    ):
        x, cell = given.requires_grad_(), torch.full((1, 1, 1), 0.7, requires_grad=True)
        _, (_, after) = layer(x, (torch.zeros(1, 1, 1), cell))
        by_value, by_cell = torch.autograd.grad(after.sum(), (x, cell))
        see.supports(name, float(by_cell if wanted == "cell" else by_value[0, 0, 0]), **relation)
    with torch.no_grad():
        hidden, (_, cell) = layer(orders(1, store=[0]))
        emitted, _ = layer(orders(1, store=[0], emit=[0]))
    see.supports("o = 0: size of the state", float(hidden.abs()), equals=0.0)
    see.supports("o = 0: size of the cell", float(cell.abs()), above=0.0)
    see.supports("o = 1: size of the state", float(emitted.abs()), above=0.0)

    x = orders(100, store=[10], emit=list(range(40, 60)), discard=[80])
    x[0, 10, 0] = 1.0
    state: tuple[Tensor, Tensor] | None = None
    cells, states = [], []
    with torch.no_grad():
        for t in range(100):
            out, state = layer(x[:, t : t + 1], state)
            states.append(float(out))
            cells.append(float(state[1]))
    see.picture(
        Figure(
            "Store at 10, emit from 40 to 59, discard at 80",
            "step",
            "value",
            (Series("cell", range(100), cells), Series("state", range(100), states)),
        )
    )


@claim("D11", NotExecutable("no agreed measure of interpretability"), articles="S1", source="Karpathy et al. 2015")
def gating_is_hard_to_interpret(see: Evidence) -> None:
    """The gating of an LSTM is complex and hard to interpret."""


@claim(
    "D12",
    HoldsIf("the update gates start nearly open to the past: a bias of 3, where torch starts near 0"),
    articles="S2 S3",
    source="Cho et al. 2014",
)
def a_gru_mitigates_vanishing_too(see: Evidence) -> None:
    """A GRU mitigates vanishing gradients as well, and reaches substantially further than a plain RNN.

    h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}: |h_t| ≤ max(|h_{t−1}|, 1), and z = 1 copies the state

    Rule: in the equation of Cho et al. the copy is exact, and the first law holds within γ₅. torch computes n
    + z·(h − n), whose copy moves by at most 3u per step. Of the gradient at lag 100 more than 2⁻²⁴ of that at
    lag 0 is left, the roundoff of float32, with a bias of 3; as torch starts a GRU or an RNN, less.
    """
    width = 8
    weights = SimpleNamespace(b_z=np.full(width, OPEN))
    for name in ("W_r", "W_z", "W_n", "U_r", "U_n"):
        setattr(weights, name, exact(torch.randn(width, width)))
    weights.U_z = np.zeros((width, width))
    weights.b_r, weights.b_n, weights.c_n = (exact(torch.randn(width)) for _ in range(3))
    x, h0 = exact(torch.randn(4, 1000, width)), exact(torch.rand(4, width) * 2 - 1)
    see.supports(
        "z = 1: states that differ from the first, of 1,000",
        int((gru(x, h0, weights)[0] != h0[:, None]).sum()),
        equals=0,
    )
    weights.b_z, far = np.zeros(width), 5 * h0
    every = np.concatenate((far[:, None], gru(x, far, weights)[0]), 1)
    ratio = np.abs(every[:, 1:]) / np.maximum(np.abs(every[:, :-1]), 1.0)
    rounding = gamma(5, FORMATS["float64"].unit)
    see.supports("random gates: |h_t| / max(|h_{t−1}|, 1), largest", float(ratio.max()), at_most=1 + rounding)
    layer = nn.GRU(width, width, batch_first=True)
    with torch.no_grad():
        layer.all_weights[0][2][width : 2 * width] = OPEN
        first = torch.rand(1, 1, width) * 2 - 1
        drift = float((layer(torch.randn(1, 1000, width), first)[1] - first).abs().max())
    see.supports("nn.GRU, z = 1: drift over 1,000 steps", drift, at_most=1000 * 3 * SINGLE.unit)

    for bias in (3.0, 6.0):
        see.supports(f"GRU, bias {bias:g}: share of the gradient at lag 100", left(nn.GRU(32, 32), bias), above=LOST)
    see.refutes("GRU as torch starts it: share of the gradient at lag 100", left(nn.GRU(32, 32), None), below=LOST)
    see.refutes("RNN as torch starts it: share of the gradient at lag 100", left(nn.RNN(32, 32), None), below=LOST)


def left(layer: nn.RNNBase, bias: float | None, lag: int = 100) -> float:
    """The gradient at a lag as a share of that at lag 0, with a bias of the forget or the update gate."""
    if bias is not None:
        rows = slice(layer.hidden_size, 2 * layer.hidden_size)
        with torch.no_grad():
            for each, value in zip(layer.all_weights[0][2:], (bias, 0.0), strict=True):
                each[rows] = value
    norms = gradient_profile(layer, lag + 1).norms
    return norms[lag] / norms[0]
