"""Layouts: how the numbers of an array lie in memory. All layouts of one array hold equal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.formats import Array

# how several tensors may share memory: as one, or as parts of one buffer
SHARED = ("one tensor", "side by side in one buffer", "one after another in one buffer")
NESTED = "beginnings of one tensor"
LAYOUTS = ("contiguous", "transposed", "swapped", "strided", "packed", "cached", "sectioned")


def first_along(array: Array, axes: tuple[int, ...]) -> Array:
    """The first index along some axes, which are kept."""
    return array[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(array.ndim))]


def laid_out(tensor: Any, layout: str) -> Any:
    """The same numbers, laid out otherwise; works for arrays and tensors alike."""
    if layout == "contiguous" or tensor.ndim == 0:
        return tensor
    if layout == "transposed" and tensor.ndim >= 2:
        return _copy(tensor.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "swapped" and tensor.ndim >= 3:
        return _copy(tensor.swapaxes(-3, -2)).swapaxes(-3, -2)
    if 0 in tensor.shape or (tensor.ndim < 2 and layout in ("cached", "sectioned")):
        return tensor
    # what lies beside and between the numbers are others, so that a wrong address reads wrong numbers
    other = _turned_around(tensor)
    if layout in ("cached", "sectioned"):
        # as the first tokens lie in a longer cache, or the first heads beside those of others
        axis = tensor.ndim - 2 if layout == "cached" else min(1, tensor.ndim - 2)
        return _first_of(_joined([tensor, other], axis), axis, tensor.shape[axis])
    if layout == "strided":
        return _stacked([tensor, other]).reshape(*tensor.shape[:-1], -1)[..., ::2]
    # as queries, keys and values lie in one packed buffer
    return _stacked([other, tensor, other], -2).reshape(*tensor.shape[:-1], -1)[
        ..., tensor.shape[-1] : 2 * tensor.shape[-1]
    ]


def in_one_memory(tensors: list[Any], how: str) -> list[Any]:
    """The same numbers, of tensors of equal shape, in one memory; as "one tensor", they are those of the first.

    As "beginnings of one tensor", the first is the largest, and all have its numbers as far as they reach.
    """
    if how == "one tensor":
        return [tensors[0]] * len(tensors)
    if how == NESTED:
        return [tensors[0], *(beginning(tensors[0], tensor.shape) for tensor in tensors[1:])]
    if how == "side by side in one buffer":
        width = tensors[0].shape[-1]
        buffer = _joined(tensors, -1)
        return [buffer[..., place * width : (place + 1) * width] for place in range(len(tensors))]
    # the last comes first: where a tensor lies does not say which it is
    return list(_stacked(tensors[::-1], 0))[::-1]


def beginning(array: Any, shape: tuple[int, ...]) -> Any:
    """The first numbers along every axis, as many as a smaller shape has."""
    return array[tuple(slice(0, size) for size in shape)]


def _first_of(array: Any, axis: int, count: int) -> Any:
    return array[(slice(None),) * axis + (slice(0, count),)]


def _copy(tensor: Any) -> Any:
    return tensor.copy() if isinstance(tensor, np.ndarray) else tensor.contiguous().clone()


def _turned_around(tensor: Any) -> Any:
    """The same numbers in reverse order along every axis."""
    return np.flip(tensor) if isinstance(tensor, np.ndarray) else tensor.flip(tuple(range(tensor.ndim)))


def _stacked(tensors: list[Any], axis: int = -1) -> Any:
    if isinstance(tensors[0], np.ndarray):
        return np.stack(tensors, axis)
    import torch

    return torch.stack(tensors, axis)


def _joined(tensors: list[Any], axis: int) -> Any:
    if isinstance(tensors[0], np.ndarray):
        return np.concatenate(tensors, axis)
    import torch

    return torch.cat(tensors, axis)
