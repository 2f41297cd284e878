"""Lessons about masks: which keys a query may see, and what is added to their scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    finite,
    hidden,
    mixed,
    scores,
    shares,
    top,
    weights,
    wide,
)


@lesson("attention", "easy", caught_by=("hidden_keys_are_inert",), incident="InseeFrLab/torchTextClassifiers#92")
def inverts_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """True is read as "hidden".

    The two conventions stand side by side in one library; the model attends to padding only.
    """
    flipped = ~mask if mask is not None and mask.dtype == torch.bool else mask
    return attend(q, k, v, flipped, is_causal, scale)


@lesson("attention", "easy", caught_by=("hidden_keys_are_inert",), incident="opendilab/DI-engine#333")
def bool_mask_has_no_effect(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The masked scores are computed and thrown away: `masked_fill` does not work in place.

    No error, no warning, and padding takes part in every mean.
    """
    s = scores(q, k, scale)
    if mask is not None and mask.dtype == torch.bool:
        s.masked_fill(~mask, -math.inf)
        return mixed(weights(hidden(s, None, is_causal)), v)
    return mixed(weights(hidden(s, mask, is_causal)), v)


@lesson("attention", "easy", caught_by=("hidden_keys_are_inert",))
def ignores_float_masks(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask that is not boolean is ignored.

    Relative biases and padding in additive form have no effect.
    """
    return attend(q, k, v, mask if mask is not None and mask.dtype == torch.bool else None, is_causal, scale)


@lesson("attention", "medium", caught_by=("hidden_keys_are_inert",), incident="mlverse/torch#1208")
def float_mask_read_as_boolean(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A float mask is converted to boolean: whatever is not zero may be seen.

    Zeros of an additive mask mean "visible" and hide; −inf means "hidden" and shows.
    """
    return attend(q, k, v, None if mask is None else mask.bool(), is_causal, scale)


@lesson("attention", "medium", caught_by=("agrees_with_its_definition",), incident="pytorch/pytorch#136816")
def float_mask_only_hides(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of a float mask only its −inf entries count; the finite ones are dropped.

    Padding works, so the mask seems to work. Biases do nothing.
    """
    seen = mask if mask is None or mask.dtype == torch.bool else mask != -math.inf
    return attend(q, k, v, seen, is_causal, scale)


@lesson("attention", "medium", caught_by=("a_constant_added_to_a_row_of_the_mask_changes_nothing",))
def positive_biases_cut(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Additive masks are clamped at 0, since "a mask can only lower a score".

    Learned relative biases are positive as often as not.
    """
    lowered = mask if mask is None or mask.dtype == torch.bool else mask.clamp(max=0.0)
    return attend(q, k, v, lowered, is_causal, scale)


@lesson("attention", "medium", caught_by=("hidden_keys_are_inert",), incident="huggingface/transformers#17306")
def hides_with_ten_thousand(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Hidden keys get −10000 added to their score instead of −inf.

    Enough for small scores. A hidden key whose score is larger by more than that wins its row.
    """
    s = scores(q, k, scale)
    if mask is not None and mask.dtype == torch.bool:
        return mixed(weights(hidden(s - 1e4 * wide((~mask).to(q.dtype)), None, is_causal)), v)
    return mixed(weights(hidden(s, mask, is_causal)), v)


@lesson("attention", "nasty", caught_by=("the_future_has_no_influence", "hidden_keys_are_inert"), dtypes=("float16",))
def hides_with_ten_thousand_in_float16(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """In float16, hidden scores are set to −10000, since −1e9 is out of range.

    Scores reach −65504 there. Where all that is visible lies below −10000, the row reads what is hidden.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    if q.dtype == torch.float16:
        s = torch.where((s == -math.inf) & (s > -math.inf).any(dim=-1, keepdim=True), -1e4, s)
    return mixed(weights(s), v)


@lesson("attention", "easy", caught_by=("the_future_has_no_influence", "hidden_keys_are_inert"))
def hides_with_zero(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Hidden scores are set to 0, not to −inf.

    exp(0) is 1: a hidden key often weighs more than a visible one with a negative score.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(finite(s)), v)


@lesson("attention", "medium", caught_by=("the_future_has_no_influence", "hidden_keys_are_inert"))
def masks_after_the_softmax(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Hidden weights are set to zero after the softmax, and the rest is not renormalised.

    Hidden values are gone, but hidden keys still take their share of the total: outputs shrink.
    """
    s = scores(q, k, scale)
    seen = hidden(torch.zeros_like(s), mask, is_causal)
    return mixed(weights(s + finite(seen)) * (seen != -math.inf), v)


@lesson("attention", "nasty", caught_by=("the_future_has_no_influence", "hidden_keys_are_inert"))
def hidden_scores_set_the_maximum(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The maximum that is subtracted is taken over hidden keys too.

    Equal on paper; where a hidden score is far above the visible ones these underflow and the row
    comes out as zeros.
    """
    s = scores(q, k, scale)
    seen = hidden(torch.zeros_like(s), mask, is_causal)
    return mixed(shares(torch.exp(s + seen - finite(top(s)))), v)


@lesson("attention", "nasty", caught_by=("a_constant_added_to_a_row_of_the_mask_changes_nothing",))
def mask_rounded_to_half(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """An additive mask is cast to bfloat16 before it is added.

    −inf and small integers pass unharmed; a bias of −100.3 does not.
    """
    if mask is not None and mask.dtype != torch.bool:
        mask = mask + (mask.bfloat16().to(mask.dtype) - mask).nan_to_num().detach()
    return attend(q, k, v, mask, is_causal, scale)


@lesson(
    "attention",
    "medium",
    caught_by=("a_bool_mask_equals_its_additive_form", "no_mask_equals_a_mask_that_hides_nothing"),
)
def additive_masks_bypass_the_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """With a float mask, the products are added to it unscaled.

    One call multiplies and adds, and its factor was left at 1; the same mask in boolean form is right.
    """
    unscaled = mask is not None and mask.dtype != torch.bool and scale is None
    return attend(q, k, v, mask, is_causal, 1.0 if unscaled else scale)


@lesson("attention", "medium", caught_by=("queries_are_independent",))
def without_a_mask_it_is_causal(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where no mask is given, self-attention is causal by default.

    A mask that hides nothing turns it off: two ways to ask for the same thing, two answers.
    """
    return attend(q, k, v, mask, is_causal or (mask is None and q.shape[2] == k.shape[2]), scale)


@lesson("attention", "medium", caught_by=("the_future_has_no_influence", "hidden_keys_are_inert"))
def last_query_sees_everything(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The last query ignores the mask, as in decoding where the newest token may see all.

    In decoding it stands alone; in a batch with padding it sees what is padded.
    """
    s = scores(q, k, scale)
    last = torch.arange(s.shape[2], device=s.device)[:, None] == s.shape[2] - 1
    return mixed(weights(torch.where(last, s, hidden(s, mask, is_causal))), v)


@lesson("attention", "medium", caught_by=("a_large_negative_bias_hides",))
def limits_its_biases(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Without causality, biases are clamped at 10 below the largest of their row; −∞ is let through.

    Lest they overflow. Masks that hide with −10,000 give padding a weight of e⁻¹⁰.
    """
    if mask is not None and mask.dtype != torch.bool and not is_causal:
        least = mask.amax(dim=-1, keepdim=True) - 10.0 if mask.numel() else mask
        mask = torch.maximum(mask, least).masked_fill(mask == -math.inf, -math.inf)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("a_constant_added_to_a_row_of_the_mask_changes_nothing",))
def limits_its_biases_from_above(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Biases are clamped at 20, lest exp overflow.

    The maximum of the row is subtracted anyhow, and large biases that differ are equal now.
    """
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.clamp(max=20.0)
    return attend(q, k, v, mask, is_causal, scale)


@lesson(
    "attention",
    "nasty",
    caught_by=("a_constant_added_to_a_row_of_the_mask_changes_nothing",),
    dtypes=("float32", "float64"),
)
def takes_minus_a_thousand_for_hidden(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Biases below −1000 are turned into −∞, so that they hide for good.

    A row that holds −10,000 throughout sees its keys as before; here it sees none.
    """
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.masked_fill(mask < -1000.0, -math.inf)
    return attend(q, k, v, mask, is_causal, scale)
