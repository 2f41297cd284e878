"""Tools of lessons that stand around a call: all tensors among its arguments and results, however they come."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


def tensors(value: Any) -> list[Tensor]:
    """All tensors among arguments, in tuples and in sets of weights too."""
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return [tensor for each in value for tensor in tensors(each)]
    return [value] if isinstance(value, Tensor) else []


def changed(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same arguments with every tensor replaced."""
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**changed(change, vars(value)))
    if isinstance(value, dict):
        return {name: changed(change, each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(changed(change, each) for each in value)
    return change(value) if isinstance(value, Tensor) else value


def from_memory(tensor: Tensor) -> Tensor:
    """What is read by going through memory from a tensor's first number, whatever its strides are."""
    if not tensor.numel():
        return tensor
    held = tensor.untyped_storage().nbytes() // tensor.element_size() - tensor.storage_offset()
    numbers = tensor.as_strided((held,), (1,))
    return numbers.repeat(math.ceil(tensor.numel() / held))[: tensor.numel()].reshape(tensor.shape)


def with_gradient(result: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A result (or several) whose incoming gradient is changed on the way back."""
    for tensor in tensors(result):
        if tensor.requires_grad:
            tensor.register_hook(change)  # type: ignore[no-untyped-call]
    return result


def hides_the_future(mask: Tensor) -> bool:
    """Whether a mask of five tokens or more, with a row for each, hides from every token all that come later."""
    if mask.dim() < 2 or mask.shape[-2] != mask.shape[-1] or mask.shape[-1] < 5:
        return False
    seen = mask if mask.dtype == torch.bool else mask > -math.inf
    return not bool(seen.triu(1).any())
