"""Rules of shadow memory for what moves numbers: the operator itself, run on the shadow.

Where places are chosen by data, every place along the axis is assumed, and the choice itself counts
as read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seqlaws.instruments.rules import rules
from seqlaws.instruments.shadow import CONSTANT, Call

FAR = 1e7
"""Larger than any shadow that is not CONSTANT, and exact in float32."""


@rules(
    "cat", "stack", "roll", "flip", "repeat", "rot90", "slice_scatter", "select_scatter", "diagonal_scatter",
    "as_strided_scatter", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold_copy", "view_copy", "expand_copy",
    "permute_copy", "transpose_copy", "slice_copy", "select_copy", "split_copy", "split_with_sizes_copy",
    "unbind_copy", "squeeze_copy", "unsqueeze_copy", "alias_copy", "upsample_nearest1d", "upsample_nearest2d",
    "_unsafe_view", "unsafe_split", "unsafe_chunk", "_reshape_copy", "block_diag", moves=True,
)  # fmt: skip
def _moved(call: Call) -> Any:
    """The operator, run on the shadow."""
    result = call.func(*_shadows(call, call.args), **_shadows(call, call.kwargs))
    return tuple(result) if isinstance(result, list | tuple) else result


@rules("tril", "triu", "diag_embed", "constant_pad_nd", "im2col", moves=True)
def _filled_up(call: Call) -> Tensor:
    """The operator, run on the shadow; the zeros that it fills in are constants."""
    near = _mapped(_shadows(call, call.args), lambda value: torch.where(value == CONSTANT, 0.0, FAR - value))
    if call.name == "constant_pad_nd":
        near = (*near[:2], 0.0)
    result = call.func(*near, **_shadows(call, call.kwargs))
    return torch.where(result == 0, CONSTANT, FAR - result)


@rules("copy", moves=True)
def _copied(call: Call) -> Tensor:
    """What is written in place of what was there."""
    call.masked = call.shadow.hidden(call["src"])
    return call.of(call["src"])


@rules("index_select", "gather", "embedding", "take", moves=True)
def _taken(call: Call) -> Tensor:
    """The elements at some places; at any place, where data say which."""
    source = call["weight"] if call.name == "embedding" else call["self"]
    places = call["indices"] if call.name == "embedding" else call["index"]
    dim = 0 if call.name in ("embedding", "take") else call["dim"]
    value, chosen = call.of(source), call.of(places)
    if call.name == "take":
        value = value.reshape(-1)
    if _by_data(call, chosen):
        value = value.amin(dim, keepdim=True).expand(value.shape)
    if call.name == "gather":
        return torch.minimum(value.gather(dim, places), chosen)
    flat = value.index_select(dim, places.reshape(-1))
    if call.name == "index_select":
        shape = [1] * max(1, flat.dim())
        shape[dim] = -1
        return torch.minimum(flat, chosen.view(shape)) if flat.dim() else torch.minimum(flat, chosen.amin())
    if call.name == "take":
        return torch.minimum(flat.view(places.shape), chosen)
    return torch.minimum(flat.view(*places.shape, -1), chosen.unsqueeze(-1))


@rules("index", "_unsafe_index", moves=True)
def _indexed(call: Call) -> Tensor:
    """Elements at listed places; along an axis whose list is data, any place."""
    value, lists = call.of(call["self"]), list(call["indices"])
    chosen = [None if each is None else call.of(each) for each in lists]
    axis, nearest = 0, torch.tensor(CONSTANT)
    for places, known in zip(lists, chosen, strict=True):
        wide = places.dim() if places is not None and places.dtype == torch.bool else 1
        if known is not None and _by_data(call, known):
            value = value.amin(tuple(range(axis, axis + wide)), keepdim=True).expand(value.shape)
            nearest = torch.minimum(nearest, known.amin())
        axis += wide
    return torch.minimum(call.func(value, lists), nearest)


@rules("index_put", "_unsafe_index_put", "_index_put_impl")
def _put(call: Call) -> Tensor:
    """Elements written at listed places."""
    value, lists, given = call.of(call["self"]), list(call["indices"]), call.of(call["values"])
    known = [call.of(each) for each in lists if each is not None]
    if any(_by_data(call, each) for each in known):
        return torch.minimum(value, min(given.amin(), *(each.amin() for each in known)))
    at = torch.ops.aten.index(_numbered(value), lists)
    return _written(call, value, at, given, adds=call["accumulate"])


@rules("scatter", "index_copy", "index_fill", "scatter_add", "index_add", "scatter_reduce")
def _scattered(call: Call) -> Tensor:
    """Elements written, or added, at places along one axis."""
    value, places, dim = call.of(call["self"]), call["index"], call["dim"]
    source = next((call[name] for name in ("src", "source", "value") if call[name] is not None), None)
    given = call.of(source) if isinstance(source, Tensor) else torch.tensor(CONSTANT)
    known = call.of(places)
    by_rows = call.name.startswith("index")
    if given.dim() and not by_rows:
        given = given[tuple(map(slice, places.shape))]
    if _by_data(call, known):
        given = torch.minimum(given, known.amin() if by_rows else known)
        value = value.clone()
        within = value
        if given.dim() and not by_rows:
            axis = dim % value.dim()
            within = value[tuple(slice(None) if each == axis else slice(size) for each, size in enumerate(given.shape))]
        within.copy_(torch.minimum(within, given.amin(dim, keepdim=True) if given.dim() else given))
        return call.plus(value)
    numbered = _numbered(value)
    at = numbered.index_select(dim, places.reshape(-1)) if by_rows else numbered.gather(dim, places)
    adds = call.name in ("scatter_add", "index_add", "scatter_reduce") or call["reduce"] is not None
    return _written(call, value, at, given, adds=adds)


def _numbered(value: Tensor) -> Tensor:
    return torch.arange(value.numel(), device=value.device).view(value.shape)


def _written(call: Call, value: Tensor, at: Tensor, given: Tensor, *, adds: bool) -> Tensor:
    """A shadow with others written at numbered places, or added there. Of two written at one place either may stay."""
    flat, given, at = value.reshape(-1).clone(), given.expand(at.shape).reshape(-1), at.reshape(-1)
    if not adds:
        flat[at] = CONSTANT
    flat.scatter_reduce_(0, at, given, "amin")
    return call.plus(flat.view(value.shape)) if adds else flat.view(value.shape)


@rules("masked_scatter", "masked_select", "nonzero", "unique", "_unique2", "bincount", "repeat_interleave")
def _anywhere(call: Call) -> Any:
    """Elements that land where data say."""
    nearest = torch.tensor(CONSTANT)
    for tensor in call.tensors:
        value = call.of(tensor)
        _by_data(call, value)
        nearest = torch.minimum(nearest, value.amin() if value.numel() else nearest)
    return call.plus(nearest)


@rules("sort", "argsort", "topk", "msort")
def _sorted(call: Call) -> Any:
    """Any element may come to any place along the axis."""
    source = call["self"]
    value = call.of(source)
    dim = -1 if call["dim"] is None else call["dim"]
    if not value.dim():
        return call.plus(value)
    _by_data(call, value)
    nearest = value.amin(dim, keepdim=True)
    out = call.out[0] if isinstance(call.out, tuple) else call.out
    return call.plus(nearest, steps=0, reductions=1, terms=source.shape[dim]).expand(out.shape)


def _by_data(call: Call, chosen: Tensor) -> bool:
    """Whether places depend on anything that may change; if so, note that the worst is assumed."""
    if bool((chosen == CONSTANT).all()):
        return False
    call.shadow.worst[call.name] = call.shadow.worst.get(call.name, 0) + 1
    return True


def _shadows(call: Call, value: Any) -> Any:
    return tree_map(lambda leaf: call.of(leaf) if isinstance(leaf, Tensor) else leaf, value)


def _mapped(value: Any, change: Any) -> Any:
    return tree_map(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, value)
