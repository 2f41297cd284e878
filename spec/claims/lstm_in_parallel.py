"""Whether the steps of an LSTM can be computed at the same time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqlaws.claim import Evidence, HoldsIf, claim
from seqlaws.instruments import sequential_depth
from seqlaws.instruments.lyapunov import Recurrence, lyapunov, recurrence_of
from seqlaws.instruments.model import Model
from seqlaws.spec.claims.recurrences import scan

WIDTH, LENGTH, CLOSE = 4, 256, 1e-10
"""Units, steps, and how close all states must come to those of the loop."""


def better(recurrence: Recurrence, states: Tensor, x: Tensor) -> Tensor:
    """Newton's next guess of all states [T, S]: the recurrence, linear around the last, solved by a scan."""
    before = torch.cat((torch.zeros_like(states[:1]), states[:-1])).detach().requires_grad_()
    after = recurrence.step(before, x)
    rows = [torch.autograd.grad(channel.sum(), before, retain_graph=True)[0] for channel in after.unbind(-1)]
    slopes = torch.stack(rows, 1)
    given = after.detach().unsqueeze(-1) - slopes @ before.detach().unsqueeze(-1)
    return scan(slopes.unsqueeze(0), given.unsqueeze(0))[0, :, :, 0]


def errors(recurrence: Recurrence, x: Tensor, most: int) -> list[float]:
    """How far the states are from those of the loop, after 1, 2 … Newton iterations, until they are close."""
    wanted = [torch.zeros(1, recurrence.size, dtype=x.dtype)]
    with torch.no_grad():
        for each in x.unbind():
            wanted.append(recurrence.step(wanted[-1], each.unsqueeze(0)))
    loop, guess, found = torch.cat(wanted[1:]), torch.zeros(len(x), recurrence.size, dtype=x.dtype), [math.inf]
    while len(found) <= most and not found[-1] <= CLOSE:
        guess = better(recurrence, guess, x)
        found.append(float((guess - loop).abs().nan_to_num(math.inf).max()))
    return found[1:]


@claim(
    "D10",
    HoldsIf("it does not contract, with a largest Lyapunov exponent above zero"),
    articles="S1",
    source="Lim et al. 2024; Gonzalez et al. 2025",
    picture="A2",
)
def an_lstm_cannot_be_parallelised(see: Evidence) -> None:
    """An LSTM still processes a sequence step by step, without parallelisation, and therefore trains slowly.

    As a program nn.LSTM takes O(n) operators in a row. But its trajectory solves h_t = F(h_{t−1}, x_t) for
    all t, and each of Newton's iterations is one scan of ⌈log₂ T⌉ rounds; few are needed where λ < 0

    Rule: at T = 256 the iterations are counted until all states are within 10⁻¹⁰ of those of the loop. As
    torch starts an LSTM, all rounds, with one step for each iteration, are fewer than T. With recurrent
    weights 20 times as large, λ > 0, the states are still wrong after as many rounds as there are steps.
    """
    see.supports(
        "nn.LSTM: growth of the longest chain", sequential_depth(nn.LSTM(4, 4), 16).unit_growth.order, equals="O(n)"
    )
    rounds = math.ceil(math.log2(LENGTH)) + 1
    for name, scale in (("as torch starts it", 1), ("W_hh 20 times as large", 20)):
        layer = nn.LSTM(WIDTH, WIDTH).double()
        with torch.no_grad():
            layer.all_weights[0][1].mul_(scale)
        model = Model.of(layer)
        recurrence = recurrence_of(layer, model)
        assert recurrence is not None
        exponent = lyapunov(recurrence, LENGTH).spectrum[0]
        found = errors(recurrence, model.inputs(1, LENGTH)[0], LENGTH // rounds)
        if scale == 1:
            see.refutes(f"{name}: largest exponent", exponent, below=0.0)
            see.refutes(f"{name}: error after {len(found)} iterations", found[-1], at_most=CLOSE)
            see.refutes(f"{name}: rounds and steps in a row, T = {LENGTH}", len(found) * rounds, below=LENGTH)
        else:
            see.supports(f"{name}: largest exponent", exponent, above=0.0)
            see.supports(f"{name}: error after {len(found)} iterations", found[-1], above=CLOSE)
