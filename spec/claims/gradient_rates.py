"""How fast gradients through time shrink or grow: Lyapunov exponents."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Series, gradient_profile
from seqlaws.instruments.lyapunov import Lyapunov, Recurrence, lyapunov, recurrence_of
from seqlaws.instruments.model import Model
from seqlaws.reference.rounding import gamma

UNIT = 2.0**-53
"""The roundoff of float64."""
LOST = 2.0**-24
"""The roundoff of float32: added to a gradient of size one, less than this changes nothing."""
WIDTH, LENGTH = 24, 400
GAINS = (0.5, 0.7, 0.9, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)


def network(gain: float, width: int = WIDTH) -> nn.RNN:
    """A tanh network without biases, its recurrent entries normal with deviation gain/√width."""
    layer = nn.RNN(width, width, bias=False, batch_first=True).double()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each, scale in zip(layer.all_weights[0], (1.0, gain), strict=True):
            each.copy_(torch.randn(width, width, generator=draw, dtype=torch.float64) * scale / math.sqrt(width))
    return layer


@functools.cache
def exponents(gain: float, *, driven: bool = True) -> Lyapunov:
    """The Lyapunov exponents of a network that hears noise, or is left alone from a random state on."""
    layer = network(gain)
    model = Model.of(layer)
    recurrence = recurrence_of(layer, model)
    assert recurrence is not None
    if not driven:
        start = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        weights = layer.all_weights[0][1].detach()

        def step(away: Tensor, x: Tensor) -> Tensor:  # the state is counted from its start, since all start at zero
            return torch.tanh((away + start) @ weights.T) - start + 0 * x

        recurrence = Recurrence(step, WIDTH, model)
    return lyapunov(recurrence, LENGTH)


def orthogonal_product(width: int, steps: int) -> tuple[float, float]:
    """How far the singular values of a product of orthogonal matrices are from 1, and may be by rounding."""
    product, drift = torch.eye(width, dtype=torch.float64), 0.0
    for _ in range(steps):
        factor = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64)).Q
        defect = factor.T @ factor - torch.eye(width, dtype=torch.float64)
        # ‖Q‖ is within ‖QᵀQ − I‖ of 1, which is itself computed with an error of n·γ_n; the product errs by n·γ_n.
        drift += float(torch.linalg.matrix_norm(defect)) + 2 * width * gamma(width, UNIT)
        product = factor @ product
    return float((torch.linalg.svdvals(product) - 1).abs().max()), math.expm1(drift)


@claim(
    "C5",
    HoldsIf("the largest Lyapunov exponent is negative"),
    articles="S2 S3",
    source="Vogt et al. 2022; Engelken et al. 2023",
)
def gradients_of_recurrences_decay_exponentially(see: Evidence) -> None:
    """In a recurrent network gradients decay exponentially with the distance.

    ‖J_T ⋯ J₁‖ = exp(λT + o(T)), with λ the largest Lyapunov exponent: decay iff λ < 0

    Rule: for tanh networks that hear noise the sign of λ, by QR, says how the gradient profile is classified:
    exponential, or exponential growth. A product of 2,000 orthogonal matrices, λ = 0, keeps all singular
    values at 1 within the sum of the rounding errors of its factors.
    """
    for gain in (0.5, 1.2, 1.5):
        see.supports(f"tanh, gain {gain:g}: largest exponent", exponents(gain).spectrum[0], below=0.0)
        see.supports(f"tanh, gain {gain:g}: decay", gradient_profile(network(gain), LENGTH).law, equals="exponential")
    see.refutes("tanh, gain 5: largest exponent", exponents(5.0).spectrum[0], above=0.0)
    law = gradient_profile(network(5.0), LENGTH).law
    see.refutes("tanh, gain 5: decay", law, equals="exponential growth")
    distance, error = orthogonal_product(8, 2000)
    see.refutes("2,000 orthogonal matrices: distance of singular values from 1", distance, at_most=error)
    see.picture(
        Figure(
            "Gradients shrink below zero and grow above",
            "gain of the recurrent weights",
            "largest Lyapunov exponent per step",
            tuple(
                Series(name, GAINS, [exponents(gain, driven=driven).spectrum[0] for gain in GAINS])
                for name, driven in (("hears noise", True), ("left alone", False))
            ),
            x_log=True,
        )
    )


@claim(
    "C7",
    HoldsIf("the largest Lyapunov exponent is not zero"),
    articles="S0",
    source="Oseledets 1968; Engelken et al. 2023",
    picture="C5",
)
def over_many_steps_gradients_vanish_or_explode(see: Evidence) -> None:
    """Over many steps gradients tend to vanish or to explode.

    (1/T)·log‖J_T ⋯ J₁·v‖ → λ for almost every v; λ = 0 on critical sets alone, as for orthogonal matrices
    and for a cell whose gates are f = 1, i = 0

    Rule: vanished is below 2⁻²⁴, the roundoff of float32, and exploded above 2²⁴. After 399 steps of tanh
    networks the gradient is one or the other. A cell with open forget gates has ∂c_T/∂c₀ = 1, exactly.
    """
    for gain in (0.5, 0.9, 1.2, 1.5):
        left = gradient_profile(network(gain), LENGTH).norms[-1]
        see.supports(f"tanh, gain {gain:g}, λ = {exponents(gain).spectrum[0]:+.2f}: gradient", left, below=LOST)
    for gain in (5.0, 10.0):
        left = gradient_profile(network(gain), LENGTH).norms[-1]
        see.supports(f"tanh, gain {gain:g}, λ = {exponents(gain).spectrum[0]:+.2f}: gradient", left, above=1 / LOST)
    layer = nn.LSTM(1, 1, batch_first=True)
    with torch.no_grad():
        layer.all_weights[0][2].copy_(torch.tensor([-200.0, 200.0, 0.0, 0.0]))
    cell = torch.rand(1, 1, 1, requires_grad=True)
    _, (_, last) = layer(torch.randn(1, LENGTH, 1), (torch.zeros(1, 1, 1), cell))
    (kept,) = torch.autograd.grad(last.sum(), cell)
    see.refutes("LSTM cell, f = 1 and i = 0: gradient", float(kept), equals=1.0)
    distance, error = orthogonal_product(8, LENGTH)
    see.refutes(f"{LENGTH} orthogonal matrices: distance of singular values from 1", distance, at_most=error)


@claim("C9", HOLDS, articles="S1 S2 S3")
def repeated_multiplication_is_the_cause(see: Evidence) -> None:
    """The cause of vanishing and exploding is that derivatives are multiplied again and again.

    log‖J_T ⋯ J₁‖ ≤ Σ log‖J_t‖, and the sum of all Lyapunov exponents is (1/T)·Σ log|det J_t|

    Rule: the gradient over every lag stays below the product of the norms. The diagonals of QR, multiplied
    up, give the determinants, which are known from 1 − h_t² and det W_hh alone; the difference is at most the
    sum of 2·n·√n·κ(J_t)·γ_{10n²}, the backward error of Householder QR. Never through det of the product: its
    condition exceeds 1/u within some 20 steps.
    """
    width, length = 8, 100
    curves: list[Series] = []
    for gain in (0.5, 1.0, 3.0):
        layer = network(gain, width)
        profile = gradient_profile(layer, length, spectrum=True)
        found = profile.lyapunov
        assert found is not None
        logs = [math.log(norm) for norm in profile.norms]
        above = max(logs[lag] - found.ceiling(lag) for lag in range(1, length))
        see.supports(f"gain {gain:g}: log of gradient over product of norms, largest", above, at_most=0.0)

        with torch.no_grad():
            h = layer(Model.of(layer).inputs(1, length))[0][0]
            slopes, recurrent = 1 - h**2, layer.all_weights[0][1]
            determinants = slopes.log().sum() + length * torch.linalg.slogdet(recurrent).logabsdet
            conditions = torch.linalg.cond(slopes.unsqueeze(-1) * recurrent)
        allowed = 2 * width * math.sqrt(width) * float(conditions.sum()) * gamma(10 * width**2, UNIT)
        difference = abs(sum(found.spectrum) * length - float(determinants))
        see.supports(f"gain {gain:g}: sum of exponents beside log of determinants", difference, at_most=allowed)
        lags = range(length)
        curves += [
            Series(f"gain {gain:g}: gradient", lags, [each / math.log(10) for each in logs]),
            Series(f"gain {gain:g}: product of norms", lags, [found.ceiling(lag) / math.log(10) for lag in lags]),
        ]
    see.picture(
        Figure("The gradient stays below the product of the norms", "steps", "log₁₀ of the norm", tuple(curves))
    )
