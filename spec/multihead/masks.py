"""Multi-head attention's masks: what is hidden has no part in the output, however the mask is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.attention import MASK_SHAPES, masked
from seqlaws.spec.multihead import multihead, replaced, visible, written_out
from seqlaws.spec.multihead.drawing import cases
from seqlaws.verdict import Output, Verdict, consistent, every, not_finite, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

ANY_MASK = ("bool_mask|float_mask",)
WITH_MASK = cases(mask=("bool", "float"))


@law(
    multihead,
    STRUCTURE,
    cases=cases(mask="bool", mask_axes=MASK_SHAPES),
    needs=("bool_mask", "float_mask"),
    after=("hidden_tokens_are_inert",),
)
def a_bool_mask_equals_its_additive_form(mha: Run, x: Inputs) -> Verdict:
    """A bool mask and the same mask as numbers give the same output.

    mask = M  ≡  mask = (0 where M, −∞ elsewhere)

    Why: a layer turns one into the other before it hands them on, and gets the polarity, the dtype or
    the place wrong.
    """
    return consistent(mha(x), mha(x.but(mask=np.where(x.mask, 0.0, -np.inf))))


@law(
    multihead,
    STRUCTURE,
    cases=cases(mask=("bool", "float"), mask_axes="BHQK", pattern=("random", "right", "anticausal")),
    needs=ANY_MASK,
    after=("hidden_tokens_are_inert",),
    examples=0.5,
)
def a_broadcast_mask_equals_its_expansion(mha: Run, x: Inputs) -> Verdict:
    """A mask of shape [1,1,Tq,Tk], [B,1,1,Tk], [H,Tq,Tk] … gives what the mask written out gives.

    mha(mask) = mha(mask expanded to [B,H,Tq,Tk])

    Why: batch and heads are often one folded axis. A mask per entry and a mask per head have the same
    shape when B = H, and are laid along the wrong axis without any error.
    """
    verdicts = []
    for spelled in MASK_SHAPES:
        kept = [slice(None) if letter in spelled else slice(0, 1) for letter in "BHQK"]
        part = x.mask[tuple(kept)]
        small = part.reshape(part.shape[4 - len(spelled) :])
        written = np.broadcast_to(part, x.mask.shape).copy()
        short = replace(
            x, arrays={**x.arrays, "mask": small}, axes={**x.axes, "mask": "BHQK"[-small.ndim :]}, _sizes={}
        )
        verdicts.append(consistent(mha(short), mha(x.but(mask=written))).called(f"mask of {list(small.shape)}"))
    return every(*verdicts)


@law(
    multihead,
    STRUCTURE,
    cases=cases(mask="none", mask_axes="BHQK"),
    needs=ANY_MASK,
    after=("hidden_tokens_are_inert",),
)
def no_mask_equals_a_mask_that_hides_nothing(mha: Run, x: Inputs) -> Verdict:
    """Leaving the mask out gives what a mask that hides nothing gives.

    mask = None  ≡  mask = all True  ≡  mask = 0

    Why: the two take different paths, often with another default for causality, and differ most often
    where Tq ≠ Tk.
    """
    if x.causal and not mha.can("causal_with_mask"):
        x = x.but(causal=False)
    shape = (1, 1, x.query.shape[1], written_out(x).key.shape[1])
    forms = [np.ones(shape, dtype=bool)] if mha.can("bool_mask") else []
    forms += [np.zeros(shape)] if mha.can("float_mask") else []
    plain = mha(x)
    return every(*[consistent(mha(x.but(mask=form)), plain) for form in forms])


@law(multihead, STRUCTURE, cases=WITH_MASK, needs=ANY_MASK, after=("hidden_tokens_are_inert",))
def an_empty_row_follows_its_dialect(mha: Run, x: Inputs) -> Verdict:
    """A query that sees no key in any head gets what the dialect says; the others get what they had.

    M_i = ∅  ⇒  out_i = W_o·0 + b_o (or NaN, or W_o·mean(v) + b_o),  out_k unchanged for k ≠ i

    Why: 0/0 gives NaN, and the next layer spreads it over the batch. One path of a library fills the
    row with zeros and another with NaN, so that a model breaks on the day a flag changes.
    """
    if x.causal and not mha.can("causal_with_mask"):
        x = x.but(causal=False)
    empty = np.arange(x.query.shape[1]) % 3 == x.seed % 3
    empty[0] |= not empty.any()
    emptied = masked(mha, x, ~empty.reshape(-1, 1))
    out = mha(emptied)
    rest = consistent(out[:, ~empty], mha(x)[:, ~empty])
    return every(_as_declared(mha, emptied, out, empty).called("empty row"), rest.called("other rows"))


def _as_declared(mha: Run, x: Inputs, out: Output, empty: Array) -> Verdict:
    """Whether the rows that see nothing, in [B,Q] or for all entries in [Q], hold what the dialect says."""
    empty, open_to_all = np.broadcast_to(empty, out.shape[:2]), x.but(mask=None, causal=False)
    match mha.dialect["empty_row"]:
        case "nan":
            return not_finite(out.value[empty])
        case "zeros":
            due = mha(open_to_all.but(W_o=np.zeros_like(x.W_o)))
        case _:  # no query prefers any key: the mean of all
            due = mha(open_to_all.but(W_q=np.zeros_like(x.W_q), b_q=np.zeros_like(x.b_q)))
    return consistent(out[empty], due[empty])


@law(
    multihead,
    STRUCTURE,
    cases=cases(mask=("none", "bool"), mask_axes="BHQK"),
    needs=ANY_MASK,
    when={"empty_row": ("zeros",)},
    after=("an_empty_row_follows_its_dialect",),
)
def an_empty_head_contributes_nothing(mha: Run, x: Inputs) -> Verdict:
    """Where a query sees no key in one of the heads, the other heads go on as if that head were not there.

    M_h = ∅  ⇒  out = W_o[:, all heads but h]·o + b_o

    Why: masks per head are rare, so the check for empty rows is made for the row and not for the head,
    and one empty head spoils or silences the others.
    """
    if x.num_heads < 2:
        return vacuous()
    if x.causal and not mha.can("causal_with_mask"):
        x = x.but(causal=False)
    head = int(x.rng("empty head").integers(x.num_heads))
    others = np.arange(x.num_heads) != head
    emptied = masked(mha, x, np.broadcast_to(others[:, None, None], visible(x, mha.dialect).shape))
    rest = np.repeat(others, x.size("F") // x.num_heads) * x.W_o
    return consistent(mha(emptied), mha(x.but(W_o=rest)))


@law(
    multihead,
    STRUCTURE,
    cases=cases(causal=True, mask="none", mask_axes="B11K"),
    needs=("causal_with_mask", "causal", "bool_mask|float_mask"),
    when={"alignment": ("top_left",)},
    after=("an_empty_row_follows_its_dialect", "causality_and_a_mask_both_apply"),
)
def left_padding_under_causality_leaves_empty_rows(mha: Run, x: Inputs) -> Verdict:
    """Where left padding and causality together hide every key, the row is empty and follows its dialect.

    M_i ∩ {j ≤ i} = ∅  ⇒  out_i = W_o·0 + b_o (or NaN, or W_o·mean(v) + b_o)

    Why: neither mask alone has an empty row, so a test of each alone never sees one.
    """
    keys = written_out(x).key.shape[1]
    start = x.rng("left padding").integers(0, keys, x.size("B"))
    if not x.causal or not start.any():
        return vacuous()
    padded = masked(mha, x, (np.arange(keys) >= start[:, None])[:, None, None])
    return _as_declared(mha, padded, mha(padded), np.arange(x.query.shape[1]) < start[:, None])


@law(
    multihead,
    STRUCTURE,
    cases=cases(form="self", mask="none", mask_axes="BHQK", causal=(False, True)),
    needs=ANY_MASK,
    after=("batch_entries_do_not_mix", "tokens_carry_no_position", "hidden_tokens_are_inert"),
)
def a_padded_sequence_equals_the_sequence_alone(mha: Run, x: Inputs) -> Verdict:
    """Padding on either side, of any length and content, changes nothing for the tokens that are real.

    mha([x; padding], visible: x alone) at x = mha(x)

    Why: sequences of different lengths share a batch, and what a model says of one must not depend on
    how long its neighbours are. Left padding and batches of one are where this fails.
    """
    if x.causal and not mha.can("causal_with_mask"):
        x = x.but(causal=False)
    batch, length = x.query.shape[:2]
    sizes = x.rng("real tokens").integers(1, length + 1, batch)
    starts = (length - sizes) * x.rng("side").integers(0, 2, batch)
    real = (np.arange(length) >= starts[:, None]) & (np.arange(length) < (starts + sizes)[:, None])
    if real.all():
        return vacuous()
    out = mha(masked(mha, replaced(x, ~real), real[:, None, None]))
    return every(*[
        consistent(mha(x.take("B", [row]).take("Q", np.flatnonzero(real[row]))), out[row : row + 1, real[row]])
        for row in sorted({0, batch - 1, int(np.argmin(sizes))})
    ])  # fmt: skip
