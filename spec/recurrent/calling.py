"""How recurrent layers are called, and what their laws ask of a run.

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

from seqlaws.caller import described
from seqlaws.errors import Misbehaviour
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


def units(x: Inputs) -> int:
    """How many hidden units there are."""
    return int(getattr(x, KINDS[x.subject].OFFSETS[0]).shape[0])


def length(x: Inputs) -> int:
    """How many steps there are."""
    return int(x.x.shape[1])


def without(x: Inputs, *names: str) -> Inputs:
    """The inputs with some arrays all zero."""
    return x.but(**{name: np.zeros_like(getattr(x, name)) for name in names})


def steps(out: Output, x: Inputs) -> Output:
    """The hidden states of every step, [B,T,H]."""
    return out[:, : length(x)]


def final(out: Output, x: Inputs) -> Output:
    """The parts of the final state, [B,1,H] or [B,2,H]."""
    return out[:, length(x) :]


def handed_on(out: Output, x: Inputs) -> dict[str, Array]:
    """The final state as the initial state of another run."""
    return {name: final(out, x).value[:, place] for place, name in enumerate(states(x))}


def computed_as(whole: Output, value: Array) -> Output:
    """Another computation of the same quantity."""
    return Output(value, lambda: (whole.reference, whole.bound, whole.slack))


def cotangent(f: Run, x: Inputs, *, outputs: bool = True, last: bool = True) -> Array:
    """A gradient of the joined output; of the hidden states alone, or of the final state alone."""
    g = x.noise("gradient of the output", f.subject.shape(x))
    g[:, : length(x)] *= outputs
    g[:, length(x) :] *= last
    return g


def in_chunks(f: Run, x: Inputs, cuts: list[int]) -> Array:
    """The joined output of a run that is interrupted at some places and continued from the state it returned."""
    parts: list[Array] = []
    state: dict[str, Array] = {}
    for start, stop in pairwise([0, *cuts, length(x)]):
        part = x.take("T", np.arange(start, stop)).but(**state)
        out = f(part)
        parts.append(steps(out, part).value)
        state = handed_on(out, part)
    return np.concatenate([*parts, *(array[:, None] for array in state.values())], axis=1)


def specify(
    kind: type[RecurrentCase],
    signature: str,
    evaluate: Callable[[Inputs, Mapping[str, Array], Any, Mapping[str, str]], Any],
    gradients: Callable[..., Mapping[str, Computed]],
    dialects: Mapping[str, tuple[str, ...]],
) -> Subject:
    """A recurrent layer as a subject.

    ``evaluate`` makes a run, which knows its ``pieces``; ``gradients`` goes back through it.
    """
    KINDS[kind.SUBJECT] = kind

    def run(x: Inputs, dialect: Mapping[str, str]) -> Any:
        nothing = np.zeros((x.x.shape[0], units(x)))
        arrays = {name: (nothing if a is None else a).astype(x.format.wide) for name, a in x.arrays.items()}
        return evaluate(x, arrays, SimpleNamespace(**arrays), dialect)

    def exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
        parts = run(x, dialect).pieces
        shown = [[part.value, part.bound] if part.value.ndim == 3 else [part.value[:, None], part.bound[:, None]]
                 for part in parts]  # fmt: skip
        value, bound = (np.concatenate(pieces, axis=1) for pieces in zip(*shown, strict=True))
        return value, bound

    def exact_gradient(x: Inputs, g: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
        g, size = g.astype(x.format.wide), length(x)
        found = gradients(run(x, dialect), g[:, :size], *(g[:, size + place] for place in range(len(states(x)))))
        return {name: (each.value, each.bound) for name, each in found.items()}

    return Subject(
        name=kind.SUBJECT,
        signature=signature,
        capabilities={"gradient": "can be differentiated"},
        dialects={**dialects, "missing_state": ("undefined", "zeros"), "misfits": ("undefined", "refused")},
        arrange=_arrange(kind),
        shape=lambda x: (x.x.shape[0], length(x) + len(kind.STATES), units(x)),
        exact=exact,
        exact_gradient=exact_gradient,
        cases=cases(kind),
        differentiable=("x", *kind.STATES, *kind.WEIGHTS),
        simpler=_simpler,
        valid=_valid,
        unpack=_unpack(kind),
        pieces=lambda x: ((x.x.shape[0], length(x), units(x)), *[(x.x.shape[0], units(x))] * len(kind.STATES)),
        free_axes=lambda claims: ("B", "T"),
        with_nan=_with_nan,
        malformed=_malformed,
        misfits=_misfits,
    )


def _arrange(kind: type[RecurrentCase]) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    def arrange(t: Mapping[str, Any], o: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        state = tuple(t[name] for name in kind.STATES)
        given = None if state[0] is None else state if len(state) > 1 else state[0]
        return (t["x"], given, SimpleNamespace(**{name: t[name] for name in kind.WEIGHTS})), {}

    return arrange


def _unpack(kind: type[RecurrentCase]) -> Callable[[Any], tuple[Any, ...]]:
    due = "(hs, (h, c))" if len(kind.STATES) > 1 else "(hs, h)"

    def unpack(result: Any) -> tuple[Any, ...]:
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise Misbehaviour(f"returned {described(result)} where {due} was due", "answers_in_kind")
        if len(kind.STATES) == 1:
            return tuple(result)
        if not isinstance(result[1], (tuple, list)) or len(result[1]) != len(kind.STATES):
            raise Misbehaviour(f"returned {described(result[1])} for the state, where {due} was due", "answers_in_kind")
        return (result[0], *result[1])

    return unpack


def _valid(x: Inputs) -> bool:
    """Whether the sizes fit together, as they may not after axes have been shortened one by one."""
    kind, count = KINDS[x.subject], units(x)
    batches = {getattr(x, name).shape for name in kind.STATES if getattr(x, name) is not None}
    return (
        count > 0
        and batches <= {(x.x.shape[0], count)}
        and all(getattr(x, name).shape == (count, x.x.shape[2]) for name in kind.MATRICES)
        and all(getattr(x, name).shape == (count, count) for name in kind.RECURRENT)
        and all(getattr(x, name).shape == (count,) for name in kind.OFFSETS)
    )


def _simpler(x: Inputs) -> Iterator[Inputs]:
    """Fewer hidden units: each of them leaves with all that belongs to it."""
    for unit in range(units(x) if units(x) > 1 else 0):
        rest = np.delete(np.arange(units(x)), unit)
        yield x.take("H", rest).take("G", rest)


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """NaN in one step of the input, in one unit of the state or of the weights: it reaches everything from there on.

    A cell, and a weight, reach the other units through the hidden state only, one step later; and a gate that
    only shows the cell, the cell.
    """
    count = length(x)
    place = np.arange(count + len(states(x)))[:, None]
    if not count or not x.x.size:
        return
    token = int(x.rng("NaN").integers(count))
    tokens = x.x.copy()
    tokens[:, token, 0] = np.nan
    yield x.but(x=tokens), place >= token
    first = np.arange(units(x)) == 0
    for name in states(x):
        later = (name == "h0") | first | ((place > 0) & (count > 1))
        yield x.but(**{name: np.where(first, np.nan, getattr(x, name))}), later
    kind, rng = KINDS[x.subject], x.rng("weights that are NaN")
    reached = (first & (place <= count)) | ((place > 0) & (count > 1))
    offsets = [name for name in kind.OFFSETS if name not in kind.idle(dialect)]
    for name in (rng.choice(kind.MATRICES + kind.RECURRENT), rng.choice(offsets)):
        weight = getattr(x, name).copy()
        weight[0] = np.nan
        yield x.but(**{name: weight}), reached


def _malformed(x: Inputs) -> Iterator[Inputs]:
    """A channel or a state is missing; never so that the rest could be broadcast."""
    if x.x.size and x.x.shape[2] > 2:
        yield x.but(x=x.x[..., :-1])
    if x.x.size and x.x.shape[0] > 2:
        yield from (x.but(**{name: getattr(x, name)[:-1]}) for name in states(x))


def _misfits(x: Inputs) -> Iterator[Inputs]:
    """A unit is missing, or there is a channel, a unit or a state too many."""
    if not x.x.size:
        return
    if x.x.shape[2] > 1:
        yield x.but(x=np.concatenate([x.x, x.x[..., :1]], axis=2))
    for name in states(x):
        state = getattr(x, name)
        if units(x) > 2:
            yield x.but(**{name: state[:, :-1]})
        if units(x) > 1:
            yield x.but(**{name: np.concatenate([state, state[:, :1]], axis=1)})
        if x.x.shape[0] > 2:
            yield x.but(**{name: np.concatenate([state, state[:1]])})
