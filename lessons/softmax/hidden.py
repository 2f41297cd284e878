"""Lessons about −inf: what is hidden, and rows in which everything is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.softmax import wide


def is_hidden(x: Tensor) -> Tensor:
    """Where x is −inf."""
    return x == -math.inf


@lesson("softmax", "medium", caught_by=("gives_nothing_to_minus_infinity",))
def hides_behind_a_large_number(x: Tensor, dim: int) -> Tensor:
    """−inf is replaced by −5000, to be safe from NaN.

    As soon as the visible logits are as low, the hidden entries share in the weight.
    """
    return torch.softmax(x.masked_fill(is_hidden(x), -5000.0), dim)


@lesson("softmax", "nasty", caught_by=("takes_minus_infinity_for_absence",))
def zeroes_hidden_weights_too_late(x: Tensor, dim: int) -> Tensor:
    """Hidden entries stand 3 below the lowest visible one until after the division, then become 0.

    They are exactly 0 in the result, and what they had taken from the others is missing.
    """
    lowest = x.masked_fill(is_hidden(x), math.inf).amin(dim, keepdim=True)
    p = torch.softmax(torch.where(is_hidden(x), lowest - 3.0, x), dim)
    return torch.where(is_hidden(x) & ~is_hidden(x).all(dim, keepdim=True), 0.0, p)


@lesson("softmax", "medium", caught_by=("follows_its_dialect_for_empty_rows",))
def calls_an_empty_row_uniform(x: Tensor, dim: int) -> Tensor:
    """A row of −inf gives 1/n each, and nobody has said so.

    Padding then averages over values that should not exist. As a declared convention it is fine.
    """
    return torch.softmax(x.masked_fill(is_hidden(x).all(dim, keepdim=True), 0.0), dim)


@lesson("softmax", "nasty", caught_by=("follows_its_dialect_for_empty_rows",))
def an_empty_row_empties_its_neighbours(x: Tensor, dim: int) -> Tensor:
    """One row of −inf, and the whole result is NaN.

    A check for the case was made on the tensor instead of the row.
    """
    return torch.softmax(x, dim) + (math.nan if bool(is_hidden(x).all(dim).any()) else 0.0)


@lesson(
    "softmax",
    "nasty",
    caught_by=("sends_no_gradient_to_empty_rows",),
    dialect={"empty_row": "zeros"},
)
def mends_empty_rows_after_the_softmax(x: Tensor, dim: int) -> Tensor:
    """The NaN of a row of −inf is replaced by zeros after the softmax.

    The output is as declared. The backward pass of the softmax still multiplies by NaN.
    """
    return torch.softmax(x, dim).masked_fill(is_hidden(x).all(dim, keepdim=True), 0.0)


class _StraightThrough(torch.autograd.Function):
    """Softmax whose backward pass lets the gradient of hidden entries through as it is."""

    @staticmethod
    def forward(ctx, x: Tensor, dim: int) -> Tensor:  # type: ignore[no-untyped-def]
        p = torch.softmax(x, dim)
        ctx.save_for_backward(x, p)
        ctx.dim = dim
        return p

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        x, p = ctx.saved_tensors
        exact = wide(p) * (wide(g) - (wide(p) * wide(g)).sum(ctx.dim, keepdim=True))
        return torch.where(is_hidden(x), g, exact.to(g.dtype)), None


@lesson("softmax", "nasty", caught_by=("sends_no_gradient_to_minus_infinity",))
def hidden_entries_learn(x: Tensor, dim: int) -> Tensor:
    """Hidden entries get the gradient of the output, unchanged.

    A masked copy in the backward pass writes only where something is visible, into a buffer that
    held the incoming gradient.
    """
    return _StraightThrough.apply(x, dim)  # type: ignore[no-untyped-call]


@lesson("softmax", "nasty", caught_by=("gives_nothing_to_minus_infinity",), can={"infinite"})
def a_hidden_block_comes_first(x: Tensor, dim: int) -> Tensor:
    """Blocks of 256 with a running maximum, and where the first of them is hidden as a whole, −∞ − (−∞) is NaN.

    Left padding makes such rows. A short row has a single block, and that is never hidden as a whole.
    """
    rows = wide(x).movedim(dim, -1)
    top, total = rows.new_full((*rows.shape[:-1], 1), -math.inf), rows.new_zeros((*rows.shape[:-1], 1))
    for block in torch.split(rows, 256, -1):
        risen = torch.maximum(top, block.amax(-1, keepdim=True))
        total = total * torch.exp(top - risen) + torch.exp(block - risen).sum(-1, keepdim=True)
        top = risen
    return (torch.exp(rows - top) / total).movedim(-1, dim).to(x.dtype)
