"""Frames: the frameworks in which implementations compute. Arrays go in, arrays come out."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.formats import Array, Format
from seqlaws.layouts import first_along, laid_out


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
        """A context in which nothing is recorded for gradients, no_grad or inference_mode; or "", for any other."""

    def refill(self, tensor: Any, array: Array) -> None:
        """Write other numbers into a tensor, in place."""

    def spoil(self, tensor: Any) -> None:
        """Write NaN all over a tensor that was returned, if it can be written into."""


class NumpyFrame:
    """NumPy arrays. There is no bfloat16 and no gradient."""

    def __init__(self, format: Format) -> None:
        self.dtype = np.dtype(format.name)

    def _cast(self, array: Array) -> Array:
        return np.array(array, dtype=array.dtype if array.dtype.kind in "bi" else self.dtype, order="C")

    def forget(self) -> None:
        """NumPy arrays are copied anew for every call."""

    def tensor(self, array: Array, layout: str = "contiguous") -> Array:
        return laid_out(self._cast(array), layout)

    def expanded(self, array: Array, axes: tuple[int, ...]) -> Array:
        return np.broadcast_to(self._cast(first_along(array, axes)), array.shape)

    def array(self, result: Any, shape: tuple[int, ...], free: str = "") -> Array:
        if not isinstance(result, np.ndarray):
            raise Misbehaviour(f"returned a {type(result).__name__}, not an array", "answers_in_kind")
        check_kind(result.shape, shape, result.dtype.name, self.dtype.name, "cpu", "cpu", free)
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

    def spoil(self, tensor: Any) -> None:
        with suppress(ValueError):  # read-only
            tensor[...] = np.nan


def check_kind(
    shape: tuple[int, ...], due_shape: tuple[int, ...], dtype: str, due_dtype: str, device: str, due_device: str,
    free: str,
) -> None:  # fmt: skip
    """Complain of a result of another kind than is due; ``free`` as in `Frame.array`."""
    if free and "float" not in dtype:
        raise Misbehaviour(f"returned dtype {dtype} where a floating one was due", "answers_in_kind")
    for what, got, due in (("shape", shape, due_shape), ("dtype", dtype, due_dtype), ("device", device, due_device)):
        if got != due and what not in free:
            raise Misbehaviour(f"returned {what} {got} where {due} was due", "answers_in_kind")
