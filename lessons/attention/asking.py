"""Lessons that are right for any one call: only another way of asking the same thing shows them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import Mask, Scale, attend, factor, hidden, mixed, repeated, scores, top, weights, wide

PLAIN = frozenset({"causal", "cross_length", "grouped_query", "value_width", "scale", "gradient"})


@lesson("attention", "nasty", caught_by=("a_causal_prefix_is_the_start_of_the_whole",), can=PLAIN)
def causal_scale_grows_with_length(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Under causality the scale grows with the logarithm of the whole length, not of what is visible.

    Trained on full sequences and run step by step, the model sees sharper attention than it will ever have.
    """
    grown = factor(q, scale) * (1 + 0.1 * math.log(max(1, k.shape[2]))) if is_causal else scale
    return attend(q, k, v, mask, is_causal, grown)


@lesson("attention", "nasty", caught_by=("the_last_causal_row_sees_everything",), can=PLAIN)
def causal_kernel_has_another_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The causal kernel divides by √(D + 1).

    Training and prefill are causal and agree with each other; the single step of generation is not, and differs.
    """
    return attend(q, k, v, mask, is_causal, 1 / math.sqrt(q.shape[-1] + 1) if is_causal and scale is None else scale)


@lesson("attention", "medium", caught_by=("duplicating_all_keys_changes_nothing",), can=PLAIN - {"causal"})
def scale_grows_with_the_number_of_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The scale grows with the logarithm of the number of keys.

    A sensible idea for long contexts, and another function: weights are no longer relative to each other alone.
    """
    grown = factor(q, scale) * (1 + 0.1 * math.log(max(1, k.shape[2])))
    return attend(q, k, v, mask, is_causal, grown)


@lesson("attention", "nasty", caught_by=("affine_maps_of_the_values_commute",))
def weighs_by_the_size_of_values(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys whose values are longer get more weight.

    Equal values still come back, and every weight is a weight; but the output is no longer linear in the values.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    length = wide(repeated(v, q)).square().sum(dim=-1).add(1.0).log()
    return mixed(weights(s + 0.1 * length[:, :, None, :]), v)


@lesson("attention", "nasty", caught_by=("outputs_stay_in_the_hull_of_the_visible_values",))
def weights_against_the_mean(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The weights are sharpened by taking half of the uniform ones away: 3/2 p − 1/2 of the mean.

    They sum to 1, and unimportant keys count negatively: the output leaves the hull of the values.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    seen = (s != -math.inf).to(s.dtype)
    mean = seen / seen.sum(dim=-1, keepdim=True).clamp(min=1.0)
    return mixed(1.5 * weights(s) - 0.5 * mean, v)


@lesson("attention", "nasty", caught_by=("blocks_of_keys_merge",))
def lifts_scores_far_below_the_best(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """No score stands more than 2 below the best of its row.

    The floor moves with the best key, so a block of keys has other weights alone than in company.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    lifted = torch.maximum(s, top(s) - 2.0)
    return mixed(weights(lifted.masked_fill(s == -math.inf, -math.inf)), v)


@lesson("attention", "medium", caught_by=("no_mask_equals_a_mask_that_hides_nothing",))
def without_a_mask_it_forgets_the_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The short cut for calls with neither mask nor causality does not scale.

    Padded batches are right, and the same sequences one by one are not.
    """
    return attend(q, k, v, mask, is_causal, 1.0 if mask is None and not is_causal else scale)


@lesson("attention", "easy", caught_by=("keys_and_values_form_a_set",), can=PLAIN - {"causal"})
def prefers_early_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Every key gets a little less the later it stands.

    A position encoding that nobody asked for: attention itself knows no order.
    """
    s = scores(q, k, scale)
    return mixed(weights(s - 0.05 * torch.arange(s.shape[-1], device=s.device, dtype=s.dtype)), v)
