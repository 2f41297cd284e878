"""Lessons about the shapes of masks: any of their axes may be broadcast, and equal sizes hide which one it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
)


@lesson("attention", "nasty", caught_by=("batch_entries_do_not_mix",), incident="huggingface/transformers#35032")
def batch_mask_read_as_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """With as many heads as batch entries, a mask [B,1,…] is taken for [1,H,…].

    Shapes fit, values do not: entry b gets in head h the mask of entry h.
    """
    if mask is not None and mask.dim() == 4 and mask.shape[1] == 1 and mask.shape[0] == q.shape[1]:
        mask = mask.transpose(0, 1)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("batch_entries_do_not_mix",))
def head_mask_read_as_batch(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A three-dimensional mask [H,Tq,Tk] is taken for [B,Tq,Tk] where B and H are equal.

    One more axis in front or in the middle: broadcasting accepts both.
    """
    if mask is not None and mask.dim() == 3 and mask.shape[0] == q.shape[0]:
        mask = mask[:, None]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("left_padding_under_causality_leaves_empty_rows",))
def padding_mask_read_as_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Under causality, a padding mask [B,1,1,Tk] is taken for [Tq,Tk] where there are as many queries as batch entries.

    Squeezed to be joined with the triangle and broadcast again, each query gets the padding of another batch entry.
    """
    padding = mask is not None and mask.dim() == 4 and mask.shape[1:3] == (1, 1)
    if mask is not None and padding and is_causal and mask.shape[0] == q.shape[2]:
        mask = mask[:, 0, 0]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("hidden_keys_are_inert",))
def square_mask_transposed(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask with as many queries as keys is applied with its axes swapped.

    A padding mask has no query axis and stays right; block masks are symmetric and stay right.
    """
    if mask is not None and mask.dim() >= 2 and mask.shape[-1] == mask.shape[-2]:
        mask = mask.mT
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("batch_entries_do_not_mix",), incident="huggingface/transformers#46773")
def no_mask_for_a_batch_of_one(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The mask is skipped where the batch has a single entry: "nothing can be padded there".

    A batch of one may well carry padding, and a mask may say more than padding.
    """
    return attend(q, k, v, mask if q.shape[0] > 1 else None, is_causal, scale)


@lesson("attention", "medium", caught_by=("batch_entries_do_not_mix",))
def first_mask_for_the_batch(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The mask of the first batch entry is used for all.

    A mask that is equal in all entries is often stored once; this one is not equal.
    """
    if mask is not None and mask.dim() == 4:
        mask = mask[:1]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("hidden_keys_are_inert",))
def first_mask_for_the_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The mask of the first head is used for all.

    Padding and causality are the same in all heads; biases of position are not.
    """
    if mask is not None and mask.dim() >= 3:
        mask = mask[..., :1, :, :]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("hidden_keys_are_inert",))
def first_mask_for_the_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The mask of the first query is used for all.

    Right for padding. Anything that depends on the query is lost.
    """
    if mask is not None and mask.dim() >= 2:
        mask = mask[..., :1, :]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("a_broadcast_mask_equals_its_expansion",))
def broadcast_biases_only_hide(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A float mask that is shared by all heads is taken for padding: its −inf hide, its numbers are dropped.

    Written out for every head the same mask is right.
    """
    if mask is not None and mask.dtype != torch.bool and (mask.dim() < 3 or mask.shape[-3] == 1 < q.shape[1]):
        mask = mask != -math.inf
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("hidden_keys_are_inert",))
def padding_of_the_first_head(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask that is the same for all queries is taken for padding, which is the same for all heads: head 0's is used.

    Masks [B,H,1,Tk] exist: heads that look at different parts of a memory.
    """
    if mask is not None and mask.dim() == 4 and mask.shape[2] == 1 < q.shape[2]:
        mask = mask[:, :1]
    return attend(q, k, v, mask, is_causal, scale)
