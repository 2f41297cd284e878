"""How long gated cells remember, and how their gradients pass through the gates."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Series, gradient_profile, sequential_depth
from seqlaws.reference.rounding import gamma
from seqlaws.spec.claims.gates import OPEN, left
from seqlaws.spec.claims.gradient_rates import LOST

UNIT = FORMATS["float64"].unit


def deaf(layer: nn.RNNBase) -> nn.RNNBase:
    """A layer in float64 without biases whose state does not reach its activations: W_hh = 0."""
    with torch.no_grad():
        for name, each in layer.named_parameters():
            if "weight_ih" not in name:
                each.zero_()
    return layer.double()


def through_states(layer: nn.RNNBase, steps: int) -> float:
    """∂(memory of the first unit, the cell of an LSTM) / ∂(the same, so many steps before), without input."""
    first = torch.full((1, 1, layer.hidden_size), 0.5, dtype=torch.float64, requires_grad=True)
    start = (torch.zeros_like(first), first) if isinstance(layer, nn.LSTM) else first
    _, last = layer(torch.zeros(steps, 1, layer.input_size, dtype=torch.float64), start)
    memory = last[1] if isinstance(layer, nn.LSTM) else last
    (gradient,) = torch.autograd.grad(memory[0, 0, 0], first)
    return float(gradient[0, 0, 0])


def kept(bias: float, steps: int) -> float:
    """What ``steps`` steps leave of a cell whose forget gate is σ(bias), by autograd through nn.LSTM."""
    layer = deaf(nn.LSTM(1, 1))
    with torch.no_grad():
        layer.all_weights[0][2][1] = bias
    return through_states(layer, steps)


def bias_of(gate: float) -> float:
    """The b with σ(b) = gate."""
    return math.log(gate) - math.log1p(-gate)


@claim(
    "C10",
    HoldsIf("the network has no cell that adds: plain, and not an LSTM or a GRU"),
    articles="S1",
    source="Hochreiter & Schmidhuber 1997",
)
def gradients_have_no_direct_path(see: Evidence) -> None:
    """In a recurrent network, with gates or without, there is no direct path for gradients.

    Direct is what passes no weights, and is left if W_hh = 0: ∂h_T/∂h₀ = 0 in a plain network,
    ∂c_T/∂c₀ = ∏ diag(f_t) in an LSTM, ∂h_T/∂h₀ = ∏ diag(z_t) in a GRU

    Rule: with W_hh = 0 and without biases and inputs, gates are ½ and the gradients over 20 steps 2⁻²⁰,
    exactly; with a forget gate of 1 the gradient over 1,000 steps is 1, exactly. In a plain network nothing
    is left.
    """
    for kind in (nn.RNN(4, 4), nn.RNN(4, 4, nonlinearity="relu")):
        see.supports(
            f"plain, {kind.nonlinearity}, W_hh = 0, 20 steps: gradient", through_states(deaf(kind), 20), equals=0.0
        )
    see.refutes("LSTM, W_hh = 0, f = ½, 20 steps: gradient", through_states(deaf(nn.LSTM(4, 4)), 20), equals=2.0**-20)
    see.refutes("GRU, W_hh = 0, z = ½, 20 steps: gradient", through_states(deaf(nn.GRU(4, 4)), 20), equals=2.0**-20)
    see.refutes("LSTM, W_hh = 0, f = 1, 1,000 steps: gradient", kept(OPEN, 1000), equals=1.0)


@claim(
    "D4",
    HoldsIf("its forget gates start nearly open: a bias of 3, where torch starts near 0"),
    articles="S0 S1 S2 S3",
    source="Gers et al. 2000; Jozefowicz et al. 2015; Tallec & Ollivier 2018",
)
def an_lstm_remembers_longer_than_a_plain_network(see: Evidence) -> None:
    """An LSTM remembers much longer than a plain recurrent network.

    ‖∂h_T/∂x_{T−d}‖ falls about as σ(b)^d, with b the bias of the forget gates; torch starts at b ≈ 0, f ≈ ½

    Rule: remembered is more than 2⁻²⁴ of the gradient, the roundoff of float32, at lag 100. An absolute
    threshold: as torch starts them, an LSTM is better than an RNN by many orders of magnitude, and both are
    lost. What is left rises with the bias.
    """
    width, lag = 32, 100
    layer = nn.LSTM(width, width)
    profiles, shares = [], []
    plain = gradient_profile(nn.RNN(width, width), lag + 1)
    started = gradient_profile(layer, lag + 1)
    for name, profile in (("RNN", plain), ("LSTM", started)):
        report = see.supports if name == "RNN" else see.refutes
        report(
            f"{name} as torch starts it: share of the gradient at lag 100",
            profile.norms[lag] / profile.norms[0],
            below=LOST,
        )
        profiles.append((f"{name}, as torch starts it", profile))
    for bias in (1.0, 3.0, 6.0):
        shares.append(left(layer, bias))
        profiles.append((f"LSTM, bias {bias:g}", gradient_profile(layer, lag + 1)))
    see.refutes("LSTM, bias 1: share of the gradient at lag 100", shares[0], below=LOST)
    see.supports("LSTM, bias 3: share of the gradient at lag 100", shares[1], above=LOST)
    see.supports("LSTM, bias 6: share of the gradient at lag 100, more than with 3", shares[2], above=shares[1])
    see.picture(
        Figure(
            "The forget bias decides how long an LSTM remembers",
            "lag",
            "gradient as a share of that at lag 0",
            tuple(
                Series(name, range(lag + 1), [norm / profile.norms[0] for norm in profile.norms])
                for name, profile in profiles
            ),
            y_log=True,
        )
    )


@claim("D6", HoldsIf("the shares lost, 1 − f_t, add up without a limit"), articles="S2", picture="D7")
def an_lstm_does_not_remember_indefinitely(see: Evidence) -> None:
    """An LSTM remembers longer, but not indefinitely.

    ∏ f_t > 0 iff Σ (1 − f_t) < ∞, for 0 < f_t ≤ 1: ∏ (1 − 1/(t + 1)) = 1/(n + 1), but
    ∏ (1 − 1/(t + 1)²) = (n + 2)/(2(n + 1)) → ½. In floating point f = 1 is reached

    Rule: fractions are multiplied exactly. Through nn.LSTM, σ(3) leaves less than 2⁻²⁴ after 1,000 steps, and
    a gate that is rounded to 1 leaves everything.
    """
    losing, lasting = Fraction(1), Fraction(1)
    for t in range(1, 1001):
        losing *= 1 - Fraction(1, t + 1)
        lasting *= 1 - Fraction(1, (t + 1) ** 2)
    see.supports("f_t = 1 − 1/(t + 1), 1,000 steps: left", losing, equals=Fraction(1, 1001))
    see.supports("nn.LSTM, f = σ(3), 1,000 steps: left", kept(3.0, 1000), below=LOST)
    see.refutes("f_t = 1 − 1/(t + 1)², 1,000 steps: left", lasting, equals=Fraction(1002, 2002))
    see.refutes("nn.LSTM, f = σ(200) = 1, 1,000 steps: left", kept(OPEN, 1000), equals=1.0)


@claim("D7", HoldsIf("f ≤ 0.990832, the 500th root of 1/100"), articles="S2")
def close_to_one_for_500_steps_is_a_loss_of_99_percent(see: Evidence) -> None:
    """A forget gate close to one, applied 500 times, loses 99 %.

    f⁵⁰⁰ ≤ 1/100 iff f ≤ 0.01^(1/500) = 0.990832; .99⁵⁰⁰ = 0.00657, σ(10)⁵⁰⁰ = 0.978; half is left for
    b = −ln(2^(1/500) − 1) = 6.58

    Rule: the derivative of the cell over 500 steps of nn.LSTM, in float64. Against powers of exact fractions
    it errs by at most γ_5000: 500 products, and 500 times the error of σ, up to 9u.
    """
    steps, rounding = 500, gamma(5000, UNIT)
    see.supports("f = .99: left after 500 steps", kept(bias_of(0.99), steps), at_most=0.01)
    power = Fraction(99, 100) ** steps
    error = abs(kept(bias_of(0.99), steps) - float(power)) / float(power)
    see.supports("f = .99: relative distance to (99/100)⁵⁰⁰", error, at_most=rounding)
    see.supports("f = 0.9908: left after 500 steps", kept(bias_of(0.9908), steps), at_most=0.01)
    see.refutes("f = 0.9909: left after 500 steps", kept(bias_of(0.9909), steps), above=0.01)
    see.refutes("f = σ(10): left after 500 steps", kept(10.0, steps), above=0.97)
    half = kept(-math.log(math.expm1(math.log(2) / steps)), steps)
    see.refutes("f = 2^(−1/500): distance from one half", abs(half - 0.5), at_most=rounding)
    losses = [2.0**-power for power in range(4, 15, 2)]
    see.picture(
        Figure(
            "How close to one is close enough",
            "lost per step, 1 − f",
            "left after so many steps",
            tuple(
                Series(f"{count} steps", losses, [kept(bias_of(1 - loss), count) for loss in losses])
                for count in (100, 500)
            ),
            x_log=True,
        )
    )


def cell_after(cell: nn.LSTMCell, x: Tensor, first: Tensor, *, cut: bool) -> Tensor:
    """The cell after every row of x, or what it is if no gradient passes through the states between."""
    h, c = torch.zeros_like(first), first
    for each in x:
        h, c = cell(each, (h.detach() if cut else h, c))
    return c


@claim("D8", HOLDS, articles="S2")
def an_lstm_still_multiplies_step_by_step(see: Evidence) -> None:
    """In an LSTM, too, information flows through one multiplication after another.

    ∂c_T/∂c₀ = ∏ diag(f_t) + (what passes through h); the length of the chain grows with T

    Rule: if no gradient passes through h, the derivative over 12 steps is the product of those of the single
    steps, each the gate f_t, within γ_24. With h there is a further part: the derivative differs by more than
    that. The longest chain of operators through nn.LSTM is O(n).
    """
    width, steps = 5, 12
    cell = nn.LSTMCell(width, width).double()
    x = torch.randn(steps, 1, width, dtype=torch.float64)
    first = torch.randn(1, width, dtype=torch.float64, requires_grad=True)
    gates, h, c = [], torch.zeros_like(first), first
    for each in x:
        before = c.detach().requires_grad_()
        h, c = cell(each, (h.detach(), before))
        gates.append(torch.autograd.grad(c.sum(), before)[0])
    product = torch.stack(gates).prod(0)
    rounding = gamma(2 * steps, UNIT)
    for cut in (True, False):
        (gradient,) = torch.autograd.grad(cell_after(cell, x, first, cut=cut).sum(), first)
        distance = float(((gradient - product) / product).abs().max())
        if cut:
            see.supports("no gradient through h: relative distance to ∏ f_t", distance, at_most=rounding)
        else:
            see.supports("with h: relative distance to ∏ f_t", distance, above=rounding)
    see.supports("gates are below 1: largest", float(torch.stack(gates).max()), below=1.0)
    see.supports(
        "nn.LSTM: growth of the longest chain", sequential_depth(nn.LSTM(4, 4), 16).unit_growth.order, equals="O(n)"
    )


@claim("D9", HOLDS, articles="S0 S1 S3", source="Gers et al. 2000", picture="D4")
def lstms_ease_vanishing_and_exploding_without_ending_them(see: Evidence) -> None:
    """LSTMs ease vanishing and exploding gradients, and do not fully solve them.

    There are LSTMs whose gradient lasts where that of an RNN is lost, some whose gradient vanishes, and some
    whose gradient explodes, through h

    Rule: existence, from a fixed seed. At lag 100 an RNN is left with less than 2⁻²⁴ of the gradient at lag
    0, an LSTM with forget bias 3 with more, and as torch starts it with less again. With recurrent weights 20
    times as large it has more than 2²⁴ times that gradient.
    """
    see.supports("RNN: share of the gradient at lag 100", left(nn.RNN(32, 32), None), below=LOST)
    see.supports("LSTM, forget bias 3: share of the gradient at lag 100", left(nn.LSTM(32, 32), 3.0), above=LOST)
    see.supports("LSTM as torch starts it: share of the gradient at lag 100", left(nn.LSTM(32, 32), None), below=LOST)
    wild = nn.LSTM(32, 32)
    with torch.no_grad():
        wild.all_weights[0][1].mul_(20)
    see.supports("LSTM, W_hh 20 times as large: share of the gradient at lag 100", left(wild, None), above=1 / LOST)
