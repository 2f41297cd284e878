"""Lessons of embeddings: what they have in common."""

from __future__ import annotations

from torch import Tensor

FIRST = {"padding": "first"}
REFUSED = {"negative_ids": "refused"}


def checked(ids: Tensor, table: Tensor) -> None:
    """Raise where an id is outside of the table."""
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
        raise IndexError("an id is outside of the table")
