"""Recurrences in parallel: over time by scans and Newton's iteration, over layers as a wave, over inputs at once."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seqlaws.claim import Evidence, Refuted, claim
from seqlaws.formats import Array
from seqlaws.instruments import Heat, sequential_depth
from seqlaws.instruments.lyapunov import lyapunov, recurrence_of
from seqlaws.instruments.model import Model
from seqlaws.reference import lstm as reference
from seqlaws.spec.claims.recurrences import Gated, Newton, driven, loop, scan
from seqlaws.spec.claims.rounding import SINGLE, exact, share

LENGTH = 256
UNITS = 16
CLOSE = 1e-12


def exponent(net: nn.RNN) -> float:
    """The largest Lyapunov exponent along the trajectory that is to be found."""
    recurrence = recurrence_of(net, Model.of(net))
    assert recurrence is not None
    return lyapunov(recurrence, LENGTH).spectrum[0]


@torch.no_grad()
def iterations(net: nn.RNN, length: int, most: int) -> tuple[int, float]:
    """Newton iterations until the whole trajectory is that of the loop to CLOSE, and the error that is left."""
    x = Model.of(net).inputs(1, length)
    wanted, newton = net(x)[0], Newton(net, 0)
    h, done, error = torch.tanh(x), 0, float("inf")
    while done < most and not error <= CLOSE:
        h, done = newton.better(h, x), done + 1
        error = float((h - wanted).abs().nan_to_num(float("inf")).max())
    return done, error


@claim(
    "A2",
    Refuted(
        "linear recurrences run as a scan, and tanh networks by Newton's iteration as long as they contract: "
        "what makes gradients vanish makes them parallel"
    ),
    articles="S0 S1 S2 S3",
    source="Blelloch 1990; Martin & Cundy 2018; Lim et al. 2024; Gonzalez et al. 2025",
)
def a_recurrence_cannot_be_parallelised_over_the_sequence(see: Evidence) -> None:
    """What is sequential in a recurrent network rules out that its training is parallel over the sequence.

    h_t = a_t h_{t−1} + b_t: ⌈log₂ T⌉ rounds. h_t = tanh(W h_{t−1} + x_t): each Newton iteration for all h_t at
    once is one such scan, and T of them are always enough. Where the network contracts, with a largest Lyapunov
    exponent λ < 0, few are; where λ > 0 they are not, nor where λ < 0 at the solution but not on the way to it

    Rule: the scan gives bitwise the integers of the loop, and a gated recurrence has a longest chain of
    2·log₂ T + 2 operators. For tanh networks, iterations are counted until the trajectory in float64 is that of
    the loop to 10⁻¹², thousands of unit roundoffs; each counts with the longest chain of one, as measured. Where
    λ < −0.1, all of them together are less deep than the loop. For the claim speak networks with λ > 0, and a
    saturated one with λ < 0: their error is larger after as many iterations as are as deep as the loop.
    """
    a, b = torch.randint(-(2**62), 2**62, (2, 3, 1000))
    see.refutes("T = 1000 integers modulo 2⁶⁴: scan is the loop", torch.equal(scan(a, b), loop(a, b)), equals=True)
    depths = sequential_depth(Gated(4), width=4).unit_growth.values
    see.refutes(
        "gated linear recurrence: longest chain for T = 2 … 64", depths, equals=tuple(2 * i + 2 for i in range(1, 7))
    )
    loop_depth = sequential_depth(driven(1.0, UNITS), length=LENGTH).unit
    one = sequential_depth(Newton(driven(1.0, UNITS), 1), length=LENGTH, width=UNITS).unit
    most, lengths, columns = loop_depth // one, (16, 64, LENGTH), {}
    for gain in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
        net = driven(gain, UNITS)
        rate = exponent(net)
        found = [iterations(net, length, most) for length in lengths]
        columns[f"{gain:g}: {rate:+.2f}"] = [done if error <= CLOSE else float("nan") for done, error in found]
        done, error = found[-1]
        case = f"tanh, gain {gain:g}, λ = {rate:+.2f}, T = {LENGTH}"
        if rate < -0.1:
            see.refutes(f"{case}: {done} iterations, longest chain against the loop's", done * one, below=loop_depth)
            see.refutes(f"{case}: error left", error, at_most=CLOSE)
        elif rate > 0:
            see.supports(f"{case}: error after {most} iterations, as deep as the loop", error, above=CLOSE)
    net = driven(8.0, 8)
    rate = exponent(net)
    see.supports(
        f"tanh, saturated (8 units, gain 8, λ = {rate:+.2f}), T = {LENGTH}: error after {most} iterations",
        iterations(net, LENGTH, most)[1],
        above=CLOSE,
    )
    see.picture(
        Heat(
            f"Newton iterations for T steps at once; grey: not within {most}",
            "gain of the tanh network: its largest Lyapunov exponent",
            "T",
            list(columns),
            [str(length) for length in lengths],
            [list(row) for row in zip(*columns.values(), strict=True)],
        )
    )


def hoisted(layer: nn.LSTM, x: Tensor) -> tuple[Tensor, int, int]:
    """An LSTM without biases that multiplies all inputs first, and the operations before and after its first step."""
    with FlopCounterMode(display=False) as flops:
        given = x @ layer.get_parameter("weight_ih_l0").T
    before = int(flops.get_total_flops())
    h = c = x.new_zeros(len(x), layer.hidden_size)
    states = []
    with FlopCounterMode(display=False) as flops:
        for t in range(x.shape[1]):
            i, f, g, o = (given[:, t] + h @ layer.get_parameter("weight_hh_l0").T).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
    return torch.stack(states, 1), before, int(flops.get_total_flops())


def exact_states(layer: nn.LSTM, x: Tensor) -> tuple[Array, Array]:
    """The states of an LSTM without biases in real numbers, and how far rounding may take a program from them."""
    size = layer.hidden_size
    names = ("weight_ih_l0", "weight_hh_l0")
    given, recurrent = (exact(layer.get_parameter(name)).reshape(4, size, -1) for name in names)
    named = {f"b_{gate}": np.zeros(size) for gate in reference.GATES}
    for gate, of_input, of_state in zip(reference.GATES, given, recurrent, strict=True):
        named |= {f"W_{gate}": of_input, f"U_{gate}": of_state}
    zero = np.zeros((len(x), size))
    states = reference.evaluate(exact(x), zero, zero, SimpleNamespace(**named), SINGLE).pieces[0]
    return states.value, states.bound


def wave(layers: int, steps: int) -> list[list[int]]:
    """The first time at which every cell can start: after its own last step, and after the layer below."""
    start = [[0] * steps for _ in range(layers)]
    for layer in range(layers):
        for t in range(steps):
            own = start[layer][t - 1] + 1 if t else 1
            below = start[layer - 1][t] + 1 if layer else 1
            start[layer][t] = max(own, below)
    return start


@claim(
    "A3",
    Refuted("every product with an input can be computed before the first step, and layers overlap like a wave"),
    articles="S2",
    source="Appleyard, Kočiský & Blunsom 2016",
)
def no_step_can_start_until_the_one_before_has_finished(see: Evidence) -> None:
    """In a recurrent network nothing of a step can be done before the previous step is finished.

    Inputs: W_ih x_t for all t is one product, d_in/(d_in + d_h) of all multiplications. Layers: a stack of L
    computes T steps in T + L − 1 times the depth of a step, not L·T times

    Rule: an LSTM is computed with all products of inputs first. Its states lie within the derived rounding bound of
    the exact ones, so it is the same function as nn.LSTM, whose states do; and torch's counter says how many
    operations were done before the first step. The longest chain of stacked layers is measured on torch.nn.RNN.
    """
    for given, size in ((32, 32), (96, 32)):
        layer = nn.LSTM(given, size, bias=False, batch_first=True)
        x = torch.randn(2, 50, given)
        with torch.no_grad():
            states, before, after = hoisted(layer, x)
            usual = layer(x)[0]
        case = f"LSTM with {given} inputs and {size} units"
        see.refutes(
            f"{case}: share of products before the first step",
            Fraction(before, before + after),
            equals=Fraction(given, given + size),
        )
        wanted, bound = exact_states(layer, x)
        for name, got in (("with inputs first", states), ("nn.LSTM", usual)):
            see.refutes(f"{case}, {name}: largest error over its bound", share(got, wanted, bound), at_most=1.0)
    single = sequential_depth(nn.RNN(8, 8, batch_first=True)).unit_growth.values
    step = (single[1] - single[0]) // 2
    for layers in (2, 4):
        deep = sequential_depth(nn.RNN(8, 8, layers, batch_first=True)).unit
        see.refutes(f"{layers} layers, T = 64: longest chain", deep, equals=single[-1] + (layers - 1) * step)
    layers, steps = 4, 7
    slots = [[0.0] * (steps + layers - 1) for _ in range(layers)]
    for row, starts in zip(reversed(slots), wave(layers, steps), strict=True):
        for t, slot in enumerate(starts):
            row[slot - 1] = t + 1
    see.picture(
        Heat(
            f"{layers} layers take {steps} steps in {len(slots[0])} times; the number is the step, 0 is idle",
            "time, in steps",
            "layer",
            [str(slot + 1) for slot in range(steps + layers - 1)],
            [str(layers - row) for row in range(layers)],
            slots,
        )
    )
