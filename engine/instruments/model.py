"""The model that is measured: whatever maps [B, T, D] to [B, T, D'], brought to one form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from seqlaws.errors import Misunderstood
from seqlaws.implementation import Implementation

Target: TypeAlias = nn.Module | Callable[..., Any] | Implementation
WIDTHS = ("input_size", "embed_dim", "d_model", "in_features", "in_channels")
DEFAULT_WIDTH = 8


@dataclass(frozen=True)
class Model:
    """A callable [B, T, D] → [B, T, D'] with what is known of it.

    A module is measured in eval mode, so that nothing in it is random, with its own parameters.
    """

    name: str
    call: Callable[[Tensor], Any]
    width: int
    module: nn.Module | None = None
    learned: tuple[Tensor, ...] = ()
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of(cls, target: Target | Model, width: int | None = None, device: str | None = None) -> Model:
        """The model of a module, a callable or an Implementation; D is inferred where it is not given.

        A module is moved to the device, if one is named.
        """
        place = _device(device)
        if isinstance(target, Model):
            return target
        if isinstance(target, Implementation):
            from seqlaws.instruments.subjects import model_of

            return model_of(target, width or DEFAULT_WIDTH, place or torch.device("cpu"))
        if isinstance(target, nn.Module):
            if place:
                target.to(place)
            first = next((each for each in target.parameters() if each.is_floating_point()), None)
            return cls(
                name=type(target).__name__,
                call=_convention(target),
                width=width or _width(target),
                module=target,
                learned=tuple(target.parameters()),
                dtype=torch.float32 if first is None else first.dtype,
                device=place or (torch.device("cpu") if first is None else first.device),
            )
        if not callable(target):
            raise Misunderstood(
                f"a {type(target).__name__} cannot be measured: give a module, a callable or an Implementation"
            )
        name = getattr(target, "__name__", type(target).__name__)
        return cls(name, target, width or DEFAULT_WIDTH, device=place or torch.device("cpu"))

    def __call__(self, x: Tensor) -> Tensor:
        """The output [B, T, D'] for x [B, T, D]."""
        try:
            result = self.call(x)
        except (Misunderstood, KeyboardInterrupt):
            raise
        except Exception as error:
            text = (str(error).strip().splitlines() or [""])[0]
            raise Misunderstood(
                f"{self.name} cannot be called with one tensor {_shape(x)}: {type(error).__name__}: {text}"[:300]
            ) from error
        while isinstance(result, tuple | list) and result:
            result = result[0]
        result = getattr(result, "last_hidden_state", result)
        if not isinstance(result, Tensor):
            raise Misunderstood(f"{self.name} returns a {type(result).__name__}, not a tensor [B, T, D']")
        if result.dim() != 3 or result.shape[:2] != x.shape[:2]:
            raise Misunderstood(
                f"{self.name} returns {_shape(result)} for {_shape(x)}; [B, T, D'] is to come of [B, T, D]"
            )
        return result

    def inputs(self, batch: int, length: int, *, seed: int = 0, dtype: torch.dtype | None = None) -> Tensor:
        """One sequence [1, T, D] of normal numbers, as ``batch`` copies."""
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(1, length, self.width, generator=draw, dtype=torch.float64)
        return x.to(self.device, dtype or self.dtype).repeat(batch, 1, 1)

    @contextmanager
    def still(self, *, training: bool = False) -> Iterator[None]:
        """Inside, the module is in eval mode (or training). Modes, buffers and random numbers are put back."""
        modes = [] if self.module is None else [(each, each.training) for each in self.module.modules()]
        kept = [] if self.module is None else [(each, each.clone()) for each in self.module.buffers()]
        try:
            for module, _ in modes:
                module.training = training
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, before in kept:
                    buffer.copy_(before)

    def doubled(self) -> Model:
        """The same model in float64, where it can be had; else the model itself."""
        try:
            if self.module is not None:
                twin = copy.deepcopy(self.module).double()
                model = replace(Model.of(twin, self.width), name=self.name, dtype=torch.float64)
            else:
                model = replace(self, dtype=torch.float64)
            with model.still(), torch.no_grad():
                return model if model(model.inputs(1, 2)).dtype == torch.float64 else self
        except Exception:  # whatever a model does when it is copied or widened, it can be measured as it is
            return self


def _device(name: str | None) -> torch.device | None:
    if name is None:
        return None
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise Misunderstood(f"there is no device {name!r} here; cpu is always there") from None
    return torch.device(name)


def _convention(module: nn.Module) -> Callable[[Tensor], Any]:
    """How a module is called: those of torch.nn that take other layouts are given them, by views."""
    ours = type(module).__module__.startswith("torch.nn")
    call: Callable[[Tensor], Any] = module
    if isinstance(module, nn.MultiheadAttention):
        call = lambda x: module(x, x, x)  # noqa: E731
    if ours and isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.BatchNorm1d):
        return lambda x: module(x.transpose(1, 2)).transpose(1, 2)
    time_first = ours and any(getattr(each, "batch_first", True) is False for each in module.modules())
    return (lambda x: _swapped(call(x.transpose(0, 1)))) if time_first else call


def _swapped(result: Any) -> Any:
    return (result[0] if isinstance(result, tuple) else result).transpose(0, 1)


def _width(module: nn.Module) -> int:
    for each in module.modules():
        for name in WIDTHS:
            if isinstance(found := getattr(each, name, None), int):
                return found
    return next((each.shape[-1] for each in module.parameters() if each.dim() == 2), DEFAULT_WIDTH)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
