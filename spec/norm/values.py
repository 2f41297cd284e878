"""Normalisation's values and gradients: compared with the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, VALUES, law
from seqlaws.spec.norm import SHIFTED, WITHOUT_EPSILON, cases, every_width, gentle, many_rows, norm, some_rows
from seqlaws.variants import few
from seqlaws.verdict import Verdict, equals, every, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run

SMOOTH = cases(fill="smooth")
KNOWN = ("has_a_gradient_that_sums_to_zero", "agrees_with_its_gradient")


@law(norm, VALUES, cases=cases(WITHOUT_EPSILON))
def agrees_with_its_definition(norm: Run, x: Inputs) -> Verdict:
    """The output is the row less its mean, over the root of its variance and ε, times gain, plus shift.

    y = (x − mean(x)) / √(mean((x − mean(x))²) + ε) ⊙ gain + shift   (for rms: without the mean); ε may be 0

    Why: this is the equation itself, on rows of every size and spread; it is the backstop for every
    fault that all ways of asking have in common.

    Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450; Zhang & Sennrich 2019, arXiv:1910.07467.
    """
    return within(norm(x))


@law(norm, VALUES, cases=every_width(), after=("agrees_with_its_definition",), examples=0.1)
def agrees_at_every_width(norm: Run, x: Inputs) -> Verdict:
    """The definition holds for rows of every length, for many rows, and for one axis or six.

    y = norm(x) for D = 1 … 130, about 256, 512, 1024, 2048, 4096 and 8192, 12 288 and 16 385; up to 65 537 rows

    Why: kernels have a body for whole vectors and a tail for the rest. Most faults of the tail show at
    a few lengths only.
    """
    return within(norm(x))


@law(norm, VALUES, cases=cases(fill="loud"), after=("agrees_with_its_definition",))
def loud_rows_are_normalised(norm: Run, x: Inputs) -> Verdict:
    """As long as the squares of a row can be summed, it is normalised.

    Σ x_i² ≤ largest / 16  ⇒  y = norm(x)

    Why: the size of the input cancels. A power, or a factor of n, more than the definition has
    overflows long before, and the row comes out as NaN, or silently as the shift.
    """
    return within(norm(x))


@law(norm, VALUES, cases=cases(fill="offset"), after=("agrees_with_its_definition",))
def survives_a_large_common_part(norm: Run, x: Inputs) -> Verdict:
    """Rows whose mean is thousands of times their spread keep what is left of their digits.

    |mean(x)| ≫ √v  ⇒  |ŷ − y| ≤ the error of a variance of differences: O(n u |mean|/√v)

    Why: mean(x²) − mean(x)² needs one pass and loses twice the digits, down to a negative variance.
    Residual streams do have such channels.

    Source: Chan, Golub & LeVeque 1983, The American Statistician 37(3).
    """
    return within(norm(x))


@law(norm, GRADIENTS, cases=SMOOTH, needs=("gradient",), when={"kind": ("layer",)})
def has_a_gradient_that_sums_to_zero(norm: Run, x: Inputs) -> Verdict:
    """The gradient along a row sums to 0.

    Σ_i ∂⟨y, g⟩/∂x_i = 0

    Why: a shift of the whole row changes nothing, so nothing may be gained by one. It fails where the
    mean is treated as a constant in the backward pass.
    """
    total = norm.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"].sum(axis=-1)
    return equals(total, np.zeros(total.shape))


@law(norm, GRADIENTS, cases=SMOOTH, needs=("gradient",), after=("has_a_gradient_that_sums_to_zero",))
def agrees_with_its_gradient(norm: Run, x: Inputs) -> Verdict:
    """The gradients are those of the definition, for the row, the gain and the shift.

    ∂⟨y, g⟩/∂x = (h − mean(h) − z·mean(h ⊙ z)) / s,  h = g ⊙ gain;  ∂/∂gain = Σ g ⊙ z;  ∂/∂shift = Σ g

    Why: the backward pass is a kernel of its own, with two means of its own, and it is tested less; a
    model with a wrong one still trains, only worse.
    """
    return _gradients(norm, x)


@law(norm, GRADIENTS, cases=few(SMOOTH), needs=("gradient",), after=KNOWN, examples=0.25)
def a_row_of_zeros_has_a_gradient(norm: Run, x: Inputs) -> Verdict:
    """Rows of zeros have the gradient of the definition, beside other rows, and none of them is NaN.

    x_i = 0 for all i  ⇒  ∂⟨y, g⟩/∂x = (h − mean(h)) / √ε,  h = g ⊙ gain   (for rms: h / √ε)

    Why: padding is a row of zeros. The root of a sum of squares has no derivative there: one that is taken
    before ε is added sends back 0/0, and the gradient of every weight is NaN.
    """
    kept = some_rows(x, "rows that are not zero")
    return _gradients(norm, gentle(x.but(x=np.where(kept, x.x, 0.0))))


@law(norm, GRADIENTS, cases=cases(fill="offset"), needs=("gradient",), after=KNOWN, examples=0.5)
def its_gradient_survives_a_large_common_part(norm: Run, x: Inputs) -> Verdict:
    """Rows whose mean is thousands of times their spread have the gradient of the definition too.

    |mean(x)| ≫ √v  ⇒  the errors of ∂⟨y, g⟩/∂x and ∂/∂gain grow with |mean|/√v, and not with its square

    Why: a backward pass that keeps only the row computes mean and variance again, by a program of its own.
    One pass is enough for most rows, and loses the rest.
    """
    return _gradients(norm, gentle(x))


@law(
    norm,
    GRADIENTS,
    cases=every_width("smooth"),
    needs=("gradient",),
    after=KNOWN,
    examples=0.1,
)
def agrees_with_its_gradient_at_every_width(norm: Run, x: Inputs) -> Verdict:
    """The gradients are those of the definition for rows of every length, and for many rows.

    ∂⟨y, g⟩/∂x, ∂/∂gain and ∂/∂shift for D = 1 … 130, about 256 … 8192, 12 288 and 16 385; up to 65 537 rows

    Why: the backward pass sums along the rows for one gradient and across them for the others, each with
    a tail of its own. Widths in use are multiples of 64, and tests have few rows.
    """
    return _gradients(norm, x)


@law(
    norm,
    GRADIENTS,
    cases=many_rows("smooth"),
    needs=("gradient",),
    after=(*KNOWN, "agrees_with_its_gradient_at_every_width"),
    examples=0.1,
)
def gradients_of_many_rows_add_up(norm: Run, x: Inputs) -> Verdict:
    """The gradients of gain and shift are whole where what many rows send back has one sign.

    ∂⟨y, g⟩/∂gain and ∂/∂shift for g ≥ 0 and up to 65 537 rows; in a half type where sums="wide" is declared

    Why: a sum that is kept in a half type stands still once its parts are less than half of its last digit. What
    noise sends back cancels, and never gets there; losses have a sign.
    """
    if x.format.half and norm.dialect["sums"] == "own":
        return vacuous()
    return _gradients(norm, x, np.abs)


def _gradients(norm: Run, x: Inputs, change: Callable[[Array], Array] = np.asarray) -> Verdict:
    """Whether all gradients are those of the definition, for noise that arrives, or for what is made of it."""
    of = ("x", "gain", "shift") if norm.dialect["kind"] in SHIFTED else ("x", "gain")
    found = norm.gradient(x, change(x.noise("gradient of the output", x.x.shape)), of)
    return every(*(within(found[name]).called(f"∂/∂{name}") for name in of))
