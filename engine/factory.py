"""Factories: implementations that make a model, which is then asked more than one thing."""

from __future__ import annotations

import copy
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
    """A new model with the dtype and device of a tensor, its weights frozen.

    Global random generators stay where they were.
    """

    with undisturbed(like.device):
        model = make(seed, *sizes)
    if hasattr(model, "requires_grad_"):
        model.requires_grad_(False)
    return model.to(device=like.device, dtype=like.dtype) if hasattr(model, "to") else model


@lru_cache(maxsize=256)
def _kept(make: Callable[..., Any], device: Any, dtype: Any, seed: int, *sizes: int) -> Any:
    import torch

    return fresh(make, torch.empty(0, device=device, dtype=dtype), seed, *sizes)


def built(make: Callable[..., Any], like: Any, seed: int, *sizes: int) -> Any:
    """The model of a seed, the same one every time: what it keeps from call to call shows."""
    return _kept(make, like.device, like.dtype, seed, *sizes)


def tensors_in(thing: Any) -> Iterator[Any]:
    """All tensors in a nest of tuples, lists, dicts and objects, those with slots too."""
    if hasattr(thing, "untyped_storage"):
        yield thing
    elif isinstance(thing, dict):
        for each in thing.values():
            yield from tensors_in(each)
    elif isinstance(thing, (tuple, list)):
        for each in thing:
            yield from tensors_in(each)
    elif not callable(thing):
        yield from tensors_in(_attributes(thing))


def copied(thing: Any) -> Any:
    """The same nest with copies of its tensors, cut off from whatever they were computed from."""
    if hasattr(thing, "untyped_storage"):
        return thing.detach().clone()
    if isinstance(thing, dict):
        other = copy.copy(thing)
        other.update({name: copied(each) for name, each in thing.items()})
        return other
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*map(copied, thing))
    if isinstance(thing, (tuple, list)):
        return type(thing)(map(copied, thing))
    if not callable(thing) and (attributes := _attributes(thing)):
        other = copy.copy(thing)
        for name, each in attributes.items():
            object.__setattr__(other, name, copied(each))  # it may be frozen
        return other
    return thing


def _attributes(thing: Any) -> dict[str, Any]:
    """What an object holds under names of its own, in a dict or in slots."""
    slots = (name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ()))
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | dict(getattr(thing, "__dict__", {}))
