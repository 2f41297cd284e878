"""Honest variants: other ways to compute the same softmax. No law may flag them."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from seqlaws.lesson import honest
from seqlaws.lessons.softmax import distances, shares, wide


@honest("softmax")
def textbook(x: Tensor, dim: int) -> Tensor:
    """The maximum off, exponentials, shares; every step stored in the dtype of the input."""
    return shares(torch.exp(distances(x, dim)), dim)


@honest("softmax")
def fused(x: Tensor, dim: int) -> Tensor:
    """One call of the library."""
    return torch.softmax(x, dim)


@honest("softmax")
def through_the_logarithm(x: Tensor, dim: int) -> Tensor:
    """exp of the logarithm of softmax, which half types store in between."""
    return torch.exp(torch.log_softmax(x, dim))


@honest("softmax")
def from_the_log_sum(x: Tensor, dim: int) -> Tensor:
    """exp(d − log Σ exp(d)), with d = x − max x: no division at all."""
    d = distances(wide(x), dim)
    return torch.exp(d - torch.log(torch.exp(d).sum(dim, keepdim=True))).to(x.dtype)


@honest("softmax")
def in_base_two(x: Tensor, dim: int) -> Tensor:
    """Powers of 2 instead of e, and a product with the reciprocal instead of a division."""
    weights = torch.exp2(distances(wide(x), dim) * math.log2(math.e))
    return (weights * (1.0 / weights.sum(dim, keepdim=True))).to(x.dtype)


@honest("softmax")
def one_entry_after_the_other(x: Tensor, dim: int) -> Tensor:
    """Loops over the entries: the largest first, then the sum, from left to right."""
    entries = wide(x).unbind(dim)
    top = functools.reduce(torch.maximum, entries)
    weights = [torch.exp(entry - top) for entry in entries]
    total = functools.reduce(torch.add, weights)
    return torch.stack([weight / total for weight in weights], dim).to(x.dtype)


@honest("softmax")
def block_by_block(x: Tensor, dim: int) -> Tensor:
    """Online softmax: blocks of 32 entries, a running maximum and a sum that is rescaled with it."""
    numbers = wide(x)
    top = torch.full_like(numbers.select(dim, 0).unsqueeze(dim), -math.inf)
    total = torch.zeros_like(top)
    for block in torch.split(numbers, 32, dim):
        higher = torch.maximum(top, block.amax(dim, keepdim=True))
        level = higher.masked_fill(higher == -math.inf, 0.0)
        total = total * torch.exp(top - level) + torch.exp(block - level).sum(dim, keepdim=True)
        top = higher
    return (torch.exp(numbers - top.masked_fill(top == -math.inf, 0.0)) / total).to(x.dtype)


@honest("softmax", dialect={"empty_row": "zeros"})
def zeros_for_empty_rows(x: Tensor, dim: int) -> Tensor:
    """A row of −inf gives zeros: attention to nothing."""
    empty = (x == -math.inf).all(dim, keepdim=True)
    return shares(torch.exp(distances(x.masked_fill(empty, 0.0), dim)), dim).masked_fill(empty, 0.0)


@honest("softmax", dialect={"empty_row": "mean"})
def mean_for_empty_rows(x: Tensor, dim: int) -> Tensor:
    """A row of −inf gives 1/n: attention to everything."""
    empty = (x == -math.inf).all(dim, keepdim=True)
    return shares(torch.exp(distances(x.masked_fill(empty, 0.0), dim)), dim)
