"""The encoder block's values and gradients: compared with the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, VALUES, law
from seqlaws.spec.attention import masked
from seqlaws.spec.encoder import ANY_MASK, encoder, visible
from seqlaws.spec.encoder.drawing import (
    BORDERS,
    CLOSED,
    EXTREME,
    LARGE,
    LONG,
    PADDED_LENGTHS,
    PUNCTURED,
    WEIGHTS,
    besides,
    cases,
    every_length,
    every_width,
)
from seqlaws.spec.encoder.masks import PADDED, emptied_rows
from seqlaws.spec.encoder.wiring import PLAIN
from seqlaws.verdict import Output, Verdict, differs, every, finite, identical, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


@law(encoder, VALUES, cases=besides(cases(), *EXTREME, *PUNCTURED))
def agrees_with_its_definition(block: Run, x: Inputs) -> Verdict:
    """The output is that of attention and feed-forward part, each with its residual and its norm.

    a = x + mha(norm₁(x)), y = a + W_2·relu(W_1·norm₂(a) + b_1) + b_2   (pre-norm; post-norm alike)

    Why: this is the equation itself, on whatever sizes, masks and weights were drawn; it is the
    backstop for every fault that all ways of asking have in common.

    Source: Vaswani et al. 2017, section 3; Xiong et al. 2020, arXiv:2002.04745.
    """
    return within(block(x))


@law(
    encoder,
    VALUES,
    cases=besides(every_length(padded=PADDED_LENGTHS), *LONG),
    after=("agrees_with_its_definition",),
    examples=0.1,
)
def agrees_at_every_length(block: Run, x: Inputs) -> Verdict:
    """The definition holds for sequences of 1 to 17 tokens, and beside multiples of 8 to 64, of 16 to 128, and 256.

    y = block(x) for T = 1 … 17, 23, 24, 25, …, 63, 64, 65, 79, 80, 81, …, 127, 128, 129, 255, 256, 257; with masks for
    T = 129, 257

    Why: tables, buffers and tiles have a size, and so have masks. What is right up to it and wrong beyond
    passes every test with short sentences.
    """
    return within(block(x))


@law(encoder, VALUES, cases=besides(every_width(), *LARGE), after=("agrees_with_its_definition",), examples=0.1)
def agrees_at_every_width(block: Run, x: Inputs) -> Verdict:
    """The definition holds for tokens, heads and hidden units of every width, and for many heads.

    y = block(x) for E = 32 … 192, H = 12 and 16, F = 31 … 257, with and without a mask

    Why: the norms and the feed-forward part have tiles too, and their tails lie where no small model
    and no power of two gets.
    """
    return within(block(x))


@law(encoder, GRADIENTS, cases=PLAIN, needs=("gradient",))
def every_weight_receives_a_gradient(block: Run, x: Inputs) -> Verdict:
    """Each weight but the key bias gets a gradient, and so do both of its ends, where they act at all.

    ∂⟨y, g⟩/∂W ≠ 0 in the first and in the last row, for every W but b_k, unless a rectifier shut it out

    Why: a weight that is detached, copied or re-created on the way keeps its initial value for ever,
    and the loss goes down without it.
    """
    if x.x.size < 60 or min(x.x.shape) < 4:
        return vacuous()
    names = tuple(name for name in WEIGHTS if name != "b_k")
    found = block.gradient(x, x.noise("cotangent", x.x.shape), names)
    return every(*[_receives(found[name], place).called(name) for name in names for place in (0, -1)])


def _receives(gradient: Output, place: int) -> Verdict:
    """Whether one end of a weight gets a gradient, where the exact one is more than rounding."""
    due = bool((np.abs(gradient.reference[place]) > gradient.bound[place]).any())
    end = gradient.value[place].reshape(1, -1)
    return differs(end, np.zeros(end.shape), due)


@law(encoder, GRADIENTS, cases=PADDED, needs=("gradient", *ANY_MASK))
def hidden_tokens_receive_no_gradient(block: Run, x: Inputs) -> Verdict:
    """If the loss reads only tokens that do not see a token, that token gets a gradient of exactly 0.

    m_j = False for all queries, g_j = 0  ⇒  ∂⟨y, g⟩/∂x_j = 0

    Why: what does not reach the output must not be trained by it. Gradient that arrives at padding
    moves embeddings that nobody looked at.
    """
    hidden = ~np.broadcast_to(visible(x).any(axis=(1, 2)), x.x.shape[:2])
    if not hidden.any() or hidden.all():
        return vacuous()
    cotangent = np.where(hidden[..., None], 0.0, x.noise("cotangent", x.x.shape))
    found = block.gradient(x, cotangent, ("x",))["x"].value[hidden]
    return identical(found, np.zeros(found.shape))


@law(
    encoder,
    GRADIENTS,
    cases=cases(mask=("bool", "float"), mask_axes="BHQK", fill="normal"),
    needs=("gradient", *ANY_MASK),
    when={"empty_row": ("zeros",)},
    after=("an_empty_row_follows_its_dialect",),
    examples=0.5,
)
def an_empty_row_has_finite_gradients(block: Run, x: Inputs) -> Verdict:
    """A token that sees none, itself included, leaves every gradient finite.

    M_i = ∅  ⇒  no entry of ∂⟨y, g⟩/∂x and ∂⟨y, g⟩/∂W is NaN

    Why: a NaN that was replaced in the output is still there in the backward pass, and reaches every
    weight through the sum over tokens.
    """
    emptied = masked(block, x, ~emptied_rows(x).reshape(-1, 1))
    found = block.gradient(emptied, x.noise("cotangent", x.x.shape), block.subject.differentiable)
    return every(*[finite(each).called(name) for name, each in found.items()])


@law(
    encoder,
    GRADIENTS,
    cases=besides(cases(fill=("normal", "grid", "strong", "level"), gain=(0.5, 1.0)), *CLOSED),
    needs=("gradient",),
)
def agrees_with_the_gradient_of_its_definition(block: Run, x: Inputs) -> Verdict:
    """Tokens and weights get the gradients of the definition.

    ∂y/∂x = (1 + ∂ffn/∂norm₂·∂norm₂/∂a)·(1 + ∂mha/∂norm₁·∂norm₁/∂x)   (pre-norm; post-norm alike)

    Why: the 1 is what lets a gradient pass through a hundred blocks. A branch that is detached, or a
    backward pass of a fused part, is wrong while the output is right.
    """
    return _gradients(block, x)


@law(
    encoder,
    GRADIENTS,
    cases=every_width(),
    needs=("gradient",),
    after=("agrees_with_the_gradient_of_its_definition",),
    examples=0.1,
)
def agrees_with_its_gradient_at_every_width(block: Run, x: Inputs) -> Verdict:
    """Tokens and weights get the gradients of the definition at every width, and with many heads.

    ∂⟨y, g⟩/∂x, ∂⟨y, g⟩/∂W for E = 32 … 192, H = 12 and 16, F = 31 … 257, with and without a mask

    Why: the backward pass of a fused norm or feed-forward part has tiles of its own, and sums over
    tokens where the forward pass sums over channels.
    """
    return _gradients(block, x)


@law(
    encoder,
    GRADIENTS,
    cases=every_length(BORDERS),
    needs=("gradient",),
    after=("agrees_with_the_gradient_of_its_definition", "agrees_with_its_gradient_at_every_width"),
    examples=0.1,
)
def agrees_with_its_gradient_at_every_length(block: Run, x: Inputs) -> Verdict:
    """Tokens and weights get the gradients of the definition from short sequences and from long ones.

    ∂⟨y, g⟩/∂x, ∂⟨y, g⟩/∂W for T = 31 … 33, 48, 63 … 65, 96, 127 … 129, 257

    Why: a weight's gradient is a sum over all tokens, which a backward pass takes tile by tile. What is
    left out behind the last full tile is never missed: the model still learns, from less.
    """
    return _gradients(block, x)


def _gradients(block: Run, x: Inputs) -> Verdict:
    found = block.gradient(x, x.noise("cotangent", x.x.shape), block.subject.differentiable)
    return every(*[within(each).called(name) for name, each in found.items()])
