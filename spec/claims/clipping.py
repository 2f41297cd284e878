"""What exploding gradients do to training, and what clipping does about it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from seqlaws.claim import Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Series
from seqlaws.reference.rounding import gamma

UNIT = 2.0**-53
"""The roundoff of float64."""
RATE, CLIP, STEPS = 0.01, 1.0, 20


@dataclass(frozen=True)
class Training:
    """The loss before every step, how far each step went, and how far a clipped one may go."""

    losses: list[float]
    moves: list[float]
    allowed: list[float]


def train(clip: bool) -> Training:
    """Gradient descent of rectifiers, 1.1 times the identity at first: which was the first of 50 numbers?"""
    torch.manual_seed(0)
    layer, head = nn.RNN(1, 16, nonlinearity="relu", batch_first=True).double(), nn.Linear(16, 1).double()
    with torch.no_grad():
        _, recurrent, *shifts = layer.all_weights[0]
        recurrent.copy_(1.1 * torch.eye(16))
        for each in shifts:
            each.zero_()
    weights = [*layer.parameters(), *head.parameters()]
    optimiser = torch.optim.SGD(weights, lr=RATE)
    x = torch.rand(16, 50, 1, dtype=torch.float64)
    run = Training([], [], [])
    before = nn.utils.parameters_to_vector(weights).detach()
    for _ in range(STEPS + 1):
        optimiser.zero_grad()
        loss = ((head(layer(x)[0][:, -1]) - x[:, 0]) ** 2).mean()
        loss.backward()
        run.losses.append(loss.item())
        if clip:
            nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        after = nn.utils.parameters_to_vector(weights).detach()
        run.moves.append(float((after - before).norm()))
        rounding = gamma(before.numel() + 8, UNIT) * RATE * CLIP + UNIT * float(after.norm())
        run.allowed.append(RATE * CLIP + rounding)
        before = after
    return run


@claim("C6", HoldsIf("the gradient is used as it is, not clipped"), articles="S0 S1 S3", source="Pascanu et al. 2013")
def exploding_gradients_make_training_unstable(see: Evidence) -> None:
    """Exploding gradients make training unstable.

    A step of gradient descent moves the weights by η·‖g‖, without a limit; clipped, g ↦ g·min(1, c/‖g‖),
    by at most η·c, however large g is

    Rule: rectifiers whose gradient over 50 steps explodes are trained to tell the first number, once as they
    are and once clipped, from the same weights with the same data. Unclipped, the first step goes further
    than η·c, and the loss rises. Clipped, none of 21 steps goes further (rounding: γ_{n+8}·η·c +
    u·‖weights‖), and the loss falls. Gradients of any size are clipped to norm c, within γ_{n+8}.
    """
    wild, tame = train(clip=False), train(clip=True)
    see.supports("unclipped: length of the first step", wild.moves[0], above=wild.allowed[0])
    see.supports("unclipped: loss after the first step", wild.losses[1], above=wild.losses[0])
    furthest = max(move / allowed for move, allowed in zip(tame.moves, tame.allowed, strict=True))
    see.refutes("clipped: longest step over its bound", furthest, at_most=1.0)
    see.refutes(f"clipped: loss after {STEPS} steps", tame.losses[-1], below=tame.losses[0])
    weight = nn.Parameter(torch.zeros(100, dtype=torch.float64))
    largest = 0.0
    for power in torch.linspace(-10, 10, 200).tolist():
        weight.grad = torch.randn(100, dtype=torch.float64) * 10**power
        nn.utils.clip_grad_norm_([weight], CLIP)
        largest = max(largest, float(weight.grad.norm()) / CLIP)
    see.refutes("200 gradients of size 1e-10 … 1e10, clipped: largest norm", largest, at_most=1 + gamma(108, UNIT))
    see.picture(
        Figure(
            "The same training, with the gradient clipped and without",
            "steps of gradient descent",
            "loss",
            tuple(
                Series(name, range(len(run.losses)), run.losses)
                for name, run in (("unclipped", wild), ("clipped", tame))
            ),
            y_log=True,
        )
    )
