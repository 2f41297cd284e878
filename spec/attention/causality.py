"""Attention's causality: the future has no influence, and everything up to the present has."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.reference.attention import visibility
from seqlaws.spec.attention import BASICS, attention, cases, loudness, masked, visible
from seqlaws.spec.attention.drawing import AttentionCase, besides
from seqlaws.verdict import Verdict, consistent, differs, every, identical, vacuous

CAUSAL = besides(
    cases(causal=True, mask="none"),
    AttentionCase(3, 2, 2, 5, 5, 2, 3, causal=True, fill="deep", seed=16),
)
COMPARED = cases(causal=True, mask="none", fill="moderate")


@law(attention, STRUCTURE, cases=CAUSAL, needs=("causal",), after=("heads_do_not_mix",))
def the_future_has_no_influence(attend: Any, x: Inputs) -> Verdict:
    """Under is_causal, later keys and values have no influence on the output, not by a single bit.

    j > i  ⇒  ∂o_i/∂k_j = ∂o_i/∂v_j = 0

    Why: a model that sees the token it shall predict trains to a wonderful loss and generates noise.
    """
    start = x.rng("future").integers(0, x.size("K"), x.size("B"))
    late = np.arange(x.size("K")) >= start.reshape(-1, 1)
    before = ~np.any(visible(x, attend.dialect) & late[:, None, None, :], axis=-1)
    if not before.any():
        return vacuous()
    later = late[:, None, :, None]
    k = np.where(later, loudness(x) * x.signs("future keys", x.k.shape), x.k)
    v = np.where(later, loudness(x) * x.signs("future values", x.v.shape), x.v)
    return identical(attend(x.but(k=k, v=v)).where(before), attend(x).where(before))


@law(
    attention,
    STRUCTURE,
    cases=cases(causal=True, mask="none", fill="faint"),
    needs=("causal",),
    after=("the_future_has_no_influence",),
)
def the_present_has_influence(attend: Any, x: Inputs) -> Verdict:
    """Under is_causal, a query sees every key up to its own position, its own included.

    j ≤ i  ⇒  ∂o_i/∂v_j = p_ij·I ≠ 0

    Why: a causal mask that is one too strict loses the newest token, and one aligned to the wrong
    corner loses the whole past where Tq ≠ Tk; neither leaks, so only this law sees it.
    """
    key = x.rng("present").integers(0, x.size("K"), x.size("B"))
    plain, seen, verdicts = attend(x), visible(x, attend.dialect), []
    for chosen in (key, np.minimum(key, min(x.size("Q"), x.size("K")) - 1), np.zeros_like(key)):
        sees = np.take_along_axis(seen, chosen.reshape(-1, 1, 1, 1), axis=3)[..., 0]
        v = x.v.copy()
        v[np.arange(x.size("B")), :, chosen] += 100.0
        verdicts.append(differs(attend(x.but(v=v)), plain, among=sees))
    return every(*verdicts)


@law(attention, STRUCTURE, cases=COMPARED, needs=("causal", "bool_mask|float_mask"), after=BASICS)
def is_causal_equals_the_triangular_mask(attend: Any, x: Inputs) -> Verdict:
    """The flag gives what the triangular mask gives, for Tq < Tk, Tq = Tk and Tq > Tk.

    is_causal  ≡  mask_ij = (j ≤ i);  with bottom-right alignment  j ≤ i + Tk − Tq

    Why: flag and mask take different kernels, and they differ first where Tq ≠ Tk.
    """
    triangle = visibility(x.size("Q"), x.size("K"), None, True, attend.dialect["alignment"])
    return consistent(attend(x), attend(masked(attend, x.but(causal=False), triangle)))


@law(
    attention,
    STRUCTURE,
    cases=cases(causal=True, mask=("bool", "float"), pattern="random", fill="moderate"),
    needs=("causal_with_mask", "causal", "bool_mask|float_mask"),
    after=("is_causal_equals_the_triangular_mask",),
)
def causality_and_a_mask_both_apply(attend: Any, x: Inputs) -> Verdict:
    """With is_causal and a mask, a key is visible only where both allow it.

    visible_ij = (j ≤ i) ∧ mask_ij

    Why: the common faults take one for the other: the mask replaces the flag, or the flag the mask.
    """
    triangle = visibility(x.size("Q"), x.size("K"), None, True, attend.dialect["alignment"])
    return consistent(attend(x), attend(masked(attend, x.but(causal=False), triangle)))


@law(
    attention,
    STRUCTURE,
    cases=COMPARED,
    needs=("causal",),
    after=("a_hidden_key_is_a_removed_key", "chunks_of_queries_equal_one_call"),
)
def a_causal_prefix_is_the_start_of_the_whole(attend: Any, x: Inputs) -> Verdict:
    """Causal attention over the first n tokens gives the first n outputs of the whole.

    attend(x_{1..n}) = attend(x_{1..T})_{1..n}

    Why: this is what lets a model generate token by token what it was trained on all at once.
    """
    size = min(x.size("Q"), x.size("K"))
    x = x.take("Q", np.arange(size)).take("K", np.arange(size))
    cut = int(x.rng("prefix").integers(1, size + 1))
    prefix = x.take("Q", np.arange(cut)).take("K", np.arange(cut))
    return consistent(attend(prefix), attend(x)[:, :, :cut])


@law(
    attention,
    STRUCTURE,
    cases=COMPARED,
    needs=(
        "cross_length",
        "causal",
    ),
    after=("is_causal_equals_the_triangular_mask", "queries_are_independent"),
)
def the_last_causal_row_sees_everything(attend: Any, x: Inputs) -> Verdict:
    """The last row of causal self-attention is one query over all keys.

    attend(q, k, v, causal)_T = attend(q_T, k, v)

    Why: it is the step of a decoder with a cache, asked both ways.
    """
    size = min(x.size("Q"), x.size("K"))
    x = x.take("Q", np.arange(size)).take("K", np.arange(size))
    return consistent(attend(x)[:, :, -1:], attend(x.take("Q", [size - 1]).but(causal=False)))
