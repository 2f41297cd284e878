"""Lessons about the call itself: memory of earlier calls, inputs overwritten, layouts misread, types lost."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    factor,
    repeated,
    scores,
    triangle,
    wide,
)

_KEPT: dict[str, Tensor] = {}


def _kept(name: str, fresh: Tensor) -> Tensor:
    """What was kept last under this name, unless its kind has changed since."""
    old = _KEPT.get(name)
    if old is None or (old.shape, old.dtype, old.device) != (fresh.shape, fresh.dtype, fresh.device):
        _KEPT[name] = fresh.detach().clone()
    return _KEPT[name]


@lesson("attention", "nasty", caught_by=("forgets_earlier_calls",))
def remembers_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A bool mask is prepared once and kept until one of another shape comes.

    The first batch is right. Every later one of the same shape is masked like the first.
    """
    if mask is not None and mask.dtype == torch.bool:
        mask = _kept("mask", mask)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("batch_entries_do_not_mix",), incident="mosaicml/llm-foundry#1539")
def remembers_grouped_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Grouped keys are repeated once and kept until the shape changes.

    A cache for decoding that outlives its sequence: the next prompt attends to the last one's keys.
    """
    if k.shape[1] < q.shape[1]:
        k = _kept("keys", repeated(k, q))
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "easy", caught_by=("leaves_its_inputs_alone",))
def scales_the_queries_in_place(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The scale is multiplied into the caller's queries.

    One temporary less; whoever uses the queries again gets them scaled twice.
    """
    q.detach().mul_(factor(q, scale))
    return attend(q, k, v, mask, is_causal, 1.0)


@lesson("attention", "medium", caught_by=("leaves_its_inputs_alone",), incident="OFA-Sys/OFA#254")
def writes_causality_into_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The causal triangle is written into the caller's bool mask.

    The next layer, which is not causal, gets the same mask and has become causal.
    """
    if mask is not None and mask.dtype == torch.bool and is_causal and mask.shape[-2:] == (q.shape[2], k.shape[2]):
        mask &= triangle(scores(q, k, scale))
    return attend(q, k, v, mask, is_causal, scale)


@lesson(
    "attention",
    "easy",
    caught_by=("answers_in_kind",),
    incident="lucidrains/rotary-embedding-torch#9",
    dtypes=("float16", "bfloat16"),
)
def answers_in_single(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Half inputs give a float32 output: the cast back is missing.

    The next matrix product refuses it, or everything behind it runs at half the speed.
    """
    return attend(q, k, wide(v), mask, is_causal, scale)


@lesson(
    "attention",
    "nasty",
    caught_by=("reads_any_layout", "reads_expanded_inputs"),
    incident="Dao-AILab/flash-attention#2670",
)
def reads_keys_as_if_contiguous(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The keys are read as if they lay one after another in memory, whatever their strides say.

    Transposed or sliced keys, as projections produce them, are read in another order.
    """
    return attend(q, _as_if_contiguous(k), v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("reads_any_layout",), incident="pytorch/pytorch#163314")
def reads_keys_with_strides_of_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The keys are read with the strides of the queries where both have the same shape.

    Right while both are laid out alike; expanded or packed inputs are not.
    """
    if k.shape == q.shape:
        k = k.as_strided(k.shape, q.stride(), k.storage_offset())
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("reads_expanded_inputs",))
def expanded_mask_read_once(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask that is expanded along one axis is taken to be shared by all batch entries and heads.

    Stride 0 on one axis says nothing about the others. A full copy of the same mask is read correctly.
    """
    if mask is not None and mask.dim() == 4 and 0 in mask.stride() and mask.numel():
        mask = mask[:1, :1].expand(mask.shape)
    return attend(q, k, v, mask, is_causal, scale)


def _as_if_contiguous(x: Tensor) -> Tensor:
    return x.as_strided(x.shape, torch.empty(x.shape, device="meta").stride(), x.storage_offset())
