"""Lessons about rows: which numbers belong together, and where a row ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.softmax import WIDE, distances, shares, wide


@lesson("softmax", "easy", caught_by=("treats_every_axis_alike",))
def always_takes_the_last_axis(x: Tensor, dim: int) -> Tensor:
    """The axis that was asked for is not looked at.

    Right in every test that uses the last axis; elsewhere the weights of one query sum to anything.
    """
    return torch.softmax(x, -1)


@lesson("softmax", "medium", caught_by=("treats_every_axis_alike",))
def counts_axes_from_the_left(x: Tensor, dim: int) -> Tensor:
    """A negative axis is taken for its absolute value.

    −1 becomes 1, which is the last axis of a matrix and of nothing else.
    """
    return torch.softmax(x, abs(dim) if abs(dim) < x.ndim else dim)


@lesson("softmax", "nasty", caught_by=("treats_every_axis_alike",))
def confuses_axes_of_equal_length(x: Tensor, dim: int) -> Tensor:
    """The axis is recognised by its length, so a longer-standing axis of the same length wins.

    Batch and width rarely agree in a test, and in production they do one day.
    """
    return torch.softmax(x, x.shape.index(x.shape[dim]))


@lesson("softmax", "medium", caught_by=("keeps_rows_apart",))
def takes_the_maximum_of_all_rows(x: Tensor, dim: int) -> Tensor:
    """The maximum is taken over the whole tensor instead of the row.

    Any shift is harmless in exact arithmetic. In floats, a row that is 104 below the largest one
    underflows as a whole, and 0/0 is NaN.
    """
    return shares(torch.exp(x - x.max()), dim)


@lesson("softmax", "nasty", caught_by=("keeps_rows_apart",))
def takes_the_maximum_of_the_first_row(x: Tensor, dim: int) -> Tensor:
    """Every row is shifted by the maximum of the first one.

    A batch index was forgotten in one of two places, and a clamp keeps the exponentials finite. Rows of similar
    size come out right.
    """
    top = x.amax(dim, keepdim=True)
    return shares(torch.exp((x - top.flatten()[:1]).clamp(max=80.0 if x.dtype != torch.float16 else 10.0)), dim)


@lesson("softmax", "medium", caught_by=("treats_every_axis_alike",))
def sums_over_two_axes(x: Tensor, dim: int) -> Tensor:
    """The sum runs over the chosen axis and the one after it.

    The result looks like probabilities that are too small, by a factor that is the size of the batch.
    """
    weights = torch.exp(distances(x, dim))
    return weights / weights.sum(tuple({dim % x.ndim, (dim + 1) % x.ndim}), keepdim=True)


@lesson("softmax", "nasty", caught_by=("keeps_rows_apart",))
def later_rows_reuse_the_first_sum(x: Tensor, dim: int) -> Tensor:
    """Beyond 128 rows, the sum of the first row divides them all.

    The grid of a kernel ends at 128 rows, and nobody tests with more.
    """
    weights = torch.exp(distances(x, dim))
    total = weights.sum(dim, keepdim=True)
    return weights / (total if total.numel() <= 128 else total.flatten()[0])


@lesson("softmax", "medium", caught_by=("follows_permutations",))
def breaks_ties_by_position(x: Tensor, dim: int) -> Tensor:
    """An entry as large as the one before it gets less.

    It was meant to make sampling reproducible.
    """
    repeated = torch.diff(x, dim=dim, prepend=x.narrow(dim, 0, 1) - 1) == 0
    return shares(torch.exp(distances(x, dim) - 0.25 * repeated.to(x.dtype)), dim)


@lesson("softmax", "nasty", caught_by=("sums_to_one",))
def forgets_to_rescale_the_sum(x: Tensor, dim: int) -> Tensor:
    """Block by block, with a running maximum; the sum so far is not rescaled when the maximum rises.

    Right up to 64 entries, and beyond them as long as the largest one stands in the first block.
    """
    numbers = wide(x)
    top = numbers.narrow(dim, 0, 1)
    total = torch.zeros_like(top)
    for block in torch.split(numbers, 64, dim):
        top = torch.maximum(top, block.amax(dim, keepdim=True))
        total = total + torch.exp(block - top).sum(dim, keepdim=True)
    return (torch.exp(numbers - top) / total).to(x.dtype)


@lesson("softmax", "medium", caught_by=("follows_permutations",))
def drops_the_tail_of_long_rows(x: Tensor, dim: int) -> Tensor:
    """Beyond 64 entries, only whole blocks of 32 are read.

    The last few entries of the row might as well be −inf.
    """
    count = x.shape[dim] if x.shape[dim] <= 64 else x.shape[dim] // 32 * 32
    p = torch.softmax(x.narrow(dim, 0, count), dim)
    return torch.cat([p, torch.zeros_like(x.narrow(dim, count, x.shape[dim] - count))], dim)


@lesson("softmax", "nasty", caught_by=("agrees_at_every_width",))
def stumbles_at_a_few_widths(x: Tensor, dim: int) -> Tensor:
    """Between 97 and 112 entries, the temperature is a little too high.

    A table of tuned kernels has one wrong line. Powers of two and their neighbours never see it.
    """
    return torch.softmax(x * (0.9 if 96 < x.shape[dim] < 113 else 1.0), dim)


@lesson("softmax", "nasty", caught_by=("agrees_at_every_width",))
def skips_the_last_tile_of_192(x: Tensor, dim: int) -> Tensor:
    """Where tiles of 192 divide the row without a rest, its last entry gets nothing.

    The tail of length zero is masked as if it had length −1. No power of two ever shows it.
    """
    count = x.shape[dim] - (x.shape[dim] > 0 and x.shape[dim] % 192 == 0)
    p = torch.softmax(x.narrow(dim, 0, count), dim)
    return torch.cat([p, torch.zeros_like(x.narrow(dim, count, x.shape[dim] - count))], dim)


@lesson("softmax", "nasty", caught_by=("treats_every_axis_alike",))
def takes_the_last_axis_of_five(x: Tensor, dim: int) -> Tensor:
    """With more than four axes, the chosen one is not looked at.

    Batch, heads, queries and keys are four. Whoever adds groups, or windows, has five.
    """
    return torch.softmax(x, dim if x.ndim < 5 else -1)


@lesson("softmax", "nasty", caught_by=("agrees_at_every_width",))
def takes_the_second_of_two_for_the_rest(x: Tensor, dim: int) -> Tensor:
    """Of two entries, the second gets 1 − σ(x₁ − x₂).

    It is the same number until σ rounds to 1. Then the rest, which may be 10⁻⁹, is 0.
    """
    if x.shape[dim] != 2:
        return torch.softmax(x, dim)
    first, second = wide(x).unbind(dim)
    share = torch.sigmoid(first - second)
    return torch.stack([share, torch.where(second == -math.inf, 0.0, 1 - share)], dim).to(x.dtype)


@lesson("softmax", "nasty", caught_by=("agrees_at_every_width",), dtypes=WIDE)
def rows_beyond_4096_lose_their_end(x: Tensor, dim: int) -> Tensor:
    """The sum stops after 4096 entries.

    A block has 1024 threads, four entries for each, and the longest row in the tests had 4000.
    """
    weights = torch.exp(distances(x, dim))
    return weights / weights.narrow(dim, 0, min(4096, x.shape[dim])).sum(dim, keepdim=True)


@lesson("softmax", "medium", caught_by=("merges_blocks",))
def keeps_the_64_largest(x: Tensor, dim: int) -> Tensor:
    """All but the 64 largest entries get nothing, and the rest is normalised again.

    Sampling does that on purpose. As attention it forgets the past, from the 65th token on.
    """
    if x.shape[dim] <= 64:
        return torch.softmax(x, dim)
    least = x.topk(64, dim).values.amin(dim, keepdim=True)
    return torch.softmax(x.masked_fill(x < least, -math.inf), dim)


@lesson("softmax", "nasty", caught_by=("agrees_at_every_width",))
def many_long_rows_lose_their_tail(x: Tensor, dim: int) -> Tensor:
    """With more than 128 rows of more than 1024 entries, what is beyond the last full block of 1024 is not counted.

    Few long rows and many short ones take other kernels.
    """
    count = x.shape[dim]
    if count <= 1024 or x.numel() // count <= 128:
        return torch.softmax(x, dim)
    weights = torch.exp(distances(wide(x), dim))
    return (weights / weights.narrow(dim, 0, count // 1024 * 1024).sum(dim, keepdim=True)).to(x.dtype)


@lesson("softmax", "nasty", caught_by=("treats_every_axis_alike",))
def knows_five_axes(x: Tensor, dim: int) -> Tensor:
    """Of six axes and more, one that is counted from the right is taken for the last.

    Strides are kept for five axes, and the others are folded into one without moving the index.
    """
    return torch.softmax(x, dim if dim >= 0 or x.ndim < 6 else -1)


@lesson("softmax", "nasty", caught_by=("agrees_at_every_size_in_every_mode",))
def serves_rows_of_four_thousand(x: Tensor, dim: int) -> Tensor:
    """Where no gradients are recorded, a row ends at 4096 entries, and the rest gets nothing.

    The kernel for inference holds a row in registers. Vocabularies are longer, and training never shows it.
    """
    if torch.is_grad_enabled() or x.shape[dim] <= 4096:
        return torch.softmax(x, dim)
    start, rest = x.narrow(dim, 0, 4096), x.narrow(dim, 4096, x.shape[dim] - 4096)
    return torch.cat([torch.softmax(start, dim), torch.zeros_like(rest)], dim)
