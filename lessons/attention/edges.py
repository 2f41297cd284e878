"""Lessons about edges: rows without keys, no keys at all, NaN, and inputs that do not fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    FORWARD_ALONE,
    Mask,
    Scale,
    attend,
    finite,
    hidden,
    mixed,
    repeated,
    scores,
    shares,
    weights,
    wide,
)


@lesson("attention", "medium", caught_by=("an_empty_row_follows_its_dialect",), incident="pytorch/pytorch#103963")
def empty_rows_give_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A row without any visible key is divided by its total of zero.

    0/0 is NaN, and one layer later every token that looks at this one is NaN too.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(torch.softmax(s, dim=-1), v)


@lesson("attention", "medium", caught_by=("an_empty_row_follows_its_dialect",))
def empty_rows_give_the_mean(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Hidden keys get the lowest finite score, and where all are hidden all are equal.

    A query that may see nothing then returns the mean of everything, future and padding included.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s.clamp(min=torch.finfo(s.dtype).min)), v)


@lesson("attention", "medium", caught_by=("an_empty_row_follows_its_dialect",))
def empty_rows_see_the_first_key(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A row without any visible key is repaired by showing it key 0.

    No NaN any more; but a hidden key has an influence.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    first = torch.arange(s.shape[3], device=s.device) == 0
    return mixed(weights(s.masked_fill((s == -math.inf).all(dim=-1, keepdim=True) & first, 0.0)), v)


@lesson(
    "attention",
    "nasty",
    caught_by=("left_padding_under_causality_leaves_empty_rows",),
    incident="unslothai/unsloth#9848",
)
def rows_emptied_by_two_masks_give_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Only the mask is searched for rows without keys, not what causality leaves of it.

    Left padding hides the first keys, causality hides the others: the first tokens become NaN.
    """
    s = hidden(scores(q, k, scale), mask, False)
    empty = (s == -math.inf).all(dim=-1, keepdim=True)
    return mixed(torch.softmax(hidden(s.masked_fill(empty, 0.0), None, is_causal), dim=-1).masked_fill(empty, 0.0), v)


