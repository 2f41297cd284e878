"""The frame of torch: tensors on one device."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from typing import Any

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.formats import Array, Format
from seqlaws.frames import check_kind
from seqlaws.layouts import first_along, laid_out


class TorchFrame:
    """Torch tensors on one device."""

    def __init__(self, format: Format, device: str) -> None:
        import torch

        self.torch = torch
        self.dtype = getattr(torch, format.name)
        self.device = torch.device(device)
        self._pristine: dict[int, tuple[Array, Any]] = {}

    def forget(self) -> None:
        self._pristine.clear()

    def _cast(self, array: Array) -> Any:
        writable = np.array(array, order="C")
        tensor = self.torch.from_numpy(writable)
        if array.dtype.kind in "bi":
            return tensor.to(self.device)
        return tensor.to(device=self.device, dtype=self.dtype)

    def _as_sent(self, array: Array) -> Any:
        """The tensor of an array, which nobody but this frame ever sees; cast once in a trial."""
        if id(array) not in self._pristine:
            # the array is kept with it, so that its id is not given to another
            self._pristine[id(array)] = array, self._cast(array)
        return self._pristine[id(array)][1]

    def tensor(self, array: Array, layout: str = "contiguous") -> Any:
        return laid_out(self._as_sent(array).clone(), layout)

    def expanded(self, array: Array, axes: tuple[int, ...]) -> Any:
        return self._cast(first_along(array, axes)).expand(array.shape)

    def array(self, result: Any, shape: tuple[int, ...], free: str = "") -> Array:
        if not isinstance(result, self.torch.Tensor):
            raise Misbehaviour(f"returned a {type(result).__name__}, not a tensor", "answers_in_kind")
        if result.is_nested or result.layout != self.torch.strided:
            layout = "nested" if result.is_nested else str(result.layout)[6:]
            raise Misbehaviour(f"returned a {layout} tensor where a dense one was due", "answers_in_kind")
        check_kind(
            tuple(result.shape), shape, self.dtype_of(result), str(self.dtype)[6:], self._place(result),
            self.device.type, free,
        )  # fmt: skip
        values: Array = result.detach().to(device="cpu", dtype=self.torch.float64).numpy()
        return values.copy() if result.dtype == self.torch.float64 else values

    def _place(self, result: Any) -> str:
        """The device of a result; a second one of the same type is another device."""
        place = result.device
        return str(place) if place.type == "cuda" and place.index != self.torch.cuda.current_device() else place.type

    def dtype_of(self, result: Any) -> str:
        return str(result.dtype)[6:]

    def unchanged(self, tensor: Any, array: Array) -> bool:
        pristine = self._as_sent(array)
        if (tensor.shape, tensor.dtype, tensor.device) != (pristine.shape, pristine.dtype, pristine.device):
            return False
        return _equal(tensor.detach(), pristine)

    def poison(self, count: int) -> None:
        self.torch.full((count,), float("nan"), dtype=self.dtype, device=self.device)

    def finish(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def draw_random(self) -> None:
        np.random.random()
        random.random()
        self.torch.rand(())
        if self.device.type == "cuda":
            self.torch.rand((), device=self.device)

    def random_state(self) -> Any:
        state = [bytes(self.torch.get_rng_state().numpy())]
        if self.device.type == "cuda":
            state.append(bytes(self.torch.cuda.get_rng_state().numpy()))
        numpy_state: Any = np.random.get_state()
        return (state, numpy_state[1].tobytes(), numpy_state[2], random.getstate())

    def settings(self) -> dict[str, Any]:
        torch, backends = self.torch, self.torch.backends
        return {
            "torch.get_default_dtype": torch.get_default_dtype(),
            "torch.get_default_device": torch.get_default_device(),
            "torch.is_grad_enabled": torch.is_grad_enabled(),
            "torch.is_inference_mode_enabled": torch.is_inference_mode_enabled(),
            "torch.is_autocast_enabled": torch.is_autocast_enabled(self.device.type),
            "torch.is_anomaly_enabled": torch.is_anomaly_enabled(),
            "torch.get_num_threads": torch.get_num_threads(),
            "torch.set_flush_denormal": bool(torch.tensor(5e-324, dtype=torch.float64) * 1.0 == 0),
            "torch.get_float32_matmul_precision": torch.get_float32_matmul_precision(),
            "torch.are_deterministic_algorithms_enabled": torch.are_deterministic_algorithms_enabled(),
            "torch.backends.mkldnn.enabled": backends.mkldnn.enabled,
            "torch.backends.cudnn.enabled": backends.cudnn.enabled,
            "torch.backends.cudnn.benchmark": backends.cudnn.benchmark,
            "torch.backends.cuda.math_sdp_enabled": backends.cuda.math_sdp_enabled(),
            "torch.backends.cuda.flash_sdp_enabled": backends.cuda.flash_sdp_enabled(),
            "torch.backends.cuda.mem_efficient_sdp_enabled": backends.cuda.mem_efficient_sdp_enabled(),
            "torch.backends.cuda.cudnn_sdp_enabled": backends.cuda.cudnn_sdp_enabled(),
        }

    def gradients(
        self,
        call: Callable[..., Any],
        tensors: Mapping[str, Any],
        of: tuple[str, ...],
        shapes: tuple[tuple[int, ...], ...],
        cotangents: tuple[Any, ...],
        before: Callable[[], Any] = lambda: None,
        meanwhile: Callable[[], Any] = lambda: None,
        first: tuple[Any, ...] | None = None,
        spoiled: bool = False,
    ) -> tuple[dict[str, Array], list[Array]]:
        before()
        leaves = [tensors[name].requires_grad_(True) for name in of]
        results = call()
        for result, shape in zip(results, shapes, strict=True):
            self.array(result, shape)
        meanwhile()
        if spoiled:
            with self.torch.no_grad():
                for result in results:
                    result.mul_(3.0)
        if first is None:
            found = self._walked_back(results, cotangents, leaves)
        else:
            earlier = self._walked_back(results, first, leaves, keep=True)
            copies = [None if each is None else each.clone() for each in earlier]
            found = self._walked_back(results, cotangents, leaves)
            for one, copy in zip(earlier, copies, strict=True):
                if copy is not None and not _equal(one, copy):
                    raise Misbehaviour("a later backward pass overwrote the gradients that an earlier one had returned")
        for leaf in leaves:
            leaf.requires_grad_(False)
        gradients = {
            name: np.zeros(tuple(tensors[name].shape))
            if gradient is None
            else self.array(gradient, tuple(tensors[name].shape))
            for name, gradient in zip(of, found, strict=True)
        }
        return gradients, [self.array(result, shape) for result, shape in zip(results, shapes, strict=True)]

    def _walked_back(
        self, results: tuple[Any, ...], cotangents: tuple[Any, ...], leaves: list[Any], keep: bool = False
    ) -> tuple[Any, ...]:
        pairs = zip(results, cotangents, strict=True)
        grown = [(end, direction) for end, direction in pairs if end.requires_grad and direction is not None]
        if not grown or not leaves:
            return (None,) * len(leaves)
        ends, directions = zip(*grown, strict=True)
        meeting = _meet().apply(directions, *ends)
        found: tuple[Any, ...] = self.torch.autograd.grad(meeting, leaves, allow_unused=True, retain_graph=keep)
        return found

    def learning(self, tensors: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        for name in names:
            tensors[name].requires_grad_(True)
        return tensors

    def mode(self, name: str) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = getattr(self.torch, name)() if name else nullcontext()
        return context

    def refill(self, tensor: Any, array: Array) -> None:
        tensor.copy_(self._as_sent(array))

    def spoil(self, tensor: Any) -> None:
        with self.torch.no_grad(), suppress(RuntimeError):  # several places may be one
            tensor.fill_(float("nan"))


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors of one shape hold the same numbers; NaN is the same as NaN."""
    return bool(one.equal(other) or one.isclose(other, rtol=0, atol=0, equal_nan=True).all())


@cache
def _meet() -> Any:
    """What makes a number of some ends, whose gradient with respect to each is the very tensor of its direction.

    Handing the directions to torch.autograd.grad would make it load a computer algebra system, which
    takes half a second.
    """
    import torch

    class Meet(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, directions: tuple[Any, ...], *ends: Any) -> Any:
            ctx.directions = directions
            return ends[0].new_zeros(())

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            return None, *ctx.directions

    return Meet
