"""Lessons about masks and padding on their way through the layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.multihead import attend, plain, probabilities, unmended, visible, with_weights


@lesson("multihead", "easy", caught_by=("hidden_tokens_are_inert",), incident="nyu-mll/jiant#465")
def reads_the_mask_the_wrong_way_round(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """True in a bool mask hides a key where it should show it.

    Libraries differ on the polarity, and both kinds of mask have the same type. The model attends to
    padding only.
    """
    mask = options.get("mask")
    if mask is not None and mask.dtype == torch.bool:
        options["mask"] = ~mask
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("hidden_tokens_are_inert",), incident="hyunwoongko/transformer#40")
def hides_with_a_finite_number(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A bool mask becomes −20 where it should become −∞.

    exp(−20) looks like nothing until a hidden key scores high, and padding holds anything.
    """
    mask = options.get("mask")
    if mask is not None and mask.dtype == torch.bool:
        options["mask"] = torch.where(mask, 0.0, -20.0).to(query.dtype)
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("hidden_tokens_are_inert",))
def masks_the_first_head_only(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A mask without an axis of heads reaches the first head; the others see everything.

    It was padded to the folded axis of batch and heads instead of being repeated along it.
    """
    mask = options.get("mask")
    if mask is not None and (mask.dim() < 3 or mask.shape[-3] == 1):
        heads = options["num_heads"]
        shown = torch.arange(heads, device=mask.device).reshape(-1, 1, 1) > 0
        options["mask"] = mask | shown if mask.dtype == torch.bool else mask.masked_fill(shown, 0.0)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("visible_tokens_have_influence",))
def gives_every_head_the_mask_of_the_first(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Of a mask with one part for each head, all heads take the first part.

    What is hidden everywhere stays hidden, so nothing leaks; heads that should see a token do not.
    """
    mask = options.get("mask")
    if mask is not None and mask.dim() >= 3 and mask.shape[-3] > 1:
        options["mask"] = mask.narrow(-3, 0, 1)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("batch_entries_do_not_mix",))
