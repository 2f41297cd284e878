"""Factories: implementations that make a model, which is then asked more than one thing."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any


def undisturbed(device: Any) -> AbstractContextManager[None]:
    """A context that leaves torch's global random generators where they were; of CUDA's only that of the device."""
    import torch

    context: AbstractContextManager[None] = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    return context


def fresh(make: Callable[..., Any], like: Any, seed: int, *sizes: int) -> Any:
    """A new model with the dtype and device of a tensor, its weights frozen: a module, or what holds some.

    Global random generators stay where they were.
    """

    with undisturbed(like.device):
        model = make(seed, *sizes)
    parts = [each for each in _attributes(model).values() if hasattr(each, "parameters")]
    modules = [model] if hasattr(model, "requires_grad_") else parts
    for each in modules:
        each.requires_grad_(False)
    place = {"device": like.device, "dtype": like.dtype}
    if hasattr(model, "to"):
        return model.to(**place)
    for each in modules:  # a module moves in place
        each.to(**place)
    return model


@lru_cache(maxsize=256)
def _kept(make: Callable[..., Any], device: Any, dtype: Any, seed: int, *sizes: int) -> Any:
    import torch

    return fresh(make, torch.empty(0, device=device, dtype=dtype), seed, *sizes)


def built(make: Callable[..., Any], like: Any, seed: int, *sizes: int) -> Any:
    """The model of a seed, the same one every time: what it keeps from call to call shows."""
    return _kept(make, like.device, like.dtype, seed, *sizes)


def tensors_in(thing: Any) -> Iterator[Any]:
    """All tensors in a nest of tuples, lists, deques, dicts and objects, those with slots too."""
    yield from _tensors_in(thing, {})


def _tensors_in(thing: Any, seen: dict[int, Any]) -> Iterator[Any]:
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    if hasattr(thing, "untyped_storage"):
        yield thing
        return
    parts = thing.values() if isinstance(thing, dict) else thing
    if not isinstance(thing, (dict, tuple, list, deque)):
        parts = () if callable(thing) else _attributes(thing).values()
    for each in parts:
        yield from _tensors_in(each, seen)


def copied(thing: Any) -> Any:
    """The same nest with copies of its tensors, cut off from whatever they were computed from."""
    return _copied(thing, {})


def _copied(thing: Any, done: dict[int, Any]) -> Any:
    if id(thing) not in done:
        done[id(thing)] = thing  # what refers to itself through a tuple alone keeps that one reference
        done[id(thing)] = _copy(thing, done)
    return done[id(thing)]


def _copy(thing: Any, done: dict[int, Any]) -> Any:
    if hasattr(thing, "untyped_storage"):
        return thing.detach().clone()
    if isinstance(thing, tuple):
        parts = [_copied(each, done) for each in thing]
        return type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)
    if isinstance(thing, (dict, list, deque)):
        other: Any = copy.copy(thing)
        done[id(thing)] = other
        for name, each in thing.items() if isinstance(thing, dict) else enumerate(thing):
            other[name] = _copied(each, done)
        return other
    if not callable(thing) and (attributes := _attributes(thing)):
        other = done[id(thing)] = copy.copy(thing)
        for name, each in attributes.items():
            object.__setattr__(other, name, _copied(each, done))  # it may be frozen
        return other
    return thing


def _attributes(thing: Any) -> dict[str, Any]:
    """What an object holds under names of its own, in a dict or in slots."""
    slots = (name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ()))
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | dict(getattr(thing, "__dict__", {}))