@lesson("attention", "nasty", caught_by=("an_empty_row_follows_its_dialect",))
def empty_rows_empty_their_head(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """One row without visible keys clears all rows of its head.

    An early exit that was meant for sequences of length zero.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s) * (s != -math.inf).any(dim=-1, keepdim=True).all(dim=-2, keepdim=True), v)


@lesson("attention", "nasty", caught_by=("accepts_none_and_one",))
def no_keys_at_all_raises(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The maximum over the keys is taken without asking whether there are any.

    An empty memory at the first step of a stream ends the program.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(shares(torch.exp(s - finite(s.detach().amax(dim=-1, keepdim=True)))), v)


@lesson(
    "attention",
    "nasty",
    caught_by=("accepts_none_and_one",),
    dtypes=("float16",),
    incident="pytorch/pytorch#175063",
)
def no_keys_give_nought_times_the_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Without keys, the output is zero plus 0 times the sum of the queries, so that a gradient finds its way.

    In half precision a sum of finite numbers soon is infinite, and 0 times infinity is NaN.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return out if k.shape[2] else out + 0.0 * q.sum()


@lesson("attention", "nasty", caught_by=("shows_nan",), incident="pytorch/pytorch#141128")
def hides_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """NaN is replaced by zero in the output, whatever it came from.

    Meant for rows without visible keys; NaN in a visible input is hidden with them, and a broken
    model looks healthy.
    """
    return attend(q, k, v, mask, is_causal, scale).nan_to_num()


@lesson("attention", "nasty", caught_by=("nan_in_a_hidden_key_stays_hidden",), dialect={"hidden_nan": "inert"})
def zero_times_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """It promises that hidden keys and values may hold anything, and multiplies them by zero.

    Zero times NaN is NaN: one unwritten slot of a cache spoils every row.
    """
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("refuses_malformed_input",), incident="huggingface/transformers#42188")
def cuts_to_fit(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys, values and mask are cut to the shortest of them.

    A cache that was not updated goes unnoticed, because nothing ever fails to fit.
    """
    keys = min(k.shape[2], v.shape[2], mask.shape[-1] if mask is not None and mask.shape[-1] > 1 else k.shape[2])
    part = None if mask is None else mask[..., :keys]
    return attend(q, k[:, :, :keys], v[:, :, :keys], part, is_causal, scale)


@lesson("attention", "nasty", caught_by=("refuses_malformed_input",))
def cuts_what_is_too_long(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask or values for more keys than there are lose the rest.

    Loops run over the keys, and nobody asks how long the others are. A mask of the whole cache lies one step off.
    """
    keys = k.shape[2]
    part = mask if mask is None or mask.shape[-1] == 1 else mask[..., :keys]
    return attend(q, k, v[:, :, :keys], part, is_causal, scale)


@lesson("attention", "nasty", caught_by=("an_empty_row_follows_its_dialect",), can=FORWARD_ALONE)
def only_bool_masks_are_searched_for_empty_rows(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Rows without a visible key are found in bool masks alone; a float mask that hides all of one gives NaN.

    A kernel for inference, in which the two kinds of masks take two paths.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    searched = mask is None or mask.dtype == torch.bool
    return mixed(weights(s) if searched else torch.softmax(s, dim=-1), v)


@lesson("attention", "nasty", caught_by=("an_empty_row_follows_its_dialect",))
def an_entry_has_at_least_one_key(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A padding mask [B,1,1,Tk] is turned into lengths, and a length is at least 1.

    An entry that is nothing but padding then sees its first key.
    """
    if mask is not None and mask.dtype == torch.bool and mask.dim() == 4 and mask.shape[1] == mask.shape[2] == 1:
        first = torch.arange(mask.shape[3], device=mask.device) == 0
        mask = mask | (first & ~mask.any(dim=-1, keepdim=True))
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("an_empty_row_follows_its_dialect",))
def a_mask_of_nothing_is_no_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask in which no key is visible at all counts as none.

    Someone asked whether there is anything in the mask, and took "no" for "no mask".
    """
    nothing = mask is not None and mask.dtype == torch.bool and mask.numel() > 0 and not bool(mask.any())
    return attend(q, k, v, None if nothing else mask, is_causal, scale)


@lesson(
    "attention",
    "nasty",
    caught_by=("an_empty_row_follows_its_dialect",),
    dialect={"alignment": "bottom_right"},
    can=FORWARD_ALONE,
)
def rows_before_the_first_key_give_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """With more queries than keys and bottom-right causality, the first queries see no key and become NaN.

    Only the mask was searched for rows without keys.
    """
    s = hidden(scores(q, k, scale), mask, False)
    if is_causal:
        s = s.masked_fill(~torch.ones_like(s, dtype=torch.bool).tril(s.shape[3] - s.shape[2]), -math.inf)
    return mixed(torch.softmax(s, dim=-1) if is_causal and mask is None else weights(s), v)


@lesson(
    "attention",
    "nasty",
    caught_by=("nan_in_a_hidden_key_stays_hidden",),
    dialect={"hidden_nan": "inert"},
    can=FORWARD_ALONE,
)
def inert_under_bool_masks_alone(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """What a hidden key and its value hold is cleared for bool masks and causality, but not for float masks.

    Their −∞ give a weight of zero, and zero times NaN is NaN.
    """
    bare = mask is None or mask.dtype == torch.bool
    return _cleared(q, k, v, mask, is_causal, scale, hidden(_nothing(q, k), mask if bare else None, is_causal))


@lesson(
    "attention",
    "nasty",
    caught_by=("nan_in_a_hidden_key_stays_hidden",),
    dialect={"hidden_nan": "inert"},
    can=FORWARD_ALONE,
)
def clears_what_is_hidden_from_all(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys and values that are hidden from every query are cleared; one that some query sees stays as it is.

    Enough for padding. A broken token in the future still reaches the past, as zero times NaN.
    """
    seen = hidden(_nothing(q, k), mask, is_causal)
    seen = torch.where((seen != -math.inf).any(dim=-2, keepdim=True), 0.0, -math.inf).expand_as(seen)
    return _cleared(q, k, v, mask, is_causal, scale, seen)


def _nothing(q: Tensor, k: Tensor) -> Tensor:
    return wide(q.new_zeros((*q.shape[:3], k.shape[2])))


def _cleared(q: Tensor, k: Tensor, v: Tensor, mask: Mask, is_causal: bool, scale: Scale, bias: Tensor) -> Tensor:
    """Attention in which a key and a value count for zeros to a query from which ``bias`` hides them."""
    seen = bias != -math.inf
    s = hidden(scores(q, k, scale).masked_fill(~seen, 0.0), mask, is_causal)
    values = wide(repeated(v, q))[:, :, None].masked_fill(~seen[..., None], 0.0)
    return (weights(s)[..., None, :] @ values)[..., 0, :].to(v.dtype)
