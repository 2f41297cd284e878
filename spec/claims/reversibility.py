"""Whether earlier states can be computed back from later ones."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import torch

from seqlaws.claim import Evidence, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Series
from seqlaws.reference.rounding import gamma
from seqlaws.spec.claims.retention import BITS, latch, noisy_words

W = ((Decimal("0.8"), Decimal("-0.5")), (Decimal("0.4"), Decimal("0.7")))
ADJUGATE, DETERMINANT = ((W[1][1], -W[0][1]), (-W[1][0], W[0][0])), Decimal("0.76")
Vector = tuple[Decimal, Decimal]


def _times(matrix: tuple[tuple[Decimal, ...], ...], vector: Vector) -> Vector:
    (a, b), (c, d) = matrix
    return a * vector[0] + b * vector[1], c * vector[0] + d * vector[1]


def _tanh(a: Decimal) -> Decimal:
    return 1 - 2 / ((2 * a).exp() + 1)


def _artanh(h: Decimal) -> Decimal:
    return ((1 + h) / (1 - h)).ln() / 2


def run_forward(inputs: list[Vector]) -> list[Vector]:
    """The states h_0 … h_T of h ← tanh(W·h + x) with two units, in the decimal digits of the context."""
    states = [(Decimal(0), Decimal(0))]
    for x in inputs:
        wh = _times(W, states[-1])
        states.append((_tanh(wh[0] + x[0]), _tanh(wh[1] + x[1])))
    return states


def run_back(last: Vector, inputs: list[Vector]) -> list[Vector]:
    """The states h_T … h_0 from the last state and the inputs alone."""
    states = [last]
    for x in reversed(inputs):
        a = states[-1]
        if max(map(abs, a)) >= 1:  # no state of a tanh: every digit is lost
            break
        wh = _times(ADJUGATE, (_artanh(a[0]) - x[0], _artanh(a[1]) - x[1]))
        states.append((wh[0] / DETERMINANT, wh[1] / DETERMINANT))
    return states


def undone(digits: int, inputs: list[Vector]) -> list[float]:
    """How far the states are off that are computed back from the last one, by the number of steps undone."""
    with localcontext() as context:
        context.prec = digits
        states = run_forward(inputs)
        back = run_back(states[-1], inputs)
        return [
            float(max(abs(a - b) for a, b in zip(one, other, strict=True)))
            for one, other in zip(reversed(states), back, strict=False)
        ]


def digits_lost(inputs: list[Vector]) -> float:
    """Σ_t log₁₀ 1/σ_min(J_t): no error grows by more on the way back."""
    lost = 0.0
    w = torch.tensor([[float(each) for each in row] for row in W], dtype=torch.float64)
    for h in run_forward(inputs)[1:]:
        slope = 1 - torch.tensor([float(each) for each in h], dtype=torch.float64) ** 2
        lost -= math.log10(float(torch.linalg.svdvals(slope[:, None] * w)[-1]))
    return lost


@claim(
    "B3",
    Refuted("an invertible update loses nothing: with digits enough, or bitwise, every earlier state comes back"),
    articles="S0 S1 S2",
    source="MacKay et al. 2018",
)
def a_little_is_lost_at_every_step(see: Evidence) -> None:
    """At every step of a recurrent network a little of the earlier information is lost.

    I(x_1; h_(t+1)) ≤ I(x_1; h_t) given the later inputs: never gained; equal where h_t ↦ h_(t+1) is injective
    h_t = W⁻¹(artanh h_(t+1) − x_(t+1)), and an error grows by at most 1/σ_min(J_t)

    Rule: from the last state and the inputs all earlier states are computed back. With ten digits more than Σ
    log₁₀ 1/σ_min(J_t) the first, h_1, is right to 10⁻⁶; with 16 it is not. An orthogonal network is reversed
    within the rounding error, and a cell with f = 1, i = 0 differs in no bit.
    """
    draw = torch.randint(-8, 9, (200, 2)).tolist()
    inputs = [(Decimal(a) / 8, Decimal(b) / 8) for a, b in draw]
    for length in (10, 50, 200):
        digits = math.ceil(digits_lost(inputs[:length])) + 10
        off = undone(digits, inputs[:length])[length - 1]
        see.refutes(f"tanh RNN, T = {length}, {digits} digits: error of h_1", off, below=1e-6)
    few = undone(16, inputs)
    see.supports("tanh RNN, T = 200, 16 digits: largest error of a state", max(few), above=1e-6)
    error, allowed = reversed_orthogonal(16, 1000)
    see.refutes("orthogonal RNN, T = 1,000, float64: error of h_0", error, at_most=allowed)
    cell = torch.randn(1, 1, BITS)
    kept = latch()(noisy_words(1000)[:, 2:], (torch.zeros(1, 1, BITS), cell))[1][1]
    see.refutes("LSTM with f = 1, i = 0, T = 1,000: numbers that differ", int((kept != cell).sum()), equals=0)
    curves = {"16 digits": few, **{f"{digits} digits": undone(digits, inputs) for digits in (50, 100, 200)}}
    see.picture(
        Figure(
            "How far a tanh RNN of two units is off when it is run backwards",
            "steps undone",
            "error of the state",
            tuple(Series(name, list(range(len(each))), each) for name, each in curves.items()),
            y_log=True,
        )
    )


def reversed_orthogonal(size: int, length: int) -> tuple[float, float]:
    """‖h_0 − ĥ_0‖ after ``length`` steps h ← Q·h + x and back by Qᵀ, and the rounding error allowed to it."""
    q = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]
    x = torch.randn(length, size, dtype=torch.float64)
    h = start = torch.randn(size, dtype=torch.float64)
    largest = 0.0
    for each in x:
        largest = max(largest, float(h.norm() + each.norm()))
        h = q @ h + each
    for each in x.flip(0):
        h = q.T @ (h - each)
    u = FORMATS["float64"].unit
    rounding = gamma(size + 4, u) * math.sqrt(size)  # ‖|Q|‖ is at most the root of its size
    defect = float((q.T @ q - torch.eye(size, dtype=torch.float64)).norm()) + gamma(size, u) * size
    step = 2 * rounding + defect
    return float((h - start).norm()), length * step * largest * (1 + step) ** (2 * length)
