"""Attention's gradients: equal to those of the definition, and exactly zero where nothing may flow."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, law
from seqlaws.spec.attention import MASK_SHAPES, alive, attention, besides, cases, emptied, masked, visible
from seqlaws.spec.attention.drawing import AttentionCase
from seqlaws.verdict import Output, Verdict, every, finite, identical, vacuous, within

MODERATE = ("normal", "grid", "strong", "shifted")
HIDING = cases(mask=("bool", "float"), fill=MODERATE, causal=False)


# more keys, and more queries to sum over, than one tile has
LONG_MASKS = (
    AttentionCase(1, 1, 1, 3, 600, 2, 2, mask="float", mask_axes="11QK", fill="normal", seed=13),
    AttentionCase(1, 1, 1, 600, 3, 2, 2, mask="float", mask_axes="B11K", fill="normal", seed=14),
)


def _cotangent(x: Inputs) -> Array:
    return x.noise("cotangent", (*x.q.shape[:3], x.size("V")))


def gradients_within(attend: Any, x: Inputs) -> Verdict:
    """Whether dQ, dK and dV are within their bounds."""
    found = attend.gradient(x, _cotangent(x), ("q", "k", "v"))
    return every(*[within(gradient).called(f"d{name}") for name, gradient in found.items()])


@law(
    attention,
    GRADIENTS,
    cases=cases(fill=MODERATE),
    needs=("gradient",),
    after=("nothing_flows_to_hidden_keys", "nothing_flows_back_from_the_past"),
)
def gradients_agree_with_the_definition(attend: Any, x: Inputs) -> Verdict:
    """The gradients of queries, keys and values are those of the definition.

    dV = Pᵀ dO,  dS = P ⊙ (dO Vᵀ − ⟨dO, O⟩),  dQ = scale·dS K,  dK = scale·dSᵀ Q

    Why: a forward pass may be right and its hand-written backward wrong, and training will hide it.

    Source: Dao et al. 2022, appendix B.2.
    """
    return gradients_within(attend, x)


@law(
    attention,
    GRADIENTS,
    cases=cases(fill="sharp"),
    needs=("gradient",),
    after=("gradients_agree_with_the_definition",),
)
def gradients_of_large_scores_stay_finite(attend: Any, x: Inputs) -> Verdict:
    """Scores as large as 1e5 give finite gradients, wherever the definition's own are in range.

    |s_ij| ≤ 1e5  ⇒  dQ, dK, dV finite

    Why: a backward pass computes the weights again, from scores that it must bring down by the row's
    maximum a second time; 0·∞ in it is NaN in every parameter.
    """
    found = attend.gradient(x, _cotangent(x), ("q", "k", "v"))
    return every(*[finite(_in_range(gradient, x)).called(f"d{name}") for name, gradient in found.items()])


def _in_range(gradient: Output, x: Inputs) -> Array:
    """The gradient where even its parts, added up with one sign, could be written down; zeros elsewhere."""
    return np.where(np.abs(gradient.reference) + gradient.bound < x.format.largest, gradient.value, 0.0)


@law(
    attention,
    GRADIENTS,
    cases=besides(cases(mask="float", mask_axes=MASK_SHAPES, fill=MODERATE), *LONG_MASKS),
    needs=("gradient", "mask_gradient", "float_mask"),
    after=("gradients_agree_with_the_definition",),
)
def an_additive_mask_receives_its_gradient(attend: Any, x: Inputs) -> Verdict:
    """The gradient of an additive mask is that of the scores, summed over the axes it was broadcast along.

    dM = Σ_broadcast dS

    Why: learned biases (ALiBi slopes, relative positions) train through it; fused kernels often return
    none, or forget the sum.
    """
    alone, together = (attend.gradient(x, _cotangent(x), of) for of in (("mask",), ("q", "k", "v", "mask")))
    return every(within(together["mask"]).called("dmask"), within(alone["mask"]).called("dmask, asked for alone"))


@law(attention, GRADIENTS, cases=HIDING, needs=("gradient", "bool_mask|float_mask"))
def nothing_flows_to_hidden_keys(attend: Any, x: Inputs) -> Verdict:
    """A key and value hidden from every query whose output counts receive a gradient of exactly zero.

    dO_i = 0 wherever j is visible from i  ⇒  dK_j = dV_j = 0

    Why: padding would move the parameters; a weight that is merely small lets it.
    """
    seen = visible(x, attend.dialect)
    key = x.rng("hidden key").integers(0, x.size("K"), x.size("B"))
    sees = np.take_along_axis(seen, key.reshape(-1, 1, 1, 1), axis=3)
    if sees.all():
        return vacuous()
    found = attend.gradient(x, np.where(sees, 0.0, _cotangent(x)), ("q", "k", "v"))
    rows = np.arange(x.size("B"))
    hidden = [found[name].value[rows, :, key] for name in ("k", "v")]
    return every(*[identical(each, np.zeros(each.shape)) for each in hidden])


@law(attention, GRADIENTS, cases=cases(causal=True, mask="none", fill=MODERATE), needs=("gradient", "causal"))
def nothing_flows_back_from_the_past(attend: Any, x: Inputs) -> Verdict:
    """Under is_causal the outputs up to i send a gradient of exactly zero to the keys after i.

    dO_k = 0 for k > i  ⇒  dK_j = dV_j = 0 for j > i

    Why: a backward pass has a mask of its own, and it may be another one.
    """
    last = x.rng("last").integers(0, x.size("Q"), x.size("B"))
    counts = (np.arange(x.size("Q")) <= last.reshape(-1, 1))[:, None, :, None]
    reached = np.any(visible(x, attend.dialect) & counts, axis=(1, 2))
    if reached.all():
        return vacuous()
    found = attend.gradient(x, np.where(counts, _cotangent(x), 0.0), ("q", "k", "v"))
    unreached = [np.swapaxes(found[name].value, 1, 2)[~reached] for name in ("k", "v")]
    return every(*[identical(each, np.zeros(each.shape)) for each in unreached])


@law(
    attention,
    GRADIENTS,
    cases=cases(mask=("bool", "float"), fill=MODERATE, causal=4 * (False,) + 4 * (True,)),
    needs=("gradient", "bool_mask|float_mask"),
    when={"empty_row": ("zeros",)},
    after=("nothing_flows_to_hidden_keys", "gradients_agree_with_the_definition"),
)
def empty_rows_send_no_gradient(attend: Any, x: Inputs) -> Verdict:
    """A query that sees no key has a gradient of zero, and all others are what they are without it.

    M_i = ∅  ⇒  dq_i = 0;  dQ, dK, dV and dM are those of the definition, with p_i = 0

    Why: the zeros of an empty row are often patched in after a NaN was made; its gradient is then
    NaN, and one padded row ruins a step of training. Under left padding it takes causality to empty
    a row: the mask alone is searched for them in vain.
    """
    x = _left_padded(attend, x) if x.causal else emptied(attend, x)
    empty = ~alive(x, attend.dialect)
    if not empty.any():
        return vacuous()
    mask = ("mask",) if x.mask.dtype != bool and attend.can("mask_gradient") else ()
    found = attend.gradient(x, _cotangent(x), ("q", "k", "v", *mask))
    own = found["q"].value[empty]
    return every(
        identical(own, np.zeros(own.shape)).called("dq of an empty row"),
        *[within(gradient).called(f"d{name}") for name, gradient in found.items()],
    )


def _left_padded(attend: Any, x: Inputs) -> Inputs:
    """The inputs with their first keys hidden, in every entry of the batch another number of them."""
    start = x.rng("left padding").integers(1, max(2, x.size("K")), x.size("B"))
    full = None if x.mask is None else np.broadcast_to(x.mask, (*x.q.shape[:3], x.size("K"))).copy()
    return masked(attend, x.spelled(mask="BHQK").but(mask=full), np.arange(x.size("K")) >= start.reshape(-1, 1, 1, 1))
