"""Caller: the one place where third-party code is called.

It makes tensors of inputs, hands them over as the subject arranges them, and turns whatever goes wrong into a
Misbehaviour, which the judge reads as a verdict.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from seqlaws.clock import Clock
from seqlaws.errors import Misbehaviour
from seqlaws.formats import FORMATS, Array
from seqlaws.frames import Frame, NumpyFrame
from seqlaws.implementation import Implementation
from seqlaws.inputs import Inputs
from seqlaws.layouts import in_one_memory
from seqlaws.pieces import join
from seqlaws.torch_frame import TorchFrame


class Caller:
    """An implementation at one device and dtype, the seconds spent in it, and the inputs of its last calls."""

    def __init__(self, implementation: Implementation, device: str, dtype: str) -> None:
        self.implementation = implementation
        self.subject = implementation.definition
        self.device = device
        self.format = FORMATS[dtype]
        self.clock = Clock()
        self.calls: list[Inputs] = []
        self.frame: Frame = (
            NumpyFrame(self.format) if implementation.framework == "numpy" else TorchFrame(self.format, device)
        )

    def _tensors(
        self, x: Inputs, layout: str | Mapping[str, str], expanded: Mapping[str, int] | None,
        shared: Mapping[str, tuple[str, ...]] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        self.calls.append(x)

        def tensor(name: str, array: Array) -> Any:
            if expanded and name in expanded:
                return self.frame.expanded(array, (expanded[name],))
            return self.frame.tensor(array, layout if isinstance(layout, str) else layout[name])

        made = {name: None if array is None else tensor(name, array) for name, array in x.arrays.items()}
        for how, names in (shared or {}).items():
            made.update(zip(names, in_one_memory([made[name] for name in names], how), strict=True))
        return made

    def _invoke(self, x: Inputs, tensors: Mapping[str, Any], path: str | None) -> Any:
        arguments, options = self.subject.arrange(tensors, x.options)
        call = self.implementation.call if path is None else self.implementation.paths[path]
        weights = [(each, dict(vars(each))) for each in arguments if isinstance(each, SimpleNamespace)]
        result = self.subject.unpack(self.subject.perform(call, arguments, options))
        for each, before in weights:
            changed = [name for name, held in vars(each).items() if before.get(name, each) is not held]
            if changed or vars(each).keys() != before.keys():
                named = ", ".join(f"w.{name}" for name in changed) or "names"
                raise Misbehaviour(
                    f"put something else into the weights that it was given: {named}", "leaves_its_inputs_alone"
                )
        return result

    def _results(self, result: Any, count: int) -> tuple[Any, ...]:
        """The tensors that a call returned."""
        results = result if isinstance(result, tuple) and count > 1 else (result,)
        if len(results) != count:
            raise Misbehaviour(f"returned {described(result)} where {count} tensors were due", "answers_in_kind")
        return results

    def _array(self, result: Any, x: Inputs) -> Array:
        """The numbers of a result as one array, after its kind has been checked."""
        shapes = self.subject.pieces(x) or (self.subject.shape(x),)
        free = self._undecided(x)
        pairs = zip(self._results(result, len(shapes)), shapes, strict=True)
        with self._guarded():  # a tensor of an odd kind may refuse to give its numbers
            return join([self.frame.array(part, shape, free) for part, shape in pairs], self.subject.shape(x))

    def _as_returned(self, x: Inputs, result: Any) -> Inputs:
        """The inputs as those of the dtype that the result came in, where nothing that went in decided it."""
        returned = FORMATS.get(self.frame.dtype_of(result), self.format) if self._undecided(x) else self.format
        return x if returned is self.format else x.in_format(returned)

    def _undecided(self, x: Inputs) -> str:
        """What nothing that goes in decides about the result."""
        arrays = [array for array in x.arrays.values() if array is not None]
        if self.subject.takes == "arrays" and any(array.dtype.kind == "f" for array in arrays):
            return ""
        return "dtype" if arrays else "dtype and device"

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Misbehaviour:
            raise
        except BaseException as error:  # whatever a third party raises is a verdict, not a fault of the suite
            if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                raise  # in a child, which no Ctrl-C reaches, it is not the user who raised it
            raise Misbehaviour(f"raised {_told(error)}"[:300]) from error

    def _unchanged(self, x: Inputs, tensors: Mapping[str, Any]) -> None:
        for name, array in x.arrays.items():
            if array is not None and not self.frame.unchanged(tensors[name], array):
                raise Misbehaviour(f"changed its input {name} in place", "leaves_its_inputs_alone")


def described(result: Any) -> str:
    """What somebody returned, in words."""
    kind = type(result).__name__
    if isinstance(result, (tuple, list)):
        return f"{len(result)} values ({kind})"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _told(error: BaseException) -> str:
    """What went wrong, in a line: the first, unless an interpreter wraps another exception in its own."""
    lines = _text_of(error).strip().splitlines() or [""]
    inner = (line for line in reversed(lines[1:]) if re.match(r"\w+(Error|Exception): ", line))
    return next(inner, f"{type(error).__name__}: {lines[0]}")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:
        return f"its text cannot be had, which raised {type(worse).__name__}"
