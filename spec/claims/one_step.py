"""A step of a recurrence: what it multiplies, which weights it uses, and what it costs late in a stream."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.reference.rounding import gamma
from seqlaws.spec.claims.connections import operators
from seqlaws.spec.claims.one_after_another import depth
from seqlaws.spec.claims.streams import MOMENTS, WIDTH, steps


@claim(
    "A9", Refuted("it is two, of the state and of the input; one only where both are put side by side"), articles="S2"
)
def a_step_of_a_recurrence_is_one_matrix_product(see: Evidence) -> None:
    """In each of its steps a recurrent network does a single matrix product.

    W_hh h + W_ih x: two products. [W_hh W_ih] [h; x]: one, for the same numbers

    Rule: the dispatcher sees two products in a step of each cell of torch.nn, and one in the product of stacked
    matrices, which gives bitwise the same sums for integers.
    """
    x, h, c = torch.randint(-9, 10, (3, 2, 8)).float()
    for kind, state in ((nn.RNNCell, h), (nn.GRUCell, h), (nn.LSTMCell, (h, c))):
        see.refutes(f"{kind.__name__}: products in a step", operators(kind(8, 8), x, state)["product"], equals=2)
    of_state, of_input = torch.randint(-9, 10, (2, 8, 8)).float()
    weights, both = torch.cat((of_state, of_input), 1), torch.cat((h, x), 1)
    see.supports("stacked: products in a step", operators(torch.matmul, both, weights.T)["product"], equals=1)
    same = torch.equal(both @ weights.T, h @ of_state.T + x @ of_input.T)
    see.supports("stacked: sums are those of two products", same, equals=True)


@claim(
    "A13",
    Refuted("a token costs as much late in a stream as at its start, and waits for no more operators"),
    articles="S3",
    picture="F11",
)
def recurrent_networks_are_impractical_in_real_time(see: Evidence) -> None:
    """A recurrent network is of no practical use where answers are needed in real time.

    for every t: 8·d² products and a chain of constant length from token t to its output. Attention with a cache
    takes 4·d² + 2·t·d products, more beyond t = 2·d

    Rule: products are counted at tokens of a stream, up to the 256th; each takes 8·d². The chain that a token adds
    is the same from the second to the 64th. At token 256, attention with a cache does more.
    """
    for t in MOMENTS:
        see.refutes(f"LSTM, d = {WIDTH}, token {t}: products", steps("LSTM")[t].products, equals=8 * WIDTH**2)
    found = depth(nn.LSTM).unit_growth
    pairs = pairwise(zip(found.lengths, found.values, strict=True))
    added = tuple((more - few) // (long - short) for (short, few), (long, more) in pairs)
    see.refutes("operators in a row that a token adds, up to T = 4 … 64", added, equals=(added[0],) * len(added))
    late = MOMENTS[-1]
    cached = steps("attention, cache")[late].products
    see.refutes(f"token {late}: products of attention, against an LSTM", cached, above=steps("LSTM")[late].products)


def states(x: Tensor, recurrent: list[Tensor], given: Tensor) -> Tensor:
    """The last state of a tanh network that uses one recurrent matrix in each step."""
    h = torch.zeros(len(given), dtype=x.dtype)
    for each, weight in zip(x, recurrent, strict=True):
        h = torch.tanh(weight @ h + given @ each)
    return h


@claim("A14", HOLDS, articles="S1")
def the_same_weights_are_used_at_every_step(see: Evidence) -> None:
    """A recurrent network uses one set of weights for all of its steps.

    the number of parameters is the same for every T, and ∂L/∂W = Σ_t ∂L/∂W_t, where W_t is the copy that step t uses

    Rule: numbers that receive a gradient are counted for sequences of several lengths; there are 4·(2d² + 2d) of
    them in an LSTM. The gradient of a shared matrix and the sum of those of T separate copies differ by no more
    than rounding allows to two sums of T terms, γ_T·Σ_t|∂L/∂W_t| each.
    """
    size = 8
    for length in (1, 8, 64):
        layer = nn.LSTM(size, size, batch_first=True)
        layer(torch.randn(1, length, size))[0].sum().backward()
        moved = sum(each.numel() for each in layer.parameters() if each.grad is not None)
        see.supports(f"LSTM, T = {length}: numbers that are learned", moved, equals=4 * (2 * size**2 + 2 * size))
    weight, given = (torch.randn(2, size, size, dtype=torch.float64) / size**0.5).unbind()
    for length in (2, 8, 64):
        x = torch.randn(length, size, dtype=torch.float64)
        shared = weight.clone().requires_grad_()
        (whole,) = torch.autograd.grad(states(x, [shared] * length, given).sum(), shared)
        copies = [weight.clone().requires_grad_() for _ in range(length)]
        each = torch.stack(torch.autograd.grad(states(x, copies, given).sum(), copies))
        allowed = 2 * gamma(length, FORMATS["float64"].unit) * each.abs().sum(0)
        excess = ((whole - each.sum(0)).abs() - allowed).max()
        see.supports(
            f"T = {length}: gradient, less the sum over steps, less what rounding allows", float(excess), at_most=0.0
        )
