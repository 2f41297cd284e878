"""What the laws of the contract ask about besides the inputs themselves: other inputs, layouts and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import FORMATS, Array
from seqlaws.inputs import Inputs
from seqlaws.law import VALUES
from seqlaws.layouts import LAYOUTS, beginning
from seqlaws.subject import Cases, Claims, Subject
from seqlaws.verdict import Output, Verdict, every, same

if TYPE_CHECKING:
    from seqlaws.run import Run


def few(cases: Cases) -> Cases:
    """The first of the cases that are always tried, and the same drawn ones."""
    return Cases(lambda claims: tuple(islice(cases.always(claims), 4)), cases.strategy)


def swept(subject: Subject) -> Cases:
    """The cases that the laws of a subject's values try besides those that every law tries, which others ask about
    where there are gradients."""

    def always(claims: Claims) -> Iterator[Any]:
        shared = set(subject.cases.always(claims))
        defining = (law for law in subject.laws if law.level == VALUES and not law.not_claimed(claims))
        if "gradient" not in claims.can:
            yield from shared
        yield from (case for law in defining for case in law.cases.always(claims) if case not in shared)

    return Cases(lambda claims: dict.fromkeys(always(claims)), subject.cases.strategy)


def cotangent(f: Run, x: Inputs) -> Array:
    """A gradient of the output: noise of its shape."""
    return x.noise("gradient of the output", f.subject.shape(x))


def leaves(f: Run, x: Inputs) -> tuple[str, ...]:
    """The arrays with respect to which there is a gradient."""
    return tuple(name for name in f.subject.differentiable if x.arrays[name] is not None)


def arrays_of(x: Inputs) -> Iterator[tuple[str, Array]]:
    """The arrays that there are, by name."""
    for name, array in x.arrays.items():
        if array is not None:
            yield name, array


def same_gradients(one: dict[str, Output], other: dict[str, Output], path: str = "") -> Verdict:
    """Whether gradients agree with others, each within the sum of the bounds."""
    return every(*(same(one[name], other[name]).called(f"{path} ∂/∂{name}".strip()) for name in one))


def turned(x: Inputs) -> Inputs:
    """The same inputs with their numbers elsewhere: moved on by one along every axis but the last, or along it
    where it is the only one."""
    return x.but(
        **{
            name: np.roll(array, 1, axis=tuple(range(max(1, array.ndim - 1))))
            for name, array in arrays_of(x)
            if array.ndim
        }
    )


def negated(x: Inputs) -> Inputs:
    """The same inputs with all floating numbers negated, where they are finite."""
    return x.but(
        **{name: -array for name, array in arrays_of(x) if array.dtype.kind == "f" and np.isfinite(array).all()}
    )


def layouts(x: Inputs) -> Iterator[str | dict[str, str]]:
    """Every array in one layout, then a different layout for each array."""
    yield from LAYOUTS[1:]
    names = [name for name, _ in arrays_of(x)]
    if len(names) > 1:
        for turn in range(len(LAYOUTS)):
            yield {name: LAYOUTS[(place + turn) % len(LAYOUTS)] for place, name in enumerate(names)}


def twins(x: Inputs) -> list[tuple[str, ...]]:
    """The groups of arrays that may lie in one memory: numbers of one shape, at least one of them."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, array in arrays_of(x):
        if array.dtype.kind == "f" and array.ndim and array.size:
            groups.setdefault(array.shape, []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def nests(x: Inputs) -> list[tuple[str, ...]]:
    """The groups of arrays of which one may hold the others as its beginning; the largest comes first."""
    groups: dict[tuple[str, int], dict[str, Array]] = {}
    for name, array in arrays_of(x):
        if array.dtype.kind == "f" and array.size and np.isfinite(array).all():
            groups.setdefault((x.axes[name][:1], array.ndim), {})[name] = array
    found = []
    for arrays in groups.values():
        largest = max(arrays, key=lambda name: arrays[name].size)
        shape = arrays.pop(largest).shape
        inside = [name for name, array in arrays.items() if np.less_equal(array.shape, shape).all()]
        if any(arrays[name].shape != shape for name in inside):
            found.append((largest, *inside))
    return found


def nested(x: Inputs, names: tuple[str, ...]) -> Inputs:
    """The same inputs with all of a group of ``nests`` holding the numbers of the largest, as far as they reach."""
    arrays = dict(arrays_of(x))
    return x.but(**{name: beginning(arrays[names[0]], arrays[name].shape) for name in names[1:]})


def has_twins(subject: Subject) -> bool:
    """Whether some cases have arrays that may lie in one memory; they go into one call where there is a reference."""
    return _some_have(subject, twins)


def has_nests(subject: Subject) -> bool:
    """Whether some cases have an array that may begin as another one does, for which the same holds."""
    return _some_have(subject, nests)


def _some_have(subject: Subject, groups: Callable[[Inputs], list[tuple[str, ...]]]) -> bool:
    always = subject.cases.always(subject.claims(None, {}))
    one_call = subject.takes == "arrays" and subject.exact is not None
    return one_call and any(groups(case.inputs(FORMATS["float32"])) for case in always)


def repeating(x: Inputs, axis: int) -> tuple[Inputs, tuple[str, ...]]:
    """The inputs with every array that may be made constant along an axis, and the names of these."""
    arrays = {name: array for name, array in arrays_of(x) if _may_repeat(array, axis)}
    first = {name: array[(slice(None),) * axis + (slice(0, 1),)] for name, array in arrays.items()}
    return x.but(**{name: np.repeat(first[name], array.shape[axis], axis) for name, array in arrays.items()}), (
        *arrays,
    )


def _may_repeat(array: Array, axis: int) -> bool:
    """Whether an array may be made constant along an axis; a mask not along its keys: that hides whole rows."""
    if axis >= array.ndim or array.shape[axis] < 2:
        return False
    return axis < array.ndim - 1 or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))


