"""Lessons about heads and batch entries: each has its own queries, keys and values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import Mask, Scale, attend, hidden, mixed, scores, weights


@lesson("attention", "medium", caught_by=("grouped_heads_equal_repeated_heads",), incident="apple/axlearn#842")
def tiles_grouped_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Grouped keys and values are tiled (0 1 0 1) where they must be repeated (0 0 1 1).

    Both give the right number of heads. Weights trained with one are useless with the other.
    """
    group = q.shape[1] // k.shape[1]
    return attend(q, k.repeat(1, group, 1, 1), v.repeat(1, group, 1, 1), mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("grouped_heads_equal_repeated_heads",))
def tiles_grouped_values(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys are repeated as they must be, values are tiled.

    Every head looks in the right place and fetches from another head.
    """
    return attend(q, k, v.repeat(1, q.shape[1] // v.shape[1], 1, 1), mask, is_causal, scale)


@lesson(
    "attention", "medium", caught_by=("grouped_heads_equal_repeated_heads",), incident="EricLBuehler/candle-vllm#52"
)
def grouped_heads_share_one(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where heads are grouped, all of them read the first key/value head.

    Right for one key/value head and for one per query head, wrong for everything in between.
    """
    if 1 < k.shape[1] < q.shape[1]:
        k, v = k[:, :1], v[:, :1]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "easy", caught_by=("heads_do_not_mix",))
def heads_come_back_reversed(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The heads of the output are in reverse order.

    Each head is right. The projection that follows expects another one in its place.
    """
    return attend(q, k, v, mask, is_causal, scale).flip(1)


@lesson("attention", "easy", caught_by=("heads_do_not_mix",))
def first_keys_for_all_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """All heads compare with the keys of head 0.

    A missing index: the heads differ in their values alone.
    """
    return attend(q, k[:, :1], v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("heads_do_not_mix",), incident="rish-16/tokenlearner-pytorch#1")
def reshapes_instead_of_transposing(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The heads are brought to the front by a reshape where a transpose is needed.

    The shape is right. Each head holds slices of all heads at scattered times.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return out.transpose(1, 2).reshape(out.shape)


@lesson("attention", "easy", caught_by=("batch_entries_do_not_mix",))
def first_keys_for_the_batch(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """All batch entries compare with the keys of the first one.

    A batch of one is right, and the example in the documentation is a batch of one.
    """
    return attend(q, k[:1].expand(k.shape), v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("batch_entries_do_not_mix",), incident="pytorch/pytorch#139462")
def batch_beyond_32_is_zero(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Batch entries beyond the 32nd are zero.

    The grid of the kernel ends there; what lies behind was never written.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return out * (torch.arange(q.shape[0], device=q.device) < 32)[:, None, None, None]


@lesson("attention", "nasty", caught_by=("batch_entries_do_not_mix",))
def centres_over_the_batch(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The mean score over the batch is subtracted, as a batch norm in training mode would.

    An entry alone gives equal weights; the answer for one depends on all others.
    """
    s = scores(q, k, scale)
    return mixed(weights(hidden(s - s.mean(dim=0, keepdim=True), mask, is_causal)), v)


@lesson("attention", "nasty", caught_by=("nan_stays_in_its_batch_entry",))
def packs_the_batch(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Up to eight batch entries are packed into one long sequence with a mask between them.

    The weights between entries are zero, and zero times NaN is NaN: one broken entry breaks them all.
    """
    if q.shape[0] > 8:
        return attend(q, k, v, mask, is_causal, scale)
    own = hidden(torch.zeros_like(scores(q, k, scale)), mask, is_causal).transpose(0, 1)[:, :, :, None]
    same = torch.eye(q.shape[0], dtype=torch.bool, device=q.device)[:, None, :, None]
    bias = torch.where(same, own, -math.inf).flatten(3).flatten(1, 2)[None]
    out = mixed(weights(scores(_packed(q), _packed(k), scale) + bias), _packed(v))
    return out.reshape(q.shape[1], q.shape[0], q.shape[2], v.shape[3]).transpose(0, 1)


@lesson("attention", "nasty", caught_by=("accepts_none_and_one",))
def empty_batch_raises(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The batch is computed entry by entry and stacked; an empty batch has nothing to stack.

    A filter that lets nothing through, once in a night, ends the job.
    """
    bias = hidden(torch.zeros_like(scores(q, k, scale)), mask, is_causal)
    each = [slice(b, b + 1) for b in range(q.shape[0])]
    return torch.cat([attend(q[b], k[b], v[b], bias[b], False, scale) for b in each])


def _packed(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1, 2)[None]
