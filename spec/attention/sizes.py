"""Attention's sizes: the definition and its gradients at lengths, widths and heads that kernels have ideas about."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, VALUES, law
from seqlaws.spec.attention import attention, besides, cases
from seqlaws.spec.attention.drawing import AttentionCase, adapted
from seqlaws.spec.attention.gradients import gradients_within
from seqlaws.subject import Cases, Claims
from seqlaws.verdict import Output, Verdict, every, within

HEADS = ((8, 2), (12, 12), (16, 4), (20, 4), (33, 33), (32, 2), (16, 1), (80, 80))
WIDTHS = ((31, 32), (32, 31), (48, 64), (64, 96), (80, 129), (96, 160), (129, 192), (160, 2), (192, 3), (256, 257),
          (576, 520))  # fmt: skip
HIDDEN_WIDTHS = (64, 129, 256)
QUERIES = (*range(1, 137), 159, 160, 161, 191, 192, 193, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025)
# at these end the tiles of nearly every size up to 136
BESIDE_EIGHTS = tuple(size for size in range(1, 137) if size < 9 or size % 8 in (0, 1, 7))
LONG = (192, 193, 256, 257, 384, 385, 512, 513, 1024, 1025)


def _sizes(batch: bool) -> Cases:
    """One small case of every number of heads, and of every width; wide ones and many with what hides keys, in
    groups, and with many keys. And for a ``batch``, one of more entries than a grid may have blocks.
    """
    swept = [AttentionCase(2, heads, groups, 3, 5, 3, 2, fill="normal", seed=heads) for heads, groups in HEADS]
    swept += [AttentionCase(2, 1, 1, 3, 5, d_k, d_v, fill="normal", seed=d_k) for d_k, d_v in WIDTHS]
    # wide heads and many heads have kernels of their own, and those their own code for what hides keys
    hiding: tuple[dict[str, Any], ...] = ({"causal": True}, {"mask": "bool", "mask_axes": "BHQK"})
    for hide in hiding:
        swept += [AttentionCase(2, 2, 2, 5, 5, d_k, d_k, **hide, fill="normal", seed=d_k) for d_k in HIDDEN_WIDTHS]
        swept += [AttentionCase(2, heads, heads, 5, 5, 3, 3, **hide, fill="normal", seed=heads) for heads in (9, 33)]
    swept += [AttentionCase(2, 4, 2, 3, 5, d_k, d_k, fill="normal", seed=d_k) for d_k in HIDDEN_WIDTHS]
    swept += [AttentionCase(1, 2, 1, 130, 130, d_k, d_k, causal=True, fill="normal", seed=d_k) for d_k in (64, 128)]
    swept += [AttentionCase(2, 4, 2, 3, 130, 33, 33, mask="bool", fill="normal", seed=130)]
    # the first tiles of keys are hidden as a whole
    swept += [
        AttentionCase(4, 1, 1, 2, 1300, 3, 3, mask="bool", mask_axes="B11K", pattern="left", fill="normal", seed=2)
    ]
    # what is right for short sequences, and by itself: groups, one query, causality with a mask, a scale
    swept += [
        AttentionCase(2, 4, 2, 3, 513, 3, 3, fill="normal", seed=513),
        AttentionCase(1, 12, 1, 3, 310, 2, 2, fill="normal", seed=310),
        AttentionCase(2, 1, 1, 1, 1025, 3, 3, causal=True, fill="normal", seed=1025),
        AttentionCase(2, 1, 1, 300, 300, 2, 2, causal=True, mask="bool", mask_axes="B11K", fill="normal", seed=300),
        *(AttentionCase(2, 1, 1, 3, 5, d_k, d_k, scale=0.3, fill="normal", seed=d_k) for d_k in HIDDEN_WIDTHS),
    ]
    if batch:
        swept += [AttentionCase(65_537, 1, 1, 1, 1, 1, 1, fill="normal", seed=9)]

    def always(claims: Claims) -> dict[AttentionCase, None]:
        # kernels that know a single width for keys and values end at 256, and no capability says so
        some = (case for case in swept if case.d_k <= 256 or "value_width" in claims.can)
        return dict.fromkeys(adapted(case, claims) for case in some)

    return Cases(always, cases().strategy)


@law(attention, VALUES, cases=_sizes(batch=True), after=("agrees_with_its_definition",), examples=0.1)
def agrees_at_every_width_and_number_of_heads(attend: Any, x: Inputs) -> Verdict:
    """The definition holds for heads of every width, and for any number and grouping of them.

    D, Dv = 31 … 576,  H/G = 8/2, 12/12, 16/4, … 32/2, 80/80, some of them causal, with masks, a scale, and at
    T = 130 … 1025;  B = 65537

    Why: kernels are compiled for a few widths and numbers of heads, and pad, split or dispatch for all
    others.
    """
    return within(attend(x))


@law(
    attention,
    VALUES,
    cases=besides(
        cases(traps=1, batch=2, heads=1, kv_heads=1, q_len=1025, kv_len=3, d_k=4, d_v=4, fill="normal", mask="none",
              causal=False),
        AttentionCase(1, 1, 1, 1025, 3, 4, 4, mask="bool", mask_axes="11QK", fill="normal", seed=13),
        AttentionCase(1, 1, 1, 1025, 3, 4, 4, mask="float", mask_axes="11QK", fill="normal", seed=14),
    ),
    needs=("cross_length",),
    after=("agrees_with_its_definition",),
    examples=0.1,
)  # fmt: skip
def agrees_at_every_number_of_queries(attend: Any, x: Inputs) -> Verdict:
    """The definition holds at every number of queries from 1 to 136, and at the borders of tiles up to 1025.

    Tq ∈ {1, …, 136, 159, …, 513, 1023, 1024, 1025}, and 1025 with masks

    Why: queries have tiles of their own. With causality their diagonal hides a fault or shows it; this
    asks without.
    """
    # a query knows nothing of the others: one reference serves every number of them
    whole, verdicts = attend(x), []
    if x.mask is not None:
        return within(whole)
    for size in (size for size in QUERIES if size < x.size("Q")):
        some = attend(x.take("Q", np.arange(size))).value
        verdicts.append(within(Output(some, partial(_start, whole, size))))
    return every(within(whole), *verdicts)


def _start(whole: Output, size: int) -> tuple[Any, ...]:
    return whole.reference[:, :, :size], whole.bound[:, :, :size]


@law(
    attention,
    GRADIENTS,
    cases=_sizes(batch=False),
    needs=("gradient",),
    after=("gradients_agree_with_the_definition",),
    examples=0.1,
)
def gradients_agree_at_every_width_and_number_of_heads(attend: Any, x: Inputs) -> Verdict:
    """The gradients are those of the definition for heads of every width, and for any number and grouping of them.

    dQ, dK, dV for D, Dv = 31 … 576,  H/G = 8/2, 12/12, 16/4, … 32/2, 80/80, some of them causal, with masks, a
    scale, and at T = 130 … 1025

    Why: a backward kernel holds more in fast memory than a forward kernel, so its widths end earlier.
    """
    return gradients_within(attend, x)


@law(
    attention,
    GRADIENTS,
    cases=besides(
        cases(traps=3, batch=2, heads=1, kv_heads=1, q_len=(136, 3, 1025), kv_len=(136, 1025, 3), d_k=2, d_v=2,
              fill="normal", mask="none", causal=False, scale=None),
        AttentionCase(1, 2, 1, 260, 260, 2, 2, causal=True, fill="normal", seed=15),
        AttentionCase(1, 1, 1, 260, 260, 2, 2, mask="bool", mask_axes="11QK", fill="normal", seed=16),
        AttentionCase(1, 1, 1, 513, 513, 2, 2, causal=True, fill="normal", seed=17),
        AttentionCase(2, 1, 1, 3, 300, 2, 2, mask="float", fill="normal", seed=18),
    ),
    needs=("gradient",),
    after=("gradients_agree_with_the_definition",),
    examples=0.1,
)  # fmt: skip
def gradients_agree_at_every_length(attend: Any, x: Inputs) -> Verdict:
    """The gradients are those of the definition for sequences at and beside every multiple of 8, and for long ones.

    dQ, dK, dV for Tq = Tk ∈ {1, …, 9, 15, 16, 17, 23, …, 136}, causal and not in turn, and for three queries or
    three keys with 192, 193, 256, 257, …, 1024, 1025 of the others; causal, and with a mask, at 260

    Why: the backward pass walks through tiles of queries and of keys in the other order, and its borders
    are not those of the forward pass.
    """
    if x.size("Q") != x.size("K"):
        long = "Q" if x.size("Q") > x.size("K") else "K"
        sizes = [size for size in LONG if size <= x.size(long)] or [x.size(long)]
        return every(*[gradients_within(attend, x.take(long, np.arange(size))) for size in sizes])
    if x.size("Q") > BESIDE_EIGHTS[-1]:
        return gradients_within(attend, x)
    verdicts = []
    for place, size in enumerate(size for size in BESIDE_EIGHTS if size <= x.size("Q")):
        square = x.take("Q", np.arange(size)).take("K", np.arange(size))
        causal = attend.can("causal") and place // 3 % 2 == 1
        verdicts.append(gradients_within(attend, square.but(causal=causal)))
    return every(*verdicts)
