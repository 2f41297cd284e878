"""The encoder block's masks and padding: what is hidden has no part in what is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, STRUCTURE, law
from seqlaws.spec.attention import MASK_SHAPES, masked
from seqlaws.spec.encoder import ANY_MASK, encoder, replaced, visible, zeroed
from seqlaws.spec.encoder.drawing import cases
from seqlaws.spec.encoder.wiring import WIRED
from seqlaws.verdict import Verdict, consistent, differs, every, identical, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


def emptied_rows(x: Inputs) -> Array:
    """Which tokens are to see none: every third one, and at least one."""
    empty = np.arange(x.x.shape[1]) % 3 == x.seed % 3
    empty[0] |= not empty.any()
    return empty


PADDED = cases(mask=("bool", "float"), mask_axes="B11K", pattern=("random", "left", "right"))


@law(encoder, STRUCTURE, cases=PADDED, needs=ANY_MASK, after=WIRED)
def hidden_tokens_are_inert(block: Run, x: Inputs) -> Verdict:
    """What a hidden token holds has no influence on the others, not by a single bit.

    m_j = False (or −∞) for all queries  ⇒  ∂y_i/∂x_j = 0 for i ≠ j

    Why: padding leaks where a mask is read the wrong way round, lost on one path, or added as a large
    number instead of −∞.
    """
    hidden = ~np.broadcast_to(visible(x).any(axis=(1, 2)), x.x.shape[:2])
    if not hidden.any() or hidden.all():
        return vacuous()
    return identical(block(replaced(x, hidden)).value[~hidden], block(x).value[~hidden])


@law(
    encoder,
    STRUCTURE,
    cases=cases(mask=("bool", "none"), mask_axes=("B11K", "BHQK"), fill="normal", gain=1.0),
    after=WIRED,
)
def visible_tokens_have_influence(block: Run, x: Inputs) -> Verdict:
    """Every visible token has a share in the output, the first and the last one too.

    m_ij = True in some head  ⇒  ∂y_i/∂x_j ≠ 0

    Why: a mask that hides too much passes every test of what must be hidden. Dropped tails and
    causality that nobody asked for show here.
    """
    if x.x.shape[2] < 4:  # a norm over two channels gives ±1 and nothing else
        return vacuous()
    # equal weights and loud values: no share is so small that it is rounded away
    level = zeroed(x, "W_q", "b_q").but(W_v=16.0 * x.W_v)
    seen, plain, length = visible(x), block(level).value, x.x.shape[1]
    verdicts = []
    for token in sorted({0, length - 1, int(x.rng("visible token").integers(length))}):
        moved = x.x.copy()
        moved[:, token] = 2.0 * x.noise("other token", moved[:, token].shape)
        sees = seen[..., token].any(axis=1) & (np.arange(length) != token)
        verdicts.append(differs(block(level.but(x=moved)).value, plain, among=sees))
    return every(*verdicts)


@law(
    encoder,
    STRUCTURE,
    cases=cases(mask="bool", mask_axes=MASK_SHAPES),
    needs=("bool_mask", "float_mask"),
    after=(*WIRED, "hidden_tokens_are_inert"),
)
def a_bool_mask_equals_its_additive_form(block: Run, x: Inputs) -> Verdict:
    """A bool mask and the same mask as numbers give the same output.

    mask = M  ≡  mask = (0 where M, −∞ elsewhere)

    Why: a block turns one into the other before it hands them on, and gets the polarity, the dtype or
    the place wrong.
    """
    return consistent(block(x), block(x.but(mask=np.where(x.mask, 0.0, -np.inf))))


@law(
    encoder,
    STRUCTURE,
    cases=cases(mask=("bool", "float"), mask_axes="BHQK", pattern=("random", "right")),
    needs=ANY_MASK,
    after=(*WIRED, "hidden_tokens_are_inert"),
    examples=0.5,
)
def a_broadcast_mask_equals_its_expansion(block: Run, x: Inputs) -> Verdict:
    """A mask of shape [1,1,T,T], [B,1,1,T], [H,T,T] … gives what the mask written out gives.

    block(mask) = block(mask expanded to [B,H,T,T])

    Why: batch and heads are often one folded axis. A mask per entry and a mask per head have the same
    shape when B = H, and are laid along the wrong axis without any error.
    """
    verdicts = []
    for spelled in MASK_SHAPES:
        part = x.mask[tuple(slice(None) if letter in spelled else slice(0, 1) for letter in "BHQK")]
        small = part.reshape(part.shape[4 - len(spelled) :])
        axes = {**x.axes, "mask": "BHQK"[-small.ndim :]}
        short = replace(x, arrays={**x.arrays, "mask": small}, axes=axes, _sizes={})
        written = np.broadcast_to(part, x.mask.shape).copy()
        verdicts.append(consistent(block(short), block(x.but(mask=written))).called(f"mask of {list(small.shape)}"))
    return every(*verdicts)


@law(
    encoder,
    STRUCTURE,
    cases=cases(mask="none", mask_axes="BHQK"),
    needs=ANY_MASK,
    after=(*WIRED, "hidden_tokens_are_inert"),
)
def no_mask_equals_a_mask_that_hides_nothing(block: Run, x: Inputs) -> Verdict:
    """Leaving the mask out gives what a mask that hides nothing gives.

    mask = None  ≡  mask = all True  ≡  mask = 0

    Why: the two take different paths: fused without a mask, step by step with one.
    """
    shape = (1, 1, x.x.shape[1], x.x.shape[1])
    forms = [np.ones(shape, dtype=bool)] if block.can("bool_mask") else []
    forms += [np.zeros(shape)] if block.can("float_mask") else []
    plain = block(x)
    return every(*[consistent(block(x.but(mask=form)), plain) for form in forms])


@law(
    encoder,
    STRUCTURE,
    cases=cases(mask="none", mask_axes="BHQK"),
    needs=ANY_MASK,
    after=(*WIRED, "hidden_tokens_are_inert", "tokens_carry_no_position", "no_mask_equals_a_mask_that_hides_nothing"),
)
def a_padded_sequence_equals_the_sequence_alone(block: Run, x: Inputs) -> Verdict:
    """Padding on either side, of any length and content, changes nothing for the tokens that are real.

    block([padding; x; padding], visible: x alone) at x = block(x)

    Why: sequences of different lengths share a batch, and what a block makes of one must not depend on
    how long its neighbours are. Left padding and batches of one are where this fails.
    """
    batch, length = x.x.shape[:2]
    sizes = x.rng("real tokens").integers(1, length + 1, batch)
    starts = (length - sizes) * x.rng("side").integers(0, 2, batch)
    real = (np.arange(length) >= starts[:, None]) & (np.arange(length) < (starts + sizes)[:, None])
    if real.all():
        return vacuous()
    out = block(masked(block, replaced(x, ~real), real[:, None, None]))
    return every(*[
        consistent(block(x.take("B", [row]).take("Q", np.flatnonzero(real[row]))), out[row : row + 1, real[row]])
        for row in sorted({0, batch - 1, int(np.argmin(sizes))})
    ])  # fmt: skip


@law(
    encoder,
    EDGES,
    cases=cases(mask=("bool", "float"), mask_axes="BHQK", fill="normal"),
    needs=ANY_MASK,
)
def an_empty_row_follows_its_dialect(block: Run, x: Inputs) -> Verdict:
    """A token that sees none, itself included, gets what the dialect says; the others get what they had.

    M_i = ∅  ⇒  attention adds W_o·0 + b_o (or NaN, or W_o·mean(v) + b_o) to token i

    Why: 0/0 gives NaN, and the next block spreads it over the batch. One path of a library fills the
    row with zeros and another with NaN, so that a model breaks on the day a flag changes.
    """
    empty = emptied_rows(x)
    out = block(masked(block, x, ~empty.reshape(-1, 1)))
    return every(within(out), consistent(out[:, ~empty], block(x)[:, ~empty]))
