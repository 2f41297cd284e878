"""Attention's masks: what is hidden has no part in the output, however the mask is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, STRUCTURE, law
from seqlaws.spec.attention import (
    BASICS,
    MASK_SHAPES,
    alive,
    attention,
    cases,
    emptied,
    loudness,
    masked,
    visible,
)
from seqlaws.spec.attention.drawing import AttentionCase, besides
from seqlaws.subject import Cases, Claims
from seqlaws.verdict import Output, Verdict, consistent, differs, equals, every, identical, not_finite, vacuous

ANY_MASK = ("bool_mask|float_mask",)
MASK_AND_LENGTHS = ("bool_mask|float_mask", "cross_length")
WITH_MASK = besides(
    cases(mask=("bool", "float"), mask_axes=MASK_SHAPES, pattern=("random", "left", "right"), causal=False),
    AttentionCase(3, 2, 2, 4, 5, 2, 3, mask="bool", fill="deep", seed=15),
)
COMPARED = besides(
    cases(
        mask=("bool", "float"),
        mask_axes=MASK_SHAPES,
        pattern=("random", "left", "right"),
        causal=False,
        fill="moderate",
    ),
    AttentionCase(3, 2, 1, 3, 70, 4, 4, mask="bool", mask_axes="B11K", pattern="left", fill="moderate", seed=14),
)


def _with_rows_before_the_first_key() -> Cases:
    """Masks of both kinds; and more queries than keys, aligned so that the first of them see none."""
    usual = cases(mask=("bool", "float"), fill="moderate")
    tall = AttentionCase(2, 2, 1, 7, 3, 4, 4, causal=True, fill="normal", seed=13)

    def always(claims: Claims) -> Iterable[Any]:
        yield from usual.always(claims)
        if claims.dialect["alignment"] == "bottom_right" and {"causal", "cross_length"} <= claims.can:
            yield tall if "grouped_query" in claims.can else replace(tall, kv_heads=2)

    return Cases(always, usual.strategy)


@law(attention, STRUCTURE, cases=WITH_MASK, needs=ANY_MASK, after=("heads_do_not_mix",))
def hidden_keys_are_inert(attend: Any, x: Inputs) -> Verdict:
    """What a hidden key and its value hold has no influence on the output, not by a single bit.

    m_ij = False (or −∞)  ⇒  ∂o_i/∂k_j = ∂o_i/∂v_j = 0

    Why: padding and forbidden tokens leak through every mask that is inverted, broadcast along the
    wrong axis, skipped on one path, or added as a large number instead of −∞.
    """
    key = x.rng("hidden key").integers(0, x.size("K"), x.size("B"))
    hidden = ~np.take_along_axis(visible(x, attend.dialect), key.reshape(-1, 1, 1, 1), axis=3)[..., 0]
    if not hidden.any():
        return vacuous()
    rows, plain = np.arange(x.size("B")), attend(x).where(hidden)
    verdicts = []
    for purpose, loud in (("noise", np.ones((x.size("B"), 1, 1, 1))), ("shout", loudness(x))):
        k, v = x.k.copy(), x.v.copy()
        k[rows, :, key] = loud[:, 0] * x.signs(purpose, k[rows, :, key].shape)
        v[rows, :, key] = loud[:, 0] * x.signs(purpose + " values", v[rows, :, key].shape)
        verdicts.append(identical(attend(x.but(k=k, v=v)).where(hidden), plain))
    return every(*verdicts)


@law(
    attention,
    STRUCTURE,
    cases=cases(mask=("bool", "float"), fill="faint", causal=False),
    needs=ANY_MASK,
    after=("hidden_keys_are_inert",),
)
def visible_keys_have_influence(attend: Any, x: Inputs) -> Verdict:
    """Every visible key has a share in the output, the first and the last one too.

    m_ij = True  ⇒  ∂o_i/∂v_j = p_ij·I ≠ 0

    Why: a mask that hides too much passes every test of what must be hidden. Dropped last tiles,
    causal masks on cross-attention and keys beyond a block show here.
    """
    seen = visible(x, attend.dialect)
    somewhere = x.rng("visible key").integers(0, x.size("K"), x.size("B"))
    plain, verdicts = attend(x), []
    for key in (np.zeros_like(somewhere), np.full_like(somewhere, x.size("K") - 1), somewhere):
        sees = np.take_along_axis(seen, key.reshape(-1, 1, 1, 1), axis=3)[..., 0]
        v = x.v.copy()
        v[np.arange(x.size("B")), :, key] += 100.0
        verdicts.append(differs(attend(x.but(v=v)), plain, among=sees))
    return every(*verdicts)


@law(attention, STRUCTURE, cases=COMPARED, needs=MASK_AND_LENGTHS, after=("an_empty_row_follows_its_dialect",))
def a_hidden_key_is_a_removed_key(attend: Any, x: Inputs) -> Verdict:
    """Hiding some keys from every query gives what removing them gives.

    attend(q, k, v, mask: only j ∈ S) = attend(q, k_S, v_S)

    Why: a hidden key must leave the denominator too; one that keeps its share of the weights makes
    every output smaller, and the more so the more padding there is.
    """
    keep = np.flatnonzero(x.rng("kept").random(x.size("K")) < 0.6)
    keep = keep if keep.size else np.array([0])
    column = np.isin(np.arange(x.size("K")), keep)
    hidden, rest = masked(attend, x, column), x.take("K", keep)
    rows = alive(hidden, attend.dialect)  # the mean of no key at all is that of all, hidden or not
    return consistent(attend(hidden).where(rows), attend(rest).where(rows))


@law(
    attention,
    STRUCTURE,
    cases=cases(mask="bool", mask_axes=MASK_SHAPES, causal=False, fill="moderate"),
    needs=("bool_mask", "float_mask"),
    after=BASICS,
)
def a_bool_mask_equals_its_additive_form(attend: Any, x: Inputs) -> Verdict:
    """A bool mask and the same mask as numbers give the same output.

    mask = M  ≡  mask = (0 where M, −∞ elsewhere)

    Why: libraries turn one into the other and get the polarity, the dtype or the place wrong.
    """
    return consistent(attend(x), attend(x.but(mask=np.where(x.mask, 0.0, -np.inf))))


@law(attention, STRUCTURE, cases=COMPARED, needs=ANY_MASK, after=BASICS)
def a_broadcast_mask_equals_its_expansion(attend: Any, x: Inputs) -> Verdict:
    """A mask of shape [1,1,Tq,Tk], [B,1,1,Tk], [Tq,Tk] … gives what the mask written out gives.

    attend(mask) = attend(mask expanded to [B,H,Tq,Tk])

    Why: when two sizes coincide (B = H, B = Tq, Tq = Tk) a mask can be laid along the wrong axis
    without any error.
    """
    full = np.broadcast_to(x.mask, (*x.q.shape[:3], x.size("K"))).copy()
    whole = x.spelled(mask="BHQK").but(mask=full)
    return consistent(attend(x), attend(whole))


@law(
    attention,
    STRUCTURE,
    cases=cases(mask="none", fill="moderate"),
    needs=ANY_MASK,
    after=(*BASICS, "causality_and_a_mask_both_apply"),
)
def no_mask_equals_a_mask_that_hides_nothing(attend: Any, x: Inputs) -> Verdict:
    """Leaving the mask out gives what a mask that hides nothing gives.

    mask = None  ≡  mask = all True  ≡  mask = 0

    Why: the two take different paths through a library, often with another default for causality,
    and differ most often where Tq ≠ Tk.
    """
    shape = (1, 1, x.size("Q"), x.size("K"))
    forms = [np.ones(shape, dtype=bool)] if attend.can("bool_mask") else []
    forms += [np.zeros(shape)] if attend.can("float_mask") else []
    if x.causal and not attend.can("causal_with_mask"):
        x = x.but(causal=False)
    plain = attend(x)
    return every(*[consistent(attend(x.but(mask=form)), plain) for form in forms])


@law(
    attention,
    STRUCTURE,
    cases=cases(mask="float", mask_axes=MASK_SHAPES, fill="grid"),
    needs=("float_mask",),
    after=("a_hidden_key_is_a_removed_key", "a_bool_mask_equals_its_additive_form"),
)
def a_constant_added_to_a_row_of_the_mask_changes_nothing(attend: Any, x: Inputs) -> Verdict:
    """Adding one number to a whole row of the mask changes nothing.

    softmax(s + m + c·1) = softmax(s + m), with |c| up to 4096 and a fourth of what keeps m + c exact

    Why: it is the shift invariance of softmax, seen from outside; a mask that is multiplied, clamped,
    read as a bool or applied after the softmax breaks it. So does one whose large numbers are taken for
    −∞, and a running maximum that does not start low enough.
    """
    # the mask holds multiples of 1/4 up to 2; one shift is far larger than the next, and blurs what is near it
    exact = np.floor(0.25 / x.format.unit) - 2
    size = min(exact, (4.0, 64.0, 4096.0, np.rint(exact / 4))[x.seed % 4])
    shift = x.rng("row constants").choice([-size, -1.0, 1.0, size], (*x.mask.shape[:-1], 1))
    return consistent(attend(x.but(mask=x.mask + shift)), attend(x))


@law(
    attention,
    STRUCTURE,
    cases=_with_rows_before_the_first_key(),
    needs=ANY_MASK,
    after=(*BASICS, "causality_and_a_mask_both_apply"),
)
def an_empty_row_follows_its_dialect(attend: Any, x: Inputs) -> Verdict:
    """A query that sees no key gets what the dialect says, and the other queries get what they had.

    M_i = ∅  ⇒  o_i = 0 (or NaN, or the mean of all values),  o_k unchanged for k ≠ i

    Why: 0/0 gives NaN, NaN spreads to the whole batch with the next layer, and patching it with
    nan_to_num hides real faults. Left padding with a causal mask makes such rows every day, and an entry
    that is nothing but padding has no other.
    """
    rows = alive(x, attend.dialect)
    if x.mask is None and not rows.all():  # causality alone leaves rows without keys
        return _as_declared(attend, x, attend(x), ~rows)
    if x.causal and not attend.can("causal_with_mask"):
        x = x.but(causal=False)
    less = emptied(attend, x)
    rows, out = alive(less, attend.dialect), attend(less)
    declared = _as_declared(attend, less, out, ~rows).called("empty row")
    return every(declared, consistent(out.where(rows), attend(x).where(rows)).called("other rows"))


def _as_declared(attend: Any, x: Inputs, out: Output, empty: Array) -> Verdict:
    """Whether the empty rows, named as [B,H,Q], are what the dialect says."""
    match attend.dialect["empty_row"]:
        case "zeros":
            return identical(out.value[empty], np.zeros(out.value[empty].shape))
        case "nan":
            return not_finite(out.value[empty])
    groups = x.size("H") // x.size("G")
    mean = np.repeat(x.v.astype(x.format.wide), groups, axis=1).mean(axis=2, keepdims=True)
    return equals(out.where(empty), np.where(empty[..., None], mean, 0.0))


@law(
    attention,
    STRUCTURE,
    cases=cases(causal=True, mask=("bool", "float"), mask_axes="B11K", pattern="all"),
    needs=("causal_with_mask", "bool_mask|float_mask"),
    when={"alignment": ("top_left",)},
    after=("an_empty_row_follows_its_dialect", "causality_and_a_mask_both_apply"),
)
def left_padding_under_causality_leaves_empty_rows(attend: Any, x: Inputs) -> Verdict:
    """Where left padding and causality together hide every key, the row is empty and follows its dialect.

    M_i ∩ {j ≤ i} = ∅  ⇒  o_i = 0 (or NaN, or the mean of all values)

    Why: neither mask alone has an empty row, so a test of each alone never sees one.
    """
    if x.size("K") < 2:
        return vacuous()
    start = x.rng("left padding").integers(1, x.size("K"), x.size("B"))
    x = masked(attend, x, np.arange(x.size("K")) >= start.reshape(-1, 1, 1, 1))
    return _as_declared(attend, x, attend(x), ~alive(x, attend.dialect))


@law(
    attention,
    EDGES,
    cases=cases(mask=("bool", "float"), mask_axes=("B11K", "11QK", "BHQK"), fill="normal"),
    needs=ANY_MASK,
    when={"hidden_nan": ("inert",)},
)
def nan_in_a_hidden_key_stays_hidden(attend: Any, x: Inputs) -> Verdict:
    """NaN and infinity in a key or value do not reach the queries from which it is hidden.

    m_ij = False, k_j or v_j not finite  ⇒  o_i finite

    Why: uninitialised cache slots hold anything. 0·NaN is NaN, so this needs more than a weight of
    zero; an implementation that promises it declares the dialect hidden_nan='inert'. A key may be hidden
    from some queries alone, as the future is.
    """
    seen = visible(x, attend.dialect)
    key = x.rng("spoilt key").integers(0, x.size("K"), x.size("B"))
    spoilt = ~np.any(seen, axis=(1, 2)) | (np.arange(x.size("K")) == key.reshape(-1, 1))
    hidden = ~np.any(seen & spoilt[:, None, None, :], axis=-1)
    if not hidden.any():
        return vacuous()
    plain, verdicts = attend(x), []
    for poison in (np.nan, np.inf):
        for name in ("k", "v"):
            spoil = x.but(**{name: np.where(spoilt[:, None, :, None], poison, getattr(x, name))})
            # what is hidden has no part in the definition, nor in its bound
            out = Output(attend(spoil).value, lambda: (plain.reference, plain.bound, plain.slack))
            verdicts.append(consistent(out.where(hidden), plain.where(hidden)).called(name))
    return every(*verdicts)
