"""How far apart two positions lie."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Heat, Series, path_length
from seqlaws.instruments.layers import Convolution, RestrictedAttention, SelfAttention

LENGTHS = (2, 8, 64, 512)
WIDTH = 8


def layers_between(layers: Iterable[nn.Module], length: int) -> int:
    """How many layers the last of ``length`` positions needs until it depends on the first.

    The first position is no number; whatever depends on it becomes none either.
    """
    lost = torch.zeros(1, length, 1, dtype=torch.bool)
    lost[:, 0] = True
    x = torch.randn(1, length, WIDTH)
    with torch.no_grad():
        for count, layer in enumerate(layers):
            if lost[0, -1]:
                return count
            lost = layer(x.masked_fill(lost, torch.nan)).isnan().any(-1, keepdim=True)
    raise ValueError("there are too few layers")


@functools.cache
def updates(length: int) -> tuple[int, ...]:
    """Updates of the state on the shortest path from h_1 to h_n through torch.nn.RNN, n = 1 … ``length``."""
    layer = nn.RNN(WIDTH, WIDTH, batch_first=True)
    found = path_length(layer, length, sources=[0], growth=False, certify=False).lengths
    operators = [row[0] or 0 for row in found]
    update = operators[1] - operators[0]
    return tuple((each - operators[0]) // update for each in operators)


def arrives(n: int, cut: int | None) -> bool:
    """Whether a gradient of h_n arrives at x_1, if the state h_cut is taken out of the graph."""
    cell = nn.RNNCell(2, 2, dtype=torch.float64)  # float64, or what arrives after 100 steps would underflow
    x = torch.randn(n, 1, 2, dtype=torch.float64, requires_grad=True)
    h = torch.zeros(1, 2, dtype=torch.float64)
    for t, each in enumerate(x, 1):
        h = cell(each, h)
        h = h.detach() if t == cut else h
    (gradient,) = torch.autograd.grad(h.sum() + 0 * x.sum(), x)
    return bool(gradient[0].any())


@claim("B7", HoldsIf("states are counted from the input x_1; strictly between h_1 and h_100 lie 98"), articles="S1 S2")
def information_passes_99_states(see: Evidence) -> None:
    """From position 1 to position 100 of a recurrent network, information passes 99 intermediate states.

    x_1 → h_1 → … → h_99 → h_100: 99 updates h_t → h_(t+1), and 98 states strictly between h_1 and h_100

    Rule: updates are counted along the shortest path of operators. A state lies on the way if no gradient of
    h_100 arrives at x_1 once it is cut out of the graph; every state is cut out in turn.
    """
    see.supports("updates from h_1 to h_100", updates(100)[99], equals=99)
    see.supports("a gradient of h_100 arrives at x_1", arrives(100, None), equals=True)
    passed = [not arrives(100, cut) for cut in range(1, 100)]
    see.supports("states that everything passes from x_1 to h_100", sum(passed), equals=99)
    see.refutes("states that everything passes from h_1 to h_100", sum(passed[1:]), equals=98)
    some = range(1, 11)
    names = [str(n) for n in some]
    left = [[float(arrives(n, cut)) for n in some] for cut in some]
    see.picture(
        Heat(
            "What h_n has of x_1 if h_t is cut out: something (1) or nothing",
            "n of h_n",
            "t of h_t",
            names,
            names,
            left,
        )
    )


@claim("B8", HOLDS, articles="S1", source="Vaswani et al. 2017, Table 1")
def the_path_of_a_recurrence_is_linear(see: Evidence) -> None:
    """In a recurrent network the path between two positions grows linearly with their distance.

    recurrence: n − 1 updates
    causal convolution of k taps: ⌈(n − 1)/(k − 1)⌉ layers (with centred taps twice that); with dilations
    1, k, k² …: the least l with k^l ≥ n; attention to the r positions before: ⌈(n − 1)/r⌉ layers; to all: 1

    Rule: updates are counted along the shortest path of operators from x_1 to h_n. Layers are counted by
    losing the first position: what depends on it is no number either. All counts equal the formulas.
    """
    for n in LENGTHS:
        see.supports(f"recurrence, n = {n}", updates(512)[n - 1], equals=n - 1)
    lengths = [2, 4, 8, 16, 32, 64, 128, 256, 512]
    contiguous = [layers_between(repeat(Convolution(WIDTH, 3)), n) for n in lengths]
    dilated = [layers_between((Convolution(WIDTH, 3, 3**layer) for layer in range(8)), n) for n in lengths]
    restricted = [layers_between(repeat(RestrictedAttention(WIDTH, 9)), n) for n in lengths]  # itself and 8 before
    everywhere = [layers_between(repeat(SelfAttention(WIDTH)), n) for n in lengths]
    see.supports("convolution, k = 3, n = 512: layers", contiguous[-1], equals=math.ceil(511 / 2))
    see.supports("dilated, k = 3, n = 512: layers", dilated[-1], equals=math.ceil(math.log(512, 3)))
    see.supports("attention to 8 positions, n = 512: layers", restricted[-1], equals=math.ceil(511 / 8))
    see.supports("attention, n = 512: layers", everywhere[-1], equals=1)
    curves = {
        "recurrence": [updates(512)[n - 1] for n in lengths],
        "convolution, k = 3": contiguous,
        "attention, r = 8": restricted,
        "dilated, k = 3": dilated,
        "attention": everywhere,
    }
    see.picture(
        Figure(
            "Steps or layers between the first and the last of n positions",
            "n",
            "steps or layers",
            tuple(Series(name, lengths, values) for name, values in curves.items()),
            x_log=True,
            y_log=True,
        )
    )


FLUSH = 200.0
"""Strong enough to close a gate, and to fill a tanh, to the last bit of float32."""
PATTERNS = {"RNN": "s", "LSTM": "+-s+", "GRU": "0-s"}
"""What one flag does to the gates of each layer, in torch's order: opens, closes, leaves; s writes ±1."""


