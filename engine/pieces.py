"""Pieces: several tensors of one result as one array [B,N,W], joined along its second axis, and back."""

from __future__ import annotations

import numpy as np

from seqlaws.formats import Array


def join(arrays: list[Array], shape: tuple[int, ...]) -> Array:
    """Several pieces as one array of this shape [B,N,W]; a single one as it is."""
    if len(arrays) == 1:
        return arrays[0]
    batch, _, width = shape
    return np.concatenate([array.reshape(batch, rows(array.shape), width) for array in arrays], axis=1)


def split(array: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    """The pieces of an array [B,N,W] that was joined from several along its second axis."""
    if len(shapes) == 1:
        return [array]
    parts, start = [], 0
    for shape in shapes:
        parts.append(array[:, start : start + rows(shape)].reshape(shape))
        start += rows(shape)
    return parts


def alone(array: Array, shapes: tuple[tuple[int, ...], ...], place: int) -> Array:
    """A joined array with zeros in every piece but one."""
    parts = split(array, shapes)
    kept = [part if index == place else np.zeros_like(part) for index, part in enumerate(parts)]
    return join(kept, array.shape)


def rows(shape: tuple[int, ...]) -> int:
    """How many rows of the joined array [B,N,W] a piece [B,N,W] or [B,W] takes."""
    return shape[1] if len(shape) == 3 else 1


def axes_of(part: Array, axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Axes of a joined array as axes of one of its pieces, which may lack the second one."""
    if part.ndim == ndim:
        return axes
    return tuple(dict.fromkeys(0 if axis == 0 else part.ndim - 1 for axis in axes if axis != 1 or ndim != 3))
