"""Lessons about what comes back to the table."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.embedding import FIRST


@lesson("embedding", "medium", caught_by=("trains_only_what_it_looked_up",))
def trains_the_whole_table(ids: Tensor, table: Tensor) -> Tensor:
    """The mean of the table is added and taken away again, with its gradient left behind.

    x − x.detach() is zero going forward and one going back. Words that nobody read drift along.
    """
    mean = table.mean(0)
    return F.embedding(ids, table) + (mean - mean.detach())


class _LastOneWins(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, ids: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(table)  # type: ignore[attr-defined]
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[None, Tensor]:
        (ids,) = ctx.saved_tensors  # type: ignore[attr-defined]
        found = g.new_zeros(ctx.rows, g.shape[-1])  # type: ignore[attr-defined]
        found[ids.reshape(-1)] = g.reshape(-1, g.shape[-1])
        return None, found


@lesson("embedding", "medium", caught_by=("sums_the_gradient_of_repeated_ids",))
def lets_the_last_gradient_win(ids: Tensor, table: Tensor) -> Tensor:
    """Where an id stands at several places, its row gets the gradient of one of them.

    found[ids] = g writes; found.index_add_(0, ids, g) adds. With distinct ids nobody sees a difference.
    """
    out: Tensor = _LastOneWins.apply(ids, table)  # type: ignore[no-untyped-call]
    return out


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, out: Tensor, least: float, largest: float) -> Tensor:
        ctx.limits = least, largest  # type: ignore[attr-defined]
        return out.view_as(out)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[Tensor, None, None]:
        least, largest = ctx.limits  # type: ignore[attr-defined]
        return torch.where(g.abs() < least, 0.0, g.clamp(-largest, largest)), None, None


@lesson("embedding", "nasty", caught_by=("sums_the_gradient_of_repeated_ids",), dtypes=("float32",))
def cuts_large_gradients_down(ids: Tensor, table: Tensor) -> Tensor:
    """What comes back is cut down to 1000.

    Clipping that was put in against one bad batch, and stayed. A loss that is scaled up, as half types
    need, meets it at every step.
    """
    out: Tensor = _Clipped.apply(F.embedding(ids, table), 0.0, 1000.0)  # type: ignore[no-untyped-call]
    return out


@lesson("embedding", "nasty", caught_by=("sums_the_gradient_of_repeated_ids",), dtypes=("float32",))
def takes_small_gradients_for_zero(ids: Tensor, table: Tensor) -> Tensor:
    """What comes back and is below 10⁻⁹ is dropped, to keep the gradient sparse.

    Losses that are averaged over long batches send back little, and rare words get the least of it.
    """
    out: Tensor = _Clipped.apply(F.embedding(ids, table), 1e-9, math.inf)  # type: ignore[no-untyped-call]
    return out


class _SummedByBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ids: Tensor, table: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.ids, ctx.rows = ids, len(table)
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[None, Tensor]:  # type: ignore[no-untyped-def]
        total = g.new_zeros((ctx.rows, g.shape[-1]))
        blocks = torch.split(ctx.ids.reshape(-1), 16), torch.split(g.reshape(-1, g.shape[-1]), 16)
        for ids, block in zip(*blocks, strict=True):
            total = total + F.one_hot(ids, ctx.rows).to(g.dtype).T @ block
        return None, total


@lesson(
    "embedding",
    "nasty",
    caught_by=("sums_a_frequent_id_in_a_wider_type",),
    incident="apache/mxnet#17703",
    dtypes=("bfloat16",),
    dialect={"sums": "wide"},
)
def sums_its_gradient_in_a_half_type(ids: Tensor, table: Tensor) -> Tensor:
    """The gradients of an id are summed over blocks of places in the half type itself.

    Atomic additions are fast there. From some number of places on, what a block adds is less than the last digit.
    """
    return _SummedByBlocks.apply(ids, table)  # type: ignore[no-untyped-call]


@lesson("embedding", "nasty", caught_by=("never_trains_the_padding_row",), dialect=FIRST)
def trains_its_padding_row(ids: Tensor, table: Tensor) -> Tensor:
    """Row 0 is declared as padding, and learns like any other.

    It was zeroed once, at the start. After the first step it is no longer zero.
    """
    return F.embedding(ids, table)


@lesson("embedding", "nasty", caught_by=("sums_its_gradient_at_every_size",))
def the_places_of_one_block_learn(ids: Tensor, table: Tensor) -> Tensor:
    """Only the first 256 places send a gradient back.

    Blocks of 256 places sum on their own, and the sums of the first are taken for all of them.
    """
    flat = ids.reshape(-1)
    parts = [F.embedding(flat[:256], table), F.embedding(flat[256:], table.detach())]
    return torch.cat(parts).reshape(*ids.shape, table.shape[1])


@lesson("embedding", "nasty", caught_by=("sums_its_gradient_at_every_size",))
def learns_from_a_thousand_places_of_an_id(ids: Tensor, table: Tensor) -> Tensor:
    """Of the places that hold one id, the first 1024 send a gradient back.

    Places are sorted by their ids, and one block sums a run of equal ones as far as its threads go.
    "The" stands more often than that in every batch.
    """
    flat = ids.reshape(-1)
    _, which = flat.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    before = F.one_hot(which).cumsum(0).gather(-1, which[:, None]) if flat.numel() else which[:, None]
    out = torch.where(before <= 1024, F.embedding(flat, table), F.embedding(flat, table.detach()))
    return out.reshape(*ids.shape, table.shape[1])
