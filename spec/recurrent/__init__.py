"""What recurrent layers share: how they are called, and the laws that hold for all of them.

    (y_1 … y_T), s_T = f(x_1 … x_T, s_0),   s_t = step(x_t, s_{t−1})

Axes: B batch, T time, D width of the input, H hidden units, G the units that a unit listens to.
Laws see one output [B,N,H]: the T hidden states, then each part of the final state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.reference.running import Computed
from seqlaws.spec.recurrent.drawing import RecurrentCase, cases
from seqlaws.subject import Subject
from seqlaws.verdict import Output

if TYPE_CHECKING:
    from seqlaws.run import Run

KINDS: dict[str, type[RecurrentCase]] = {}


def recurrent(subject: Subject) -> bool:
    """Whether a subject is a recurrent layer."""
    return subject.name in KINDS


def states(x: Inputs) -> tuple[str, ...]:
    """The names of the parts of the state."""
    return KINDS[x.subject].STATES


def weights(x: Inputs) -> tuple[str, ...]:
    """The names of all weights."""
    kind = KINDS[x.subject]
    return (*kind.MATRICES, *kind.RECURRENT, *kind.OFFSETS)


def without(x: Inputs, *names: str) -> Inputs:
    """The inputs with some arrays all zero."""
    return x.but(**{name: np.zeros_like(getattr(x, name)) for name in names})


def steps(out: Output, x: Inputs) -> Output:
    """The hidden states of every step, [B,T,H]."""
    return out[:, : x.x.shape[1]]


def final(out: Output, x: Inputs) -> Output:
    """The parts of the final state, [B,1,H] or [B,2,H]."""
    return out[:, x.x.shape[1] :]


def handed_on(out: Output, x: Inputs) -> dict[str, Array]:
    """The final state as the initial state of another run."""
    return {name: final(out, x).value[:, place] for place, name in enumerate(states(x))}


def computed_as(whole: Output, value: Array) -> Output:
    """Another computation of the same quantity."""
    return Output(value, lambda: (whole.reference, whole.bound, whole.slack))


def cotangent(f: Run, x: Inputs, *, outputs: bool = True, last: bool = True) -> Array:
    """A gradient of the joined output; of the hidden states alone, or of the final state alone."""
    g = x.noise("gradient of the output", f.subject.shape(x))
    g[:, : x.x.shape[1]] *= outputs
    g[:, x.x.shape[1] :] *= last
    return g


def in_chunks(f: Run, x: Inputs, cuts: list[int]) -> Array:
    """The joined output of a run that is interrupted at some places and continued from the state it returned."""
    parts, out = [], None
    for start, stop in pairwise([0, *cuts, x.x.shape[1]]):
        part = x.take("T", np.arange(start, stop)).but(**({} if out is None else handed_on(*out)))
        out = f(part), part
        parts.append(steps(*out).value)
    assert out is not None
    return np.concatenate([*parts, final(*out).value], axis=1)


def pieces(x: Inputs) -> tuple[tuple[int, ...], ...]:
    """The shapes of what is returned."""
    batch, length, units = x.x.shape[0], x.x.shape[1], x.b_units
    return ((batch, length, units), *((batch, units) for _ in states(x)))


def wide(x: Inputs) -> dict[str, Any]:
    """All arrays in the reference's precision; a state that is not given is zero."""
    empty = np.zeros((x.x.shape[0], units(x)))
    arrays = {name: empty if array is None else array for name, array in x.arrays.items()}
    return {name: array.astype(x.format.wide) for name, array in arrays.items()}


def units(x: Inputs) -> int:
    """How many hidden units there are."""
    return int(getattr(x, KINDS[x.subject].OFFSETS[0]).shape[0])


def joined(parts: list[Computed]) -> tuple[Array, Array]:
    """The value and the bound of the joined output, from those of its pieces."""
    batch, _, width = parts[0].value.shape
    values = [part.value.reshape(batch, -1 if part.value.size else part.value.shape[1], width) for part in parts]
    bounds = [part.bound.reshape(value.shape) for part, value in zip(parts, values, strict=True)]
    return np.concatenate(values, axis=1), np.concatenate(bounds, axis=1)