def _flushed(kind: str) -> nn.RNNBase:
    """A layer whose last input channel, set to one, overwrites the whole state."""
    layer: nn.RNNBase = getattr(nn, kind)(WIDTH + 1, WIDTH, batch_first=True)
    signs = torch.ones(WIDTH)
    signs[::2] = -1
    column = {"+": signs.abs(), "-": -signs.abs(), "0": 0 * signs, "s": signs}
    with torch.no_grad():
        dict(layer.named_parameters())["weight_ih_l0"][:, -1] = FLUSH * torch.cat(
            [column[each] for each in PATTERNS[kind]]
        )
    return layer


@claim("B9", HOLDS, articles="S0 S1 S2")
def the_past_is_accessible_through_the_state_alone(see: Evidence) -> None:
    """A recurrent network cannot look back at an earlier token; all access is through the hidden state.

    h_t = h'_t  ⇒  y_(t+k) = y'_(t+k) for every k and the same inputs after t, whatever the inputs before t

    Rule: two different pasts are brought to the same state by an input that saturates every gate; from there
    on no output differs in a single bit. Without that input the states differ, and so do the outputs.
    """
    past, future = torch.randn(2, 20, WIDTH + 1), torch.randn(1, 20, WIDTH + 1)
    past[..., -1] = future[..., -1] = 0.0
    x = torch.cat([past, future.expand(2, -1, -1)], 1)
    flushed = x.clone()
    flushed[:, 19, -1] = 1.0
    for kind in PATTERNS:
        layer = _flushed(kind)
        with torch.no_grad():
            free, same = (torch.stack([layer(each[None])[0][0] for each in given]) for given in (x, flushed))
        see.supports(f"{kind}, two states: outputs that differ", _differing(free[:, 20:]), above=0)
        see.supports(f"{kind}, two pasts, steps 1 to 19: outputs that differ", _differing(same[:, :19]), above=0)
        see.supports(f"{kind}, the same state: outputs that differ", _differing(same[:, 19:]), equals=0)


def _differing(pair: Tensor) -> int:
    return int((pair[0] != pair[1]).sum())