def lays_a_mask_per_entry_along_the_heads(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A mask with one part for each entry of the batch is laid along the heads, when there are as many.

    [B,1,1,Tk] broadcasts along either axis. For B ≠ H an error would come; for B = H none does.
    """
    mask = options.get("mask")
    if mask is not None and mask.dim() == 4 and mask.shape[:2] == (options["num_heads"], 1):
        options["mask"] = mask.transpose(0, 1)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("a_bool_mask_equals_its_additive_form",))
def forgets_the_scale_under_an_additive_mask(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """Under a mask of numbers, scores are not divided by √d.

    Additive masks go to a kernel of their own, and the scale was applied on the way to the other one.
    """

    def two_kernels(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        if mask is not None and mask.dtype != torch.bool:
            return probabilities(q @ k.mT, mask, is_causal) @ v
        return attend(q, k, v, mask, is_causal)

    return plain(query, key, value, w, **options, attend=two_kernels)


@lesson("multihead", "nasty", caught_by=("a_broadcast_mask_equals_its_expansion",), incident="pytorch/pytorch#107084")
def reads_an_additive_mask_per_head_as_bool(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """Numbers in a mask of three axes only decide what is hidden; what they add is lost.

    Masks of two and of four axes are added. The third kind goes through a conversion that asks for bool.
    """
    mask = options.get("mask")
    if mask is not None and mask.dtype != torch.bool and mask.dim() == 3:
        options["mask"] = mask > -math.inf
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("no_mask_equals_a_mask_that_hides_nothing",))
def loses_the_value_bias_without_a_mask(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Where nothing is hidden a faster path is taken, and that path has no value bias.

    Training pads and masks; serving one request does not, and answers with another model.
    """
    if options.get("mask") is None and not options.get("is_causal"):
        w = with_weights(w, b_v=None)
    return plain(query, key, value, w, **options)


@lesson("multihead", "medium", caught_by=("one_head_without_projections_is_attention",))
def adds_the_mask_twice(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """An additive mask is added by the layer, and again by the attention inside it.

    −∞ twice is −∞, and 0 twice is 0, so masks that only hide do not show it. A bias counts double.
    """
    mask = options.get("mask")
    if mask is not None and mask.dtype != torch.bool:
        options["mask"] = mask + mask
    return plain(query, key, value, w, **options)


@lesson("multihead", "easy", caught_by=("an_empty_row_follows_its_dialect",), incident="pytorch/pytorch#103963")
def gives_nan_to_an_empty_row(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A query without any visible key gets NaN, although zeros are declared.

    A softmax over −∞ alone is 0/0. The other rows are right until the next layer mixes them.
    """
    return plain(query, key, value, w, **options, attend=unmended)


@lesson(
    "multihead",
    "nasty",
    caught_by=("left_padding_under_causality_leaves_empty_rows",),
    incident="unslothai/unsloth#9848",
)
def looks_for_empty_rows_in_the_mask_alone(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Rows that the mask leaves empty are mended; rows that only mask and causality together leave empty are not.

    With left padding, the first tokens see nothing but padding and the future. They become NaN.
    """

    def mended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if mask is not None and mask.dtype != torch.bool:
            scores = scores + mask
        empty = ~visible(mask, False, scores).any(dim=-1, keepdim=True)
        hidden = scores.masked_fill(~visible(mask, is_causal, scores), -math.inf)
        return hidden.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0) @ v

    return plain(query, key, value, w, **options, attend=mended)


@lesson("multihead", "nasty", caught_by=("an_empty_head_contributes_nothing",), incident="pytorch/pytorch#160064")
def empties_the_row_of_an_empty_head(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A query that sees no key in one head gets zeros from all heads.

    Whether a row is empty is asked of all heads together. A mask per head, as ALiBi windows make it, is rare.
    """

    def all_or_none(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        seen = visible(mask, is_causal, q @ k.mT).expand(*q.shape[:3], k.shape[2])
        empty = ~seen.any(dim=-1, keepdim=True).all(dim=1, keepdim=True)
        return attend(q, k, v, mask, is_causal).masked_fill(empty, 0.0)

    return plain(query, key, value, w, **options, attend=all_or_none)


@lesson("multihead", "medium", caught_by=("a_padded_sequence_equals_the_sequence_alone",))
def tempers_by_the_padded_length(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Scores grow with the logarithm of the number of keys, and padding is counted too.

    Sharpening with the length is a known trick. Here the answer depends on the longest neighbour.
    """

    def tempered(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        return attend(q * (1.0 + math.log(max(1, k.shape[2]))), k, v, mask, is_causal)

    return plain(query, key, value, w, **options, attend=tempered)


@lesson("multihead", "nasty", caught_by=("refuses_malformed_input",))
def cuts_a_mask_that_is_too_long(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A mask for more keys than there are is cut to those that there are.

    A mask of the whole cache lies one step off, and nobody is told.
    """
    mask = options.get("mask")
    if mask is not None:
        options["mask"] = mask[..., : max(1, key.shape[1])]
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("refuses_malformed_input",))
def shows_keys_that_a_short_mask_leaves_out(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """A mask for fewer keys than there are is filled up with visible ones.

    Meant for a cache that grows. A mask for the wrong batch opens its padding.
    """
    mask = options.get("mask")
    if mask is not None and 1 < mask.shape[-1] < key.shape[1]:
        missing = key.shape[1] - mask.shape[-1]
        options["mask"] = F.pad(mask, (0, missing), value=mask.dtype == torch.bool)
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("refuses_malformed_input",))
def cuts_a_mask_for_a_larger_batch(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Of a mask for more entries than the batch has, the first are taken.

    The mask is kept from the largest batch. After sorting, every entry has that of another.
    """
    mask = options.get("mask")
    if mask is not None and mask.dim() == 4:
        options["mask"] = mask[: max(1, len(query))]
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("refuses_malformed_input",))
def cuts_a_mask_for_more_queries(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Of a mask for more queries than there are, the first rows are taken.

    A step of decoding has the last query, and needs the last row.
    """
    mask = options.get("mask")
    if mask is not None and mask.dim() > 1:
        options["mask"] = mask[..., : max(1, query.shape[1]), :]
    return plain(query, key, value, w, **options)
