"""How far apart two positions lie, and what one can have of the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Heat, Series, path_length
from seqlaws.instruments.layers import Convolution, RestrictedAttention, SelfAttention
from seqlaws.reference import attention

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
    """Updates of the state between h_1 and h_n, n = 1 … ``length``, along the shortest path through torch.nn.RNN."""
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
        layer.weight_ih_l0[:, -1] = FLUSH * torch.cat([column[each] for each in PATTERNS[kind]])
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


SLOTS = 64


def weights(bias: Tensor | None = None, *, rate: float = 0.0, slots: int = SLOTS) -> tuple[list[float], float]:
    """The weight of one and the same content in each slot, and the rounding error allowed to it.

    The other contents keep their order. ``bias`` [slots] is added to the scores; with a ``rate`` queries and
    keys are turned by their position, as RoPE does, and the query stands after the last slot.
    """
    q = torch.randn(WIDTH * 8, dtype=torch.float64)
    others = torch.randn(slots - 1, WIDTH * 8, dtype=torch.float64)
    keys = torch.stack([torch.cat([others[:slot], q[None], others[slot:]]) for slot in range(slots)])[:, None]
    queries = q.expand(slots, 1, 1, -1)
    if rate:
        queries, keys = _turned(queries, torch.tensor([slots]), rate), _turned(keys, torch.arange(slots), rate)
    marks = torch.eye(slots, dtype=torch.float64)[:, None, :, None]
    mask = None if bias is None else bias.double().expand(slots, 1, 1, -1)
    got = F.scaled_dot_product_attention(queries, keys, marks, mask, scale=SCALE).flatten()
    exact = attention.evaluate(
        queries.numpy(), keys.numpy(), marks.numpy(), mask=None if mask is None else mask.numpy(), scale=SCALE
    )
    return got.tolist(), float(attention.bound(exact, FORMATS["float64"]).max())


SCALE = 0.1


def _turned(x: Tensor, positions: Tensor, rate: float) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    rates = rate ** -(torch.arange(pairs.shape[-1], dtype=torch.float64) / pairs.shape[-1])
    angles = positions[:, None] * rates
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


@claim(
    "B13",
    HoldsIf("scores depend on the content alone, and nothing is masked"),
    articles="S2",
    source="Su et al. 2021; Press et al. 2021",
)
def every_part_of_the_source_is_equally_easy_to_access(see: Evidence) -> None:
    """A decoder with attention accesses every part of the source with equal ease.

    s_j = ⟨q, k_j⟩: the weight of a content is the same in every slot
    s_j = ⟨R_t q, R_j k_j⟩ (RoPE), ⟨q, k_j⟩ − a·(t − j) (ALiBi), −∞ outside a mask: it is not
    a margin of m over T − 1 others: weight at least 1/(1 + (T − 1)e^(−m)), so an equal weight costs m ~ ln T

    Rule: one content is put into each of 64 slots in turn. Its weights differ by no more than the rounding
    error that two correct computations are allowed, or by more.
    """
    behind = SLOTS - torch.arange(SLOTS)
    nowhere = torch.full((SLOTS,), -math.inf)
    cases = {
        "RoPE": weights(rate=1e4),
        "ALiBi, slope 1/8": weights(-behind / 8),
        "causal, query in slot 31": weights(nowhere.masked_fill(torch.arange(SLOTS) <= 31, 0.0)),
        "window of 8": weights(nowhere.masked_fill(behind <= 8, 0.0)),
    }
    plain, allowed = weights()
    see.supports("content alone: largest difference of weights", max(plain) - min(plain), at_most=2 * allowed)
    for name, (found, allowance) in cases.items():
        see.refutes(f"{name}: largest difference of weights", max(found) - min(found), above=2 * allowance)
    see.picture(
        Figure(
            "The weight of one content, by the slot that holds it",
            "slot",
            "attention weight",
            tuple(
                Series(name, list(range(SLOTS)), found)
                for name, found in {"content alone": plain, **{name: each[0] for name, each in cases.items()}}.items()
            ),
        )
    )


def _margin(share: float, slots: int) -> float:
    """The margin that gives one of so many slots this share of the weight."""
    return math.log((slots - 1) * share / (1 - share))


def retrieved(margin: float, slots: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, float, float]:
    """The weights of attention whose slot 7 wins by a margin, ‖o − v_7‖, and the largest distance of two values."""
    behind = 0.1 * torch.rand(slots, dtype=dtype)
    keys = torch.stack([torch.zeros_like(behind), -behind], -1)
    keys[7] = torch.tensor([1.0, 0.0])
    values = 1 + 0.1 * torch.randn(slots, WIDTH, dtype=dtype)
    values[7] = 0.0  # where it lies makes no difference, and at zero no rounding hides the error
    p = (keys @ torch.tensor([margin, 1.0], dtype=dtype)).softmax(0)
    return p, float((p @ values).norm()), float(torch.cdist(values[:512], values[:512]).max())


@claim(
    "B14",
    HoldsIf("slot 7 wins by a margin m ≥ ln((T − 1)(1 − ε)/ε)"),
    articles="S2",
    source="Veličković et al. 2024; Chiang & Cholak 2022",
)
def position_7_is_retrieved_directly(see: Evidence) -> None:
    """What the encoder produced at position 7 is answered by retrieving key and value of position 7.

    margin m = s_7 − max_(j≠7) s_j:  w_7 ≥ 1/(1 + (T − 1)e^(−m)),  ‖o − v_7‖ ≤ (1 − w_7)·max‖v_i − v_j‖
    w_7 ≥ 1 − ε whenever m ≥ ln((T − 1)(1 − ε)/ε): 10.8 for 99 % of T = 512, 16.1 of T = 100,000

    Rule: with that margin the weight of slot 7 is at least 0.99, and the answer as near as the bound says.
    In float32 all else weighs exactly 0 from a margin of 104. With less, slot 7 is one share among many.
    """
    enough = _margin(0.99, 512)
    for margin in (enough, 20.0, 50.0, 200.0):
        _, error, apart = retrieved(margin, 512)
        see.supports(f"margin {margin:.1f}, T = 512: ‖o − v_7‖", error, at_most=_rest(margin, 512) * apart)
    see.supports(f"margin {enough:.1f}, T = 512: weight of slot 7", float(retrieved(enough, 512)[0][7]), at_least=0.99)
    see.supports("float32, margin 104: other slots with a weight", _others(104.0), equals=0)
    see.refutes("float32, margin 80: other slots with a weight", _others(80.0), equals=511)
    see.refutes("margin 1, T = 512: weight of slot 7", float(retrieved(1.0, 512)[0][7]), below=0.01)
    long = retrieved(enough, 100_000)[0][7]
    see.refutes(f"margin {enough:.1f}, T = 100,000: weight of slot 7", float(long), below=0.99)
    margins = [0.5 * step for step in range(61)]
    errors = {slots: [retrieved(margin, slots) for margin in margins] for slots in (16, 512)}
    curves = [Series(f"T = {slots}", margins, [error for _, error, _ in found]) for slots, found in errors.items()] + [
        Series(
            f"bound, T = {slots}", margins, [_rest(m, slots) * found[2] for m, found in zip(margins, each, strict=True)]
        )
        for slots, each in errors.items()
    ]
    see.picture(Figure("How far from v_7 the answer is", "margin m", "‖o − v_7‖", tuple(curves), y_log=True))


def _rest(margin: float, slots: int) -> float:
    """The weight that at most is left to the others."""
    return (slots - 1) * math.exp(-margin) / (1 + (slots - 1) * math.exp(-margin))


def _others(margin: float) -> int:
    return int((retrieved(margin, 512, torch.float32)[0] > 0).sum()) - 1
