"""Frames: the frameworks in which implementations compute. Arrays go in, arrays come out.

A layout says how the numbers lie in memory. All layouts of one array hold equal numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Protocol

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.formats import Array, Format

LAYOUTS = ("contiguous", "transposed", "swapped", "strided", "packed")


class Frame(Protocol):
    """What a framework must offer so that its functions can be judged."""

    def forget(self) -> None:
        """A trial begins: what was kept of the arrays of the one before is not needed."""

    def tensor(self, array: Array, layout: str = "contiguous") -> Any:
        """A tensor with these numbers."""

    def expanded(self, array: Array, axes: tuple[int, ...]) -> Any:
        """A tensor of stride 0 along axes along which the numbers are constant."""

    def array(self, result: Any, shape: tuple[int, ...], free: str = "") -> Array:
        """The numbers of a result, after its kind, shape, dtype and device have been checked.

        ``free`` says what nothing that went in decides: "dtype", or "dtype and device"."""

    def dtype_of(self, result: Any) -> str:
        """The name of the dtype of a result."""

    def unchanged(self, tensor: Any, array: Array) -> bool:
        """Whether a tensor still holds these numbers, bit by bit."""

    def poison(self, count: int) -> None:
        """Leave NaN in freed memory, where an uninitialised result of this size may find it."""

    def finish(self) -> None:
        """Wait until the device has done what it was asked to."""

    def draw_random(self) -> None:
        """Draw a number from every global random generator: whoever sets them to a seed moves them then."""

    def random_state(self) -> Any:
        """A value that changes when a global random generator is consumed."""

    def settings(self) -> dict[str, Any]:
        """The global settings that a call might change for all that come after it, by name."""

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
        """The gradients of Σ ⟨result, cotangent⟩ over the results that ``call`` returns; and these, after it.

        Results whose cotangent is None take no part. ``before`` is done while nothing is recorded, ``meanwhile``
        between the call and the way back. Where cotangents come ``first``, the graph is walked with these, and then
        with the others, which count. Where results are ``spoiled``, other numbers are written into them before that.
        """

    def learning(self, tensors: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        """The same tensors, of which some now require gradients."""

    def mode(self, name: str) -> AbstractContextManager[Any]:
        """A context in which nothing is recorded for gradients: no_grad or inference_mode."""

    def refill(self, tensor: Any, array: Array) -> None:
        """Write other numbers into a tensor, in place."""


class NumpyFrame:
    """NumPy arrays. There is no bfloat16 and no gradient."""

    def __init__(self, format: Format) -> None:
        self.dtype = np.dtype(format.name)

    def _cast(self, array: Array) -> Array:
        return np.array(array, dtype=array.dtype if array.dtype.kind in "bi" else self.dtype, order="C")

    def forget(self) -> None:
        """NumPy arrays are copied anew for every call."""

    def tensor(self, array: Array, layout: str = "contiguous") -> Array:
        return _laid_out(self._cast(array), layout)

    def expanded(self, array: Array, axes: tuple[int, ...]) -> Array:
        return np.broadcast_to(self._cast(_first_along(array, axes)), array.shape)

    def array(self, result: Any, shape: tuple[int, ...], free: str = "") -> Array:
        if not isinstance(result, np.ndarray):
            raise Misbehaviour(f"returned a {type(result).__name__}, not an array", "answers_in_kind")
        _check_kind(result.shape, shape, result.dtype.name, self.dtype.name, "cpu", "cpu", free)
        return result.astype(np.float64)

    def dtype_of(self, result: Array) -> str:
        return result.dtype.name

    def unchanged(self, tensor: Array, array: Array) -> bool:
        return bool(np.array_equal(tensor, self._cast(array), equal_nan=tensor.dtype.kind == "f"))

    def poison(self, count: int) -> None:
        np.full(count, np.nan, dtype=self.dtype)

    def finish(self) -> None:
        """NumPy never leaves work behind."""

    def draw_random(self) -> None:
        np.random.random()
        random.random()

    def random_state(self) -> Any:
        state: Any = np.random.get_state()
        return (state[1].tobytes(), state[2], random.getstate())

    def settings(self) -> dict[str, Any]:
        return {"numpy.get_printoptions": np.get_printoptions()}

    def gradients(self, *_: Any) -> tuple[dict[str, Array], list[Array]]:
        raise Misbehaviour("NumPy computes no gradients: leave 'gradient' out of can")

    def learning(self, tensors: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
        return tensors

    def mode(self, name: str) -> AbstractContextManager[Any]:
        return nullcontext()

    def refill(self, tensor: Array, array: Array) -> None:
        tensor[...] = self._cast(array)


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
        return _laid_out(self._as_sent(array).clone(), layout)

    def expanded(self, array: Array, axes: tuple[int, ...]) -> Any:
        return self._cast(_first_along(array, axes)).expand(array.shape)

    def array(self, result: Any, shape: tuple[int, ...], free: str = "") -> Array:
        if not isinstance(result, self.torch.Tensor):
            raise Misbehaviour(f"returned a {type(result).__name__}, not a tensor", "answers_in_kind")
        if result.is_nested or result.layout != self.torch.strided:
            layout = "nested" if result.is_nested else str(result.layout)[6:]
            raise Misbehaviour(f"returned a {layout} tensor where a dense one was due", "answers_in_kind")
        _check_kind(
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
        if not grown:
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
        context: AbstractContextManager[Any] = getattr(self.torch, name)()
        return context

    def refill(self, tensor: Any, array: Array) -> None:
        tensor.copy_(self._as_sent(array))


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


def _check_kind(
    shape: tuple[int, ...], due_shape: tuple[int, ...], dtype: str, due_dtype: str, device: str, due_device: str,
    free: str,
) -> None:  # fmt: skip
    if free and "float" not in dtype:
        raise Misbehaviour(f"returned dtype {dtype} where a floating one was due", "answers_in_kind")
    for what, got, due in (("shape", shape, due_shape), ("dtype", dtype, due_dtype), ("device", device, due_device)):
        if got != due and what not in free:
            raise Misbehaviour(f"returned {what} {got} where {due} was due", "answers_in_kind")


def _first_along(array: Array, axes: tuple[int, ...]) -> Array:
    return array[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(array.ndim))]


def _laid_out(tensor: Any, layout: str) -> Any:
    """The same numbers, laid out otherwise; works for arrays and tensors alike."""
    if layout == "contiguous" or tensor.ndim == 0:
        return tensor
    if layout == "transposed" and tensor.ndim >= 2:
        return _copy(tensor.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "swapped" and tensor.ndim >= 3:
        return _copy(tensor.swapaxes(-3, -2)).swapaxes(-3, -2)
    if tensor.shape[-1] == 0:
        return tensor
    # what lies beside and between the numbers are others, so that a wrong address reads wrong numbers
    other = _turned_around(tensor)
    if layout == "strided":
        return _stacked([tensor, other]).reshape(*tensor.shape[:-1], -1)[..., ::2]
    # as queries, keys and values lie in one packed buffer
    return _stacked([other, tensor, other], -2).reshape(*tensor.shape[:-1], -1)[
        ..., tensor.shape[-1] : 2 * tensor.shape[-1]
    ]


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