def free_axes(f: Run, x: Inputs) -> Iterator[str]:
    """The groups of axes whose length may change, as far as these inputs have them."""
    for letters in f.subject.free_axes(f.implementation.claims):
        if all(letter in x.letters for letter in letters):
            yield letters


def cut(x: Inputs, letters: str, length: int) -> Inputs:
    """The inputs with some axes cut to a length at most."""
    for letter in letters:
        x = x.take(letter, np.arange(min(length, x.size(letter))))  # an axis that is only broadcast stays
    return x


def longer(f: Run, x: Inputs) -> Inputs:
    """The inputs longer by one along their free axes, as far as that is valid."""
    for letters in free_axes(f, x):
        more = x
        for letter in letters:
            more = more.join(letter, cut(more, letter, 1))
        x = more if f.subject.valid(more) else x
    return x


def _asks_no_more(x: Inputs, y: Inputs) -> bool:
    """Whether whoever accepts x must accept y: masks and options may be left out, not turned into others."""
    kinds = {name: array.dtype.kind for name, array in arrays_of(x)}
    options = all(not value or value == x.options[name] for name, value in y.options.items())
    return options and all(array.dtype.kind == kinds[name] for name, array in arrays_of(y))


def contradictions(f: Run, x: Inputs) -> Iterator[Inputs]:
    """Inputs that contradict themselves, and that must be refused."""
    yield from f.subject.malformed(x)
    if f.dialect.get("misfits") == "refused":
        yield from f.subject.misfits(x)


def company(f: Run, x: Inputs) -> Iterator[Inputs]:
    """These inputs, then others: other contents, plainer options, shorter and longer axes."""
    yield x
    plainer = filter(lambda y: _asks_no_more(x, y), f.subject.simpler(x))
    candidates = [*f.subject.others(x), negated(x), turned(x), *plainer]
    for letters in free_axes(f, x):
        candidates.append(cut(x, letters, max(1, x.size(letters[0]) // 2)))
        doubled = x
        for letter in letters:
            doubled = doubled.join(letter, doubled)
        candidates.append(doubled)
    yield from (each for each in candidates if f.subject.valid(each))
