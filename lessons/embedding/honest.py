"""Honest variants: other ways to look rows up. No law may flag them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import honest
from seqlaws.lessons.embedding import FIRST, REFUSED, checked


@honest("embedding")
def plain(ids: Tensor, table: Tensor) -> Tensor:
    """One call of the library."""
    return F.embedding(ids, table)


@honest("embedding", dialect=REFUSED)
def by_a_product(ids: Tensor, table: Tensor) -> Tensor:
    """Rows with a single 1, times the table."""
    checked(ids, table)
    return F.one_hot(ids, len(table)).to(table.dtype) @ table


@honest("embedding")
def by_index_select(ids: Tensor, table: Tensor) -> Tensor:
    """Rows are selected along the first axis, and put in the shape of the ids."""
    return table.index_select(0, ids.reshape(-1)).reshape(*ids.shape, table.shape[1])


@honest("embedding")
def by_indexing(ids: Tensor, table: Tensor) -> Tensor:
    """table[ids], which counts negative ids from the end."""
    return table[ids.long()] if not ids.is_floating_point() else table[ids]


@honest("embedding", dialect=FIRST)
def with_a_padding_row(ids: Tensor, table: Tensor) -> Tensor:
    """Row 0 stands for padding: read like any other, never trained."""
    return F.embedding(ids, table, padding_idx=0)


@honest("embedding", dialect=FIRST)
def with_a_frozen_first_row(ids: Tensor, table: Tensor) -> Tensor:
    """The same by a table of which the first row is detached."""
    return F.embedding(ids, torch.cat([table[:1].detach(), table[1:]]))


@honest("embedding", dialect={"sums": "wide"})
def in_float32(ids: Tensor, table: Tensor) -> Tensor:
    """Half types are widened, so that the gradient is summed in float32."""
    return F.embedding(ids, table if table.dtype == torch.float64 else table.float()).to(table.dtype)
