"""Softmax's values, its gradient, and its edges: compared with the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, GRADIENTS, VALUES, law
from seqlaws.reference.softmax import log_sum_exp
from seqlaws.spec.softmax import cases, every_width, row_axis, softmax, some_rows, some_widths
from seqlaws.verdict import Verdict, equals, every, identical, joined, same, vacuous, within


@law(softmax, VALUES, cases=cases(fill="normal"))
def merges_blocks(softmax: Any, x: Inputs) -> Verdict:
    """The softmax of a row is made of those of its two halves, weighted by their shares.

    p(a ∪ b) = [e^(ℓ(a) − ℓ) p(a), e^(ℓ(b) − ℓ) p(b)], with ℓ = log Σ_k exp(x_k) over the row or a half

    Why: kernels that go through a row block by block live on this identity. It also finds what is
    wrong in long rows only, since each half is a shorter one.

    Source: Milakov & Gimelshein 2018, arXiv:1805.02867.
    """
    letter, count = row_axis(x), x.x.shape[x.dim]
    if count < 2:
        return vacuous()
    cut = int(x.rng("cut").integers(1, count))
    # the maximum comes off first: the difference of two huge logarithms would be all rounding
    wide = x.x.astype(x.format.wide)
    centred = wide - wide.max(axis=x.dim, keepdims=True)
    halves = []
    for part in (np.arange(cut), np.arange(cut, count)):
        share = np.exp(log_sum_exp(centred.take(part, x.dim), x.dim) - log_sum_exp(centred, x.dim))
        halves.append(softmax(x.take(letter, part)) * share)
    return same(softmax(x), joined(halves, x.dim))


@law(softmax, VALUES)
def agrees_with_its_definition(softmax: Any, x: Inputs) -> Verdict:
    """The output is the exponential of each logit, divided by the sum of all.

    p_j = exp(x_j) / Σ_k exp(x_k)

    Why: this is the equation itself, far into the tails; it is the backstop for every fault that
    all ways of asking have in common.
    """
    return within(softmax(x))


@law(softmax, VALUES, cases=every_width(), after=("agrees_with_its_definition",), examples=0.1)
def agrees_at_every_width(softmax: Any, x: Inputs) -> Verdict:
    """The definition holds for rows of every length, short and long, and for any number of rows.

    p_j = exp(x_j) / Σ_k exp(x_k) for n = 1 … 130, about 160, 192, 256, … 8192, 32769, 65537 and for
    17 … 146, 1025 and 65537 rows, and for many rows that are long too, along the last axis and along the first;
    for 8193 of which the first 4096 may be −∞

    Why: kernels have a body for whole vectors and tiles, and a tail for the rest. Most faults of the
    tail show at a few lengths only.
    """
    moved = [x.but(x=np.moveaxis(x.x, x.dim, axis), dim=axis) for axis in (-1, 0)]
    return every(*(within(softmax(each)) for each in moved))


@law(softmax, GRADIENTS, needs=("gradient",))
def has_a_gradient_that_sums_to_zero(softmax: Any, x: Inputs) -> Verdict:
    """The gradient along the chosen axis sums to 0.

    Σ_j ∂⟨p, g⟩/∂x_j = 0

    Why: a shift of all logits changes nothing, so nothing may be gained by one. Where the sum is not
    0, training drifts along a direction that has no effect.
    """
    total = softmax.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"].sum(axis=x.dim)
    return equals(total, np.zeros(total.shape))


@law(softmax, GRADIENTS, needs=("gradient",))
def agrees_with_its_gradient(softmax: Any, x: Inputs) -> Verdict:
    """The gradient is that of the definition.

    ∂⟨p, g⟩/∂x_j = p_j (g_j − ⟨p, g⟩)

    Why: backward passes are written by hand and tested less; a model with a wrong one still trains,
    only worse.
    """
    return within(softmax.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"])


@law(
    softmax,
    GRADIENTS,
    needs=("gradient",),
    cases=some_widths(),
    after=("has_a_gradient_that_sums_to_zero", "agrees_with_its_gradient"),
    examples=0.1,
)
def agrees_with_its_gradient_at_every_width(softmax: Any, x: Inputs) -> Verdict:
    """The gradient is that of the definition for rows of every length, and for any number of rows.

    ∂⟨p, g⟩/∂x_j = p_j (g_j − ⟨p, g⟩) for n beside the multiples of 8 up to 130 and beside 160, 192, … 1024,
    4097 and 8193, and for 65537 rows

    Why: the backward kernel has tiles of its own, with a tail of their own; lengths at which the
    forward pass was tested say nothing about it.
    """
    return within(softmax.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"])


@law(
    softmax,
    GRADIENTS,
    needs=("gradient", "infinite"),
    cases=cases(hidden=0.4),
    after=("has_a_gradient_that_sums_to_zero", "agrees_with_its_gradient"),
)
def sends_no_gradient_to_minus_infinity(softmax: Any, x: Inputs) -> Verdict:
    """An entry of −inf gets a gradient of exactly 0, and the others get theirs.

    x_j = −∞  ⇒  ∂⟨p, g⟩/∂x_j = 0

    Why: what is behind a mask must not learn; and −∞ − (−∞) in a backward pass is NaN, which spreads
    to every weight of the model.
    """
    hidden = np.isneginf(x.x)
    if not hidden.any():
        return vacuous()
    gradient = softmax.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"]
    return every(identical(np.where(hidden, gradient.value, 0.0), np.zeros(x.x.shape)), within(gradient))


@law(softmax, EDGES, needs=("infinite",), cases=cases(hidden=0.3))
def follows_its_dialect_for_empty_rows(softmax: Any, x: Inputs) -> Verdict:
    """A row of −inf alone gives what the dialect says, and leaves the other rows as they are.

    x_j = −∞ for all j  ⇒  p_j = NaN, 0 or 1/n for all j

    Why: 0/0 has no right answer, so programs differ, and whoever calls them must know which one it
    is: padding, in any batch of unequal lengths, makes such rows.
    """
    empty = some_rows(x, "empty rows")
    if not empty.any():
        return vacuous()
    return within(softmax(x.but(x=np.where(empty, -np.inf, x.x))))


@law(
    softmax,
    EDGES,
    needs=("gradient", "infinite"),
    when={"empty_row": ("zeros",)},
    cases=cases(hidden=0.3),
    after=("follows_its_dialect_for_empty_rows",),
)
def sends_no_gradient_to_empty_rows(softmax: Any, x: Inputs) -> Verdict:
    """A row of −inf alone gets a gradient of exactly 0, and the other rows get theirs.

    x_j = −∞ for all j  ⇒  ∂⟨p, g⟩/∂x_j = 0 for all j

    Why: zeros that are put over the NaN of 0/0 hide it in the output alone. On the way back 0 times
    NaN is NaN, and one padded row spoils every weight behind it.
    """
    empty = some_rows(x, "empty rows")
    if not empty.any():
        return vacuous()
    x = x.but(x=np.where(empty, -np.inf, x.x))
    gradient = softmax.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"]
    return every(identical(np.where(empty, gradient.value, 0.0), np.zeros(x.x.shape)), within(gradient))
