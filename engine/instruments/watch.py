"""Watching: whether what operators show is all there is.

A model is run on x, on another x, and on x again. Its program is trusted if all three do the same
operators with the same numbers beside the tensors, and the first and last agree in every bit.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from seqlaws.instruments.exactness import Exactness, unknown
from seqlaws.instruments.model import Model
from seqlaws.instruments.modes import Seeing
from seqlaws.instruments.shadow import base_name
from seqlaws.instruments.transparent import transparent

PLAIN = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))


class _Watch(Seeing):  # type: ignore[no-untyped-call]
    """Writes down the operators of a program, and the tensors that come into it from nowhere."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.steps: list[tuple[str, str]] = []
        self._seen = {each.untyped_storage()._cdata for each in known}
        self._alive: list[Any] = []

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and self._new(leaf) and not leaf.requires_grad:
                self.steps.append(("a tensor from outside torch", _digest(leaf)))
        out = func(*args, **kwargs)
        self.steps.append((base_name(func), repr(tree_map(_plain, (args, kwargs)))))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._new(leaf)
        return out

    def _new(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        if storage._cdata in self._seen:
            return False
        self._seen.add(storage._cdata)
        self._alive.append(storage)
        return True


def doubts(model: Model, length: int, batch: int = 2) -> Exactness | None:
    """Why the program of a model cannot be trusted to be what operators show; None if it can."""
    x, other = (model.inputs(batch, length, seed=seed) for seed in (0, 1))
    known = [*model.learned, *(model.module.buffers() if model.module is not None else ())]
    with model.still(), torch.no_grad(), transparent():
        runs = []
        for seed, given in enumerate((x, other, x)):
            torch.manual_seed(seed)
            watch = _Watch([*known, given])
            with watch:
                out = model(given)
            runs.append((watch.steps, out.clone()))
    (steps, first), (others, _), (_, again) = runs
    if not torch.equal(_bits(first), _bits(again)):
        return unknown("it is not a function of its input alone: two calls with the same input differ")
    for (name, said), (_, now) in zip(steps, others, strict=False):
        if said != now:
            return unknown(
                f"numbers leave the tensors and come back: at {name}, another input brings another {_what(name)}"
            )
    if len(steps) != len(others):
        return unknown(
            f"what it does depends on its numbers: {len(steps)} operators for one input, {len(others)} for another"
        )
    return None


def _what(name: str) -> str:
    return "value" if name.startswith("a tensor") else "argument"


def _plain(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape)
    return leaf if isinstance(leaf, PLAIN) else type(leaf)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha1(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


def _bits(tensor: Tensor) -> Tensor:
    return torch.nan_to_num(tensor, nan=0.125)
