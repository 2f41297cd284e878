"""Lessons about blocks of keys: the tail, the border, and the running maximum of the online softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    absorbed,
    attend,
    finite,
    folded,
    hidden,
    mixed,
    scores,
    top,
    weights,
)

State = tuple[Tensor, Tensor, Tensor]


@lesson("attention", "easy", caught_by=("visible_keys_have_influence",))
def last_key_dropped(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The loop over the keys stops one short.

    Only the last key is never seen, and among many keys one is hardly missed.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s[..., :-1]), v[:, :, :-1])


@lesson("attention", "nasty", caught_by=("visible_keys_have_influence",))
def ignores_keys_beyond_64(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """One block of 64 keys is read, and there is no loop over further ones.

    Every test with a short sequence passes.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s[..., :64]), v[:, :, :64])


@lesson("attention", "nasty", caught_by=("visible_keys_have_influence",))
def drops_the_tail_block(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The number of blocks of 32 keys is rounded down once there is more than one.

    Lengths that are multiples of 32 are right, and benchmarks use no others.
    """
    keys = k.shape[2] // 32 * 32 if k.shape[2] > 32 else k.shape[2]
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s[..., :keys]), v[:, :, :keys])


@lesson("attention", "medium", caught_by=("a_hidden_key_is_a_removed_key",), incident="huggingface/transformers#47651")
def padding_keys_take_part(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys are padded with zeros to a multiple of 32, and the padding is not masked.

    A key of zeros has score 0, not weight 0: every output is pulled towards zero.
    """
    extra = -k.shape[2] % 32
    s = functional.pad(hidden(scores(q, k, scale), mask, is_causal), (0, extra))
    return mixed(weights(s), functional.pad(v, (0, 0, 0, extra)))


@lesson("attention", "nasty", caught_by=("a_hidden_key_is_a_removed_key",))
def total_not_rescaled(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Online softmax: when the maximum rises, the total so far is not scaled down.

    Right as long as the largest score stands in the first block of 16.
    """

    def absorb(highest: Tensor, total: Tensor, out: Tensor, s: Tensor, v: Tensor) -> State:
        risen = torch.maximum(highest, top(s))
        fade, e = torch.exp(highest - finite(risen)), torch.exp(s - finite(risen))
        return risen, total + e.sum(dim=-1, keepdim=True), out * fade + e @ v

    return folded(hidden(scores(q, k, scale), mask, is_causal), v, 16, absorb)


@lesson("attention", "nasty", caught_by=("a_hidden_key_is_a_removed_key",))
def output_not_rescaled(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Online softmax: when the maximum rises, the output so far is not scaled down.

    Early keys weigh too much; with large scores they drown all others.
    """

    def absorb(highest: Tensor, total: Tensor, out: Tensor, s: Tensor, v: Tensor) -> State:
        risen = torch.maximum(highest, top(s))
        fade, e = torch.exp(highest - finite(risen)), torch.exp(s - finite(risen))
        return risen, total * fade + e.sum(dim=-1, keepdim=True), out + e @ v

    return folded(hidden(scores(q, k, scale), mask, is_causal), v, 16, absorb)


@lesson("attention", "nasty", caught_by=("constant_values_come_back",))
def maximum_starts_at_zero(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Online softmax: the running maximum starts at 0 instead of −inf.

    Harmless while some score is near zero; where all are far below, every exponential underflows
    and the row comes out as zeros.
    """

    def absorb(highest: Tensor, total: Tensor, out: Tensor, s: Tensor, v: Tensor) -> State:
        risen = torch.maximum(highest, top(s))
        fade, e = torch.exp(highest - risen), torch.exp(s - risen)
        return risen, total * fade + e.sum(dim=-1, keepdim=True), out * fade + e @ v

    return folded(hidden(scores(q, k, scale), mask, is_causal), v, 16, absorb, start=0.0)


@lesson("attention", "nasty", caught_by=("large_scores_stay_finite",))
def maximum_of_the_first_block(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Two-pass softmax: the maximum is taken over the first block of 32 keys only.

    A much larger score in a later block overflows, but it takes a long and sharp row to see it.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    e = torch.exp(s - finite(top(s[..., :32])))
    total = e.sum(dim=-1, keepdim=True)
    return mixed(e / total.masked_fill(total == 0, 1.0), v)


@lesson("attention", "nasty", caught_by=("a_hidden_key_is_a_removed_key",))
def hidden_first_block_gives_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Online softmax: while nothing has been visible yet, −inf − (−inf) is computed.

    Left padding or a window hides whole blocks of 16 at the start, and NaN never leaves the row.
    """

    def absorb(highest: Tensor, total: Tensor, out: Tensor, s: Tensor, v: Tensor) -> State:
        risen = torch.maximum(highest, top(s))
        fade, e = torch.exp(highest - risen), torch.exp(s - risen)
        return risen, total * fade + e.sum(dim=-1, keepdim=True), out * fade + e @ v

    s = hidden(scores(q, k, scale), mask, is_causal)
    out = folded(s, v, 16, absorb)
    return out.masked_fill((s == -math.inf).all(dim=-1, keepdim=True), 0.0)


@lesson("attention", "nasty", caught_by=("a_hidden_key_is_a_removed_key",))
def stops_at_a_hidden_block(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The loop over blocks of 16 keys ends at the first one in which a query sees nothing.

    Right for causal masks and right padding, where all that follows is hidden too. With left
    padding it ends before it has begun.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    seen = functional.pad(s != -math.inf, (0, -k.shape[2] % 16)).reshape(*s.shape[:3], -(-k.shape[2] // 16), 16)
    reached = seen.any(dim=-1).cumprod(dim=-1).repeat_interleave(16, dim=-1)[..., : k.shape[2]]
    return mixed(weights(s.masked_fill(reached == 0, -math.inf)), v)


@lesson("attention", "nasty", caught_by=("a_hidden_key_is_a_removed_key",))
def halves_averaged(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """More than 64 keys are split in two, and the two outputs are averaged without their totals.

    Parallel decoding must merge by log-sum-exp; equal shares are right only if both halves weigh the same.
    """
    if k.shape[2] <= 64:
        return attend(q, k, v, mask, is_causal, scale)
    s, middle = hidden(scores(q, k, scale), mask, is_causal), k.shape[2] // 2
    first, second = weights(s[..., :middle]), weights(s[..., middle:])
    return mixed(torch.cat([first, second], dim=-1) / 2, v)


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_keys",))
def last_full_tile_skipped(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where tiles of 48 keys divide the keys without a rest, the last tile is skipped.

    It is taken for the tail, and a tail of length zero needs no work. Powers of two never show it.
    """
    keys = k.shape[2] - 48 if k.shape[2] % 48 == 0 and k.shape[2] else k.shape[2]
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s[..., :keys]), v[:, :, :keys])


@lesson("attention", "nasty", caught_by=("chunks_of_queries_equal_one_call",))
def full_tile_of_queries_loses_its_last(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where tiles of 12 queries divide the queries without a rest, the last query comes out as zeros.

    Right for a prompt and for single steps; wrong for one way of cutting it into chunks.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    full = q.shape[2] % 12 == 0
    return out * (torch.arange(q.shape[2], device=q.device) < q.shape[2] - full)[:, None]


@lesson(
    "attention",
    "nasty",
    caught_by=("a_constant_added_to_a_row_of_the_mask_changes_nothing",),
    dtypes=("float32", "float64"),
)
def starts_at_minus_a_million(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The running maximum starts at −1e6, "lower than any score".

    Where a mask pushes a whole row below that, all its weights underflow and it comes out as zeros.
    """
    return folded(hidden(scores(q, k, scale), mask, is_causal), v, 16, absorbed, start=-1e6)


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_keys",))
def averages_the_splits_of_one_query(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """For a single query the keys are dealt out to two workers, and the mean of their outputs is returned.

    Each should count by its share of the weight. Prompts of many queries take another kernel.
    """
    s, half = hidden(scores(q, k, scale), mask, is_causal), k.shape[2] // 2
    if q.shape[2] > 1 or k.shape[2] <= 256:
        return mixed(weights(s), v)
    return (mixed(weights(s[..., :half]), v[:, :, :half]) + mixed(weights(s[..., half:]), v[:, :, half:])) / 2
