"""Run: an implementation as a law sees it, which calls it like a function of Inputs.

What it returns comes with the exact value and the bound of the reference, for those who ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

from seqlaws.caller import Caller
from seqlaws.errors import Misbehaviour
from seqlaws.formats import FORMATS, Array
from seqlaws.implementation import Implementation
from seqlaws.inputs import Inputs
from seqlaws.pieces import axes_of, join, split
from seqlaws.recall import RECALL, key_of
from seqlaws.verdict import Output, per_entry


class Run(Caller):
    """An implementation at one device and dtype, as a law sees it: ``attend(x)`` is an Output."""

    def __init__(
        self, implementation: Implementation, device: str, dtype: str, dialect: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(implementation, device, dtype)
        self.dialect = implementation.claims.dialect if dialect is None else dialect
        self.cotangents: list[Array] = []
        self._shared = frozenset(self.subject.cases.always(implementation.claims))
        self._made: dict[Any, Inputs] = {}
        self._settings = self.frame.settings()

    @property
    def paths(self) -> tuple[str, ...]:
        """The other ways to run the same function."""
        return tuple(self.implementation.paths)

    @property
    def survives_bad_indices(self) -> bool:
        """Whether an index out of range may be asked for: CUDA never answers again, instead of refusing."""
        return self.device != "cuda"

    def can(self, capability: str) -> bool:
        """Whether the implementation declares a capability."""
        return capability in self.implementation.claims.can

    def __call__(
        self,
        x: Inputs,
        *,
        path: str | None = None,
        layout: str | Mapping[str, str] = "contiguous",
        expanded: Mapping[str, int] | None = None,
        shared: Mapping[str, tuple[str, ...]] | None = None,
        mode: str = "",
        learning: tuple[str, ...] = (),
    ) -> Output:
        """The output for inputs; ``layout`` is one for all arrays or one for each, ``expanded`` names arrays
        to pass with stride 0 along an axis, ``shared`` names arrays to pass in one memory, and how, ``mode`` is
        no_grad or inference_mode, and arrays that are ``learning`` require gradients."""
        tensors = self._tensors(x, layout, expanded, shared)
        self.frame.learning(tensors, learning)
        shape = self.subject.shape(x)
        self.frame.poison(int(np.prod(shape)))
        with self._guarded(), self.clock.inside(), self.frame.mode(mode):
            result = self._invoke(x, tensors, path)
            self.frame.finish()
        self._unchanged(x, tensors)
        return self._output(self._array(result, x), x, self._as_returned(x, result), path)

    def _output(self, value: Array, x: Inputs, due: Inputs, path: str | None) -> Output:
        """A value for inputs, with the reference and the bound for what was due."""

        def exact() -> tuple[Array, ...]:
            if self.subject.exact is None:
                return own_error(self, x, path)
            reference, bound = self._recalled("values", partial(self.subject.exact, due), due)
            return reference, bound, self.subject.slack(x, bound)

        return Output(value.astype(self.format.wide), exact)

    def gradient(
        self,
        x: Inputs,
        cotangent: Array,
        of: tuple[str, ...],
        *,
        path: str | None = None,
        layout: str | Mapping[str, str] = "contiguous",
        expanded: Mapping[str, int] | None = None,
        cotangent_layout: str = "contiguous",
        cotangent_expanded: tuple[int, ...] = (),
        only: int | None = None,
        first: Array | None = None,
        meanwhile: Inputs | None = None,
        spoiled: bool = False,
    ) -> dict[str, Output]:
        """The gradients of ⟨output, cotangent⟩ with respect to some of the arrays, by name.

        With ``only``, none but that one of several results takes part, where the cotangent is zero in all others.
        With ``first``, the graph is walked back with that cotangent before. With ``meanwhile``, the same tensors
        are used without a gradient before, and a call with these other inputs is recorded in between. Where the
        output is ``spoiled``, other numbers are written into it in between.
        """
        return self._there_and_back(
            x, cotangent, of, path, layout, expanded, cotangent_layout, cotangent_expanded, only, first, meanwhile,
            spoiled,
        )[0]  # fmt: skip

    def trained(self, x: Inputs, cotangent: Array, of: tuple[str, ...]) -> Output:
        """The output of a call that is recorded for some gradients, as it is after the backward pass."""
        return self._there_and_back(x, cotangent, of)[1]

    def reread(self, x: Inputs, *others: Inputs, mode: str = "") -> list[Output]:
        """The outputs for other inputs, one after another, in the very tensors that held x in a first call."""
        tensors = self._tensors(x, "contiguous", None)
        with self._guarded(), self.clock.inside(), self.frame.mode(mode):
            self._invoke(x, tensors, None)
        outputs = []
        for before, y in pairwise((x, *others)):
            self.calls.append(y)
            for name, array in y.arrays.items():
                if array is not None and array is not before.arrays[name]:
                    self.frame.refill(tensors[name], array)
            with self._guarded(), self.clock.inside(), self.frame.mode(mode):
                result = self._invoke(y, tensors, None)
                self.frame.finish()
            self._unchanged(y, tensors)
            outputs.append(self._output(self._array(result, y).copy(), y, self._as_returned(y, result), None))
        return outputs

    def _there_and_back(
        self, x: Inputs, cotangent: Array, of: tuple[str, ...], path: str | None = None,
        layout: str | Mapping[str, str] = "contiguous", expanded: Mapping[str, int] | None = None,
        cotangent_layout: str = "contiguous", cotangent_expanded: tuple[int, ...] = (), only: int | None = None,
        first: Array | None = None, meanwhile: Inputs | None = None, spoiled: bool = False,
    ) -> tuple[dict[str, Output], Output]:  # fmt: skip
        tensors = self._tensors(x, layout, expanded)
        rounded = self.format.round(cotangent)
        self.cotangents.append(rounded)
        shapes = self.subject.pieces(x) or (self.subject.shape(x),)
        parts = split(rounded, shapes)
        directions = tuple(
            self.frame.expanded(part, axes_of(part, cotangent_expanded, cotangent.ndim))
            if cotangent_expanded
            else self.frame.tensor(part, cotangent_layout)
            for part in parts
        )
        around: dict[str, Any] = {"spoiled": spoiled}
        if first is not None:
            around["first"] = tuple(map(self.frame.tensor, split(self.format.round(first), shapes)))
        if meanwhile is not None:
            others = self._tensors(meanwhile, "contiguous", None)
            around["before"] = lambda: self._invoke(x, tensors, path)
            around["meanwhile"] = lambda: self._invoke(meanwhile, self.frame.learning(others, of), path)
        with self._guarded(), self.clock.inside():
            found, values = self.frame.gradients(
                lambda: self._results(self._invoke(x, tensors, path), len(shapes)), tensors, of, shapes,
                tuple(each if only in (None, place) else None for place, each in enumerate(directions)), **around,
            )  # fmt: skip
            self.frame.finish()
        self._unchanged(x, tensors)
        if not all(map(self.frame.unchanged, directions, parts)):
            raise Misbehaviour("changed the gradient of its output in place", "leaves_its_inputs_alone")

        @cache
        def exact() -> Mapping[str, tuple[Array, Array]]:
            if self.subject.exact_gradient is None:
                raise NotImplementedError(f"{self.subject.name} states no gradient")
            exact_gradient = partial(self.subject.exact_gradient, x, rounded)
            due: Mapping[str, tuple[Array, Array]] = self._recalled("gradients", exact_gradient, x, rounded)
            return due

        def due_to(name: str) -> tuple[Array, Array]:
            return exact()[name]

        gradients = {
            name: Output(value.astype(self.format.wide), partial(due_to, name)) for name, value in found.items()
        }
        return gradients, self._output(join(values, self.subject.shape(x)), x, x, path)

    def in_coarsest_dtype(self, x: Inputs) -> Output:
        """The output for these inputs in the dtype with the fewest digits that is declared, none of them infinite
        for want of range."""
        coarsest = max(self.implementation.dtypes, key=lambda name: FORMATS[name].unit)
        other = Run(self.implementation, self.device, coarsest, self.dialect)
        other.clock = self.clock
        return other(
            replace(x, arrays={name: other._in_range(array) for name, array in x.arrays.items()}, format=other.format)
        )

    def _in_range(self, array: Array | None) -> Array | None:
        if array is None or array.dtype.kind != "f":
            return array
        return np.where(np.isfinite(array), np.clip(array, -self.format.largest, self.format.largest), array)

    def ask(self, x: Inputs, question: Callable[[Any, Mapping[str, Any]], Any]) -> Any:
        """What an implementation says to a question that is not a call: ``question(it, tensors by name)``."""
        tensors = self._tensors(x, "contiguous", None)
        with self._guarded(), self.clock.inside():
            answer = question(self.implementation.call, tensors)
            self.frame.finish()
        self._unchanged(x, tensors)
        return answer

    def numbers(self, tensor: Any) -> Array:
        """The numbers of a tensor that was the answer to a question."""
        if not hasattr(tensor, "shape"):
            raise Misbehaviour(f"gave a {type(tensor).__name__} where a tensor was due")
        return self.frame.array(tensor, tuple(tensor.shape)).astype(self.format.wide)

    def refuses(self, x: Inputs, *, path: str | None = None, mode: str = "", learning: tuple[str, ...] = ()) -> bool:
        """Whether the implementation answers malformed inputs with an exception; under no_grad or inference_mode
        if ``mode`` says so, or where some arrays are ``learning``, which means that they require gradients."""
        tensors = self._tensors(x, "contiguous", None)
        self.frame.learning(tensors, learning)
        try:
            with self._guarded(), self.clock.inside(), self.frame.mode(mode):
                self._invoke(x, tensors, path)
                self.frame.finish()
        except Misbehaviour as outcome:
            return not outcome.law
        return False

    def overwrites(self, x: Inputs, later: Iterable[Inputs]) -> bool:
        """Whether one of several later calls changes what a call with x has returned, or what is written into
        that changes a later call."""
        tensors = self._tensors(x, "contiguous", None)
        with self._guarded(), self.clock.inside():
            result = self._invoke(x, tensors, None)
            self.frame.finish()
        before = self._array(result, x).copy()
        for y in later:
            self(y)
        if not np.array_equal(before, self._array(result, x), equal_nan=True):
            return True
        for part in self._results(result, len(self.subject.pieces(x) or (0,))):
            self.frame.spoil(part)
        return not np.array_equal(before, self(x).value.astype(before.dtype), equal_nan=True)

    def consumes_randomness(self, x: Inputs) -> bool:
        """Whether a call moves a global random generator, or sets it to a seed."""
        self.frame.draw_random()  # else it may stand where an earlier call has set it
        before = self.frame.random_state()
        self(x)
        return bool(before != self.frame.random_state())

    def changed_settings(self, x: Inputs) -> list[str]:
        """The names of the global settings that are others after a call, or have been since the first."""
        changed: list[str] = []
        for mode in ("", "no_grad"):
            with self.frame.mode(mode):
                before = self.frame.settings() if mode else self._settings
                self(x)
                after = self.frame.settings()
            changed += [name for name in before if before[name] != after[name]]
        return changed

    def inputs(self, case: Any) -> Inputs:
        """The inputs of a case; those that the subject always tries, which most laws do, are made once."""
        if case not in self._shared:
            made: Inputs = case.inputs(self.format)
            return made
        if case not in self._made:
            self._made[case] = case.inputs(self.format)
        return self._made[case]

    def begin(self) -> None:
        """Forget the calls of the trial before."""
        self.calls.clear()
        self.cotangents.clear()
        self.frame.forget()

    def _recalled(self, question: str, exact: Callable[[Mapping[str, str]], Any], x: Inputs, *arrays: Array) -> Any:
        """What the reference says of a question, counting the seconds in which it has to be computed."""

        def compute() -> Any:
            with self.clock.referring(), np.errstate(all="ignore"):
                return exact(self.dialect)

        return RECALL(key_of(question, x, self.dialect, *arrays), compute)


def own_error(run: Run, x: Inputs, path: str | None) -> tuple[Array, ...]:
    """What an implementation returns in float64, and how far rounding takes it from there, entry by entry.

    Where there is no reference, a program is its own. Rounding errors are proportional to the unit roundoff,
    so that of any format is read off the one in float32: at most four times as large as the largest in the
    entry, and never less than a few roundings of the largest number in it. Of one that runs in neither of the
    two, which it need not if it does not declare them, nothing is known: anything is allowed.
    """
    values = {}
    for name in ("float32", "float64"):
        other = Run(run.implementation, run.device, name, run.dialect)
        other.clock = run.clock
        try:
            values[name] = other(replace(x, format=FORMATS[name]), path=path).value
        except Misbehaviour:
            if name in run.implementation.dtypes:
                raise
            anything = np.full(run.subject.shape(x), np.inf)
            return np.zeros_like(anything), anything, anything
    exact = values["float64"].astype(run.format.wide)
    share = run.format.unit / FORMATS["float32"].unit
    error = per_entry(4 * share * np.abs(values["float32"] - exact) + 16 * run.format.unit * np.abs(exact))
    return exact, error, error
