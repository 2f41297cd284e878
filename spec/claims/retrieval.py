"""What attention retrieves from one slot among many."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.claim import Evidence, HoldsIf, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Series
from seqlaws.reference import attention

WIDTH = 8
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
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
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
    """The weights if slot 7 wins by a margin, ‖o − v_7‖, and the largest distance of two values."""
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

    Rule: with that margin the weight of slot 7 is at least 0.99, and the answer as near as the bound says. In
    float32 all else weighs exactly 0 from a margin of 104. With less, slot 7 is one share among many.
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
