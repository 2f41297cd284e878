"""Rotary encoding's values and gradient, against the reference."""

from __future__ import annotations

from typing import Any

from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, VALUES, law
from seqlaws.spec.positions import FAR, exactly, squares
from seqlaws.spec.rotary import cases, every_size, rotary
from seqlaws.verdict import Verdict, consistent, every, within

NEAR = ("agrees_with_its_definition",)


@law(rotary, VALUES)
def agrees_with_its_definition(rotary: Any, x: Inputs) -> Verdict:
    """Every pair is turned by position · base^(−2i/r), counter-clockwise.

    (y_a, y_b) = (x_a cos θ − x_b sin θ, x_b cos θ + x_a sin θ),  θ = p · base^(−2i/r)

    Why: a wrong exponent or direction is still a rotation and still trains; but no weights from
    elsewhere fit it, and distances are seen at the wrong scale.

    Source: Su et al. 2021, equation 34
    """
    return within(rotary(x))


@law(rotary, VALUES, cases=every_size(), after=(*NEAR, "agrees_far_out"), examples=0.25)
def agrees_at_every_size(rotary: Any, x: Inputs) -> Verdict:
    """The definition holds for every length, width, number of heads and size of the batch.

    the definition, at T = 31 … 4097, D = 2 … 1024, H and B = 4 … 71

    Why: kernels work on blocks of 32, 64 or 128, and what is left at the end goes another way.
    """
    return within(rotary(x))


@law(rotary, VALUES, cases=cases(places="far"), after=NEAR)
def agrees_far_out(rotary: Any, x: Inputs) -> Verdict:
    """Positions up to 262 143 are turned by their own angles, in every dtype.

    the definition, at p = 255, 256, 257, 4095, 15 962, 32 767, 65 536, 262 143 …

    Why: bfloat16 knows no integer between 256 and 258, float16 none above 65 504, and 16 bits none at
    all above 65 535. Contexts are longer than that.
    """
    return within(rotary(x))


@law(rotary, VALUES, needs=("base",), after=NEAR)
def follows_its_base(rotary: Any, x: Inputs) -> Verdict:
    """The base that is given is used, near and far out, and 10 000 where none is given.

    rates base^(−2i/r) for base = 100, 10 000, 12 345.5, 12 345, 500 000 and 10⁶, whichever was used before;
    at positions up to 262 143 for 12 345 and 500 000

    Why: models for long contexts have a larger base. One that is ignored, or kept from the layer that
    came first, shows only as loss of quality.
    """
    bases = (100.0, 10_000.0, 12_345.5, 12_345.0, 500_000.0, None, 1_000_000.0)
    far = x.but(positions=x.rng("far positions").choice(FAR, x.positions.shape))
    asked = [*(x.but(base=base) for base in bases), *(far.but(base=base) for base in (12_345.0, 500_000.0))]
    return every(*(within(rotary(each)) for each in asked))


@law(rotary, GRADIENTS, needs=("gradient",))
def its_gradient_keeps_lengths(rotary: Any, x: Inputs) -> Verdict:
    """The gradient of every token is as long as the one that arrived.

    ‖∂⟨y, g⟩/∂x_t‖ = ‖g_t‖

    Why: a rotation neither damps nor amplifies, and its transpose does not either. Half of the gradient
    is lost where one of the two paths to a channel was cut.
    """
    g = x.noise("gradient of the output", x.x.shape)
    return consistent(squares(rotary.gradient(x, g, ("x",))["x"]), squares(exactly(g.astype(x.format.wide))))


@law(rotary, GRADIENTS, needs=("gradient",), after=("its_gradient_keeps_lengths",))
def its_gradient_is_the_inverse_rotation(rotary: Any, x: Inputs) -> Verdict:
    """The gradient is turned back by the angle by which the token was turned.

    ∂⟨y, g⟩/∂x = R(−p) g

    Why: backward kernels are the forward ones with a sign changed. Without it the gradient has the
    right length and the wrong direction, and training only slows down.
    """
    far = x.but(positions=x.rng("far positions").choice(FAR, x.positions.shape))
    bases = [far.but(base=500_000.0)] if rotary.can("base") else []
    g = x.noise("gradient of the output", x.x.shape)
    return every(*(within(rotary.gradient(each, g, ("x",))["x"]) for each in (x, far, *bases)))


@law(
    rotary,
    GRADIENTS,
    cases=every_size(),
    needs=("gradient",),
    after=("its_gradient_keeps_lengths", "its_gradient_is_the_inverse_rotation"),
    examples=0.25,
)
def its_gradient_agrees_at_every_size(rotary: Any, x: Inputs) -> Verdict:
    """The gradient is turned back for every length, width, number of heads and size of the batch.

    ∂⟨y, g⟩/∂x = R(−p) g, at T = 31 … 4097, D = 2 … 1024, H and B = 4 … 71

    Why: the backward kernel is another launch with another grid. Tokens behind its last full block get
    a gradient that was never turned, and the forward pass is right.
    """
    return within(rotary.gradient(x, x.noise("gradient of the output", x.x.shape), ("x",))["x"])
