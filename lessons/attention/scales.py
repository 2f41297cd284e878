"""Lessons about the scale: 0, numbers below it, integers, and what is hidden before it comes in."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    factor,
    finite,
    hidden,
    mixed,
    scores,
    shares,
    top,
    weights,
)


@lesson("attention", "nasty", caught_by=("agrees_at_every_scale",))
def takes_a_scale_of_zero_for_none(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """`scale or 1/√D`: a scale of 0 is taken for no scale at all.

    0 is false in Python. A learned temperature that starts at 0 starts at 1/√D.
    """
    return attend(q, k, v, mask, is_causal, scale or None)


@lesson("attention", "nasty", caught_by=("agrees_at_every_scale",))
def scales_the_maximum_of_the_products(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The largest product of a row is found first and scaled with the others: exp(scale·⟨q, k⟩ − scale·max).

    One multiplication less for each score. Below 0 it is the smallest score that is taken off, and exp overflows.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    if mask is None or mask.dtype == torch.bool:
        highest = factor(q, scale) * finite(top(hidden(scores(q, k, 1.0), mask, is_causal)))
    else:
        highest = finite(top(s))
    return mixed(shares(torch.exp(s - highest)), v)


@lesson("attention", "nasty", caught_by=("agrees_at_every_scale",))
def ignores_an_integer_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A scale that is an int is taken for none.

    `isinstance(scale, float)` is False for 1, and 1 is what a model without scaling asks for.
    """
    return attend(q, k, v, mask, is_causal, scale if isinstance(scale, float) else None)


@lesson("attention", "nasty", caught_by=("what_is_hidden_stays_hidden_at_every_scale",))
def hides_before_it_scales(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A bool mask is applied before the scale: −∞ times a scale of 0 is NaN.

    And times one below 0 it is +∞. Scales are positive in every test.
    """
    if mask is None or mask.dtype != torch.bool or factor(q, scale) > 0:
        return attend(q, k, v, mask, is_causal, scale)
    s = hidden(hidden(scores(q, k, 1.0), mask, False) * factor(q, scale), None, is_causal)
    return mixed(weights(s), v)


@lesson("attention", "nasty", caught_by=("what_is_hidden_stays_hidden_at_every_scale",))
def bends_before_it_scales(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The causal triangle is applied before the scale: −∞ times a scale of 0 is NaN.

    Without causality nothing is hidden, and a scale of 0 gives the mean.
    """
    if not is_causal or factor(q, scale) > 0:
        return attend(q, k, v, mask, is_causal, scale)
    return mixed(weights(hidden(hidden(scores(q, k, 1.0), None, True) * factor(q, scale), mask, False)), v)


@lesson("attention", "nasty", caught_by=("gradients_agree_at_every_scale",))
def walks_back_with_the_size_of_the_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass multiplies by |scale|.

    √|scale| is given to queries and to keys, and the sign, put back into the scores, is no part of the graph.
    """
    positive = scores(q, k, abs(factor(q, scale)))
    s = positive + (scores(q, k, scale) - positive).detach()
    return mixed(weights(hidden(s, mask, is_causal)), v)


@lesson("attention", "nasty", caught_by=("gradients_know_what_is_hidden_at_every_scale",))
def walks_back_through_what_it_hid_before_it_scaled(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass computes the scores anew, and there causality comes before the scale: −∞ · 0 is NaN.

    The forward pass scales first, and is right.
    """
    right = attend(q, k, v, mask, is_causal, scale)
    if not is_causal or factor(q, scale) > 0:
        return right
    again = mixed(weights(hidden(hidden(scores(q, k, 1.0), None, True) * factor(q, scale), mask, False)), v)
    shown: Tensor = Recomputed.apply(right, again)  # type: ignore[no-untyped-call]
    return shown


class Recomputed(torch.autograd.Function):
    """The first of two, with the gradient of the second."""

    @staticmethod
    def forward(ctx, shown: Tensor, walked: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return shown.clone()

    @staticmethod
    def backward(ctx, arriving: Tensor) -> tuple[None, Tensor]:  # type: ignore[no-untyped-def]
        return None, arriving
