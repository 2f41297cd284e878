"""Attention's scales: 0, numbers below it, integers, and what is hidden beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, VALUES, law
from seqlaws.spec.attention import attention, cases
from seqlaws.spec.attention.drawing import AttentionCase, adapted
from seqlaws.spec.attention.gradients import gradients_within
from seqlaws.subject import Cases, Claims
from seqlaws.verdict import Verdict, within

SMALL = AttentionCase(2, 2, 2, 3, 5, 4, 4, fill="normal", seed=7)
# a scale may be an integer
SCALED = tuple(replace(SMALL, scale=scale) for scale in (0.0, 2, -0.5))
# of scores times a scale below 0 the largest comes from the smallest product: take that for the largest, and exp
# overflows
DESCENDING = AttentionCase(2, 2, 2, 3, 5, 4, 4, scale=-0.5, fill="sharp", seed=8)
HIDING = tuple(
    replace(SMALL, scale=scale, mask=mask, causal=causal)
    for scale in (0.0, -0.5)
    for mask, causal in (("none", True), ("bool", False))
)


def _only(*some: AttentionCase) -> Cases:
    def always(claims: Claims) -> dict[AttentionCase, None]:
        return dict.fromkeys(adapted(case, claims, case.mask != "none") for case in some)

    return Cases(always, cases().strategy)


@law(
    attention,
    VALUES,
    cases=_only(*SCALED, DESCENDING),
    needs=("scale",),
    after=("agrees_with_its_definition",),
    examples=0.1,
)
def agrees_at_every_scale(attend: Any, x: Inputs) -> Verdict:
    """The definition holds for a scale of 0, for an integer, and below 0.

    scale = 0, 2, −1/2

    Why: `scale or 1/√D` takes the number 0 for nothing, a check for float overlooks the int, and below 0 the
    smallest product is the largest score.
    """
    return within(attend(x))


@law(
    attention,
    VALUES,
    cases=_only(*HIDING),
    needs=("scale",),
    after=("agrees_with_its_definition",),
    examples=0.1,
)
def what_is_hidden_stays_hidden_at_every_scale(attend: Any, x: Inputs) -> Verdict:
    """A hidden key stays hidden where the scale is 0 or below.

    scale = 0, −1/2, with causality or a mask

    Why: whoever hides before the scaling multiplies −∞ by it: NaN at 0, and +∞ below.
    """
    return within(attend(x))


@law(
    attention,
    GRADIENTS,
    cases=_only(*SCALED),
    needs=("scale", "gradient"),
    after=("gradients_agree_with_the_definition",),
    examples=0.1,
)
def gradients_agree_at_every_scale(attend: Any, x: Inputs) -> Verdict:
    """The gradients are those of the definition for a scale of 0, for an integer, and below 0.

    dQ, dK, dV for scale = 0, 2, −1/2

    Why: the scale comes in a second time on the way back, and there it has a default and a sign of its own.
    """
    return gradients_within(attend, x)


@law(
    attention,
    GRADIENTS,
    cases=_only(*HIDING),
    needs=("scale", "gradient"),
    after=("gradients_agree_at_every_scale", "nothing_flows_to_hidden_keys"),
    examples=0.1,
)
def gradients_know_what_is_hidden_at_every_scale(attend: Any, x: Inputs) -> Verdict:
    """The gradients are those of the definition where keys are hidden and the scale is 0 or below.

    dQ, dK, dV for scale = 0, −1/2, with causality or a mask

    Why: a backward pass computes the scores anew, and hides in an order of its own.
    """
    return gradients_within(attend, x)
