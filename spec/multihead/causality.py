"""Multi-head attention's causality: attention's laws, through projections and in self-attention too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.reference.attention import visibility
from seqlaws.spec.attention import masked
from seqlaws.spec.multihead import multihead, replaced, untouched, visible, written_out
from seqlaws.spec.multihead.drawing import cases
from seqlaws.spec.multihead.hiding import shows_influence
from seqlaws.verdict import Verdict, consistent, identical, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

CAUSAL = cases(causal=True, mask="none")


@law(multihead, STRUCTURE, cases=CAUSAL, needs=("causal",))
def the_future_has_no_influence(mha: Run, x: Inputs) -> Verdict:
    """Under is_causal, later tokens have no influence on the output, not by a single bit.

    j > i  ⇒  ∂out_i/∂key_j = ∂out_i/∂value_j = 0

    Why: a model that sees the token it shall predict trains to a wonderful loss and generates noise.
    The flag is easily lost between this layer and the attention inside it.
    """
    start = x.rng("future").integers(0, visible(x, mha.dialect).shape[3], x.size("B"))
    late = np.arange(visible(x, mha.dialect).shape[3]) >= start[:, None]
    before = untouched(x, mha.dialect, late)
    if not before.any():
        return vacuous()
    return identical(mha(replaced(x, late)).value[before], mha(x).value[before])


@law(
    multihead,
    STRUCTURE,
    cases=cases(causal=True, mask="none", form="separate", fill="faint", gain=1.0),
    needs=("causal",),
)
def the_present_has_influence(mha: Run, x: Inputs) -> Verdict:
    """Under is_causal, a query sees every token up to its own position, its own included.

    j ≤ i  ⇒  ∂out_i/∂value_j ≠ 0

    Why: a causal mask that is one too strict loses the newest token, and one aligned to the wrong
    corner loses the past where Tq ≠ Tk; neither leaks, so only this law sees it.
    """
    return shows_influence(mha, x)


@law(
    multihead,
    STRUCTURE,
    cases=CAUSAL,
    needs=("causal", "bool_mask|float_mask"),
    after=("the_future_has_no_influence", "the_present_has_influence", "hidden_tokens_are_inert"),
)
def is_causal_equals_the_triangular_mask(mha: Run, x: Inputs) -> Verdict:
    """The flag gives what the triangular mask gives, for Tq < Tk, Tq = Tk and Tq > Tk.

    is_causal  ≡  mask_ij = (j ≤ i);  with bottom-right alignment  j ≤ i + Tk − Tq

    Why: flag and mask take different paths to different kernels, and differ first where Tq ≠ Tk.
    """
    return consistent(mha(x), mha(masked(mha, x.but(causal=False), _triangle(mha, x))))


@law(
    multihead,
    STRUCTURE,
    cases=cases(causal=True, mask=("bool", "float")),
    needs=("causal_with_mask", "causal", "bool_mask|float_mask"),
    after=("is_causal_equals_the_triangular_mask", "hidden_tokens_are_inert"),
)
def causality_and_a_mask_both_apply(mha: Run, x: Inputs) -> Verdict:
    """With is_causal and a mask, a key is visible only where both allow it.

    visible_ij = (j ≤ i) ∧ mask_ij

    Why: the mask replaces the flag, or the flag the mask, wherever one argument carries both.
    """
    if x.mask is None:
        return vacuous()
    return consistent(mha(x), mha(masked(mha, x.but(causal=False), _triangle(mha, x))))


def _triangle(mha: Run, x: Inputs) -> Array:
    queries, keys = x.query.shape[1], written_out(x).key.shape[1]
    return visibility(queries, keys, None, True, mha.dialect["alignment"])
