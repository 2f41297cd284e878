"""Inputs: one case made concrete, as plain arrays with named axes.

A law receives Inputs, derives others with `but`, and hands them to the implementation. Every
array that enters Inputs is rounded to the format under judgement, so no law needs to know it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seqlaws.formats import Array, Format


@dataclass(frozen=True)
class Inputs:
    """Arrays and options for one call.

    ``axes`` names the axes of every array by letters (``{"q": "BHQD"}``); an axis of size 1 under
    a letter of another size is a broadcast axis. ``rows`` is the number of independent sub-cases.
    """

    subject: str
    format: Format
    arrays: Mapping[str, Array | None]
    options: Mapping[str, Any]
    axes: Mapping[str, str]
    seed: int = 0
    rows: int = 1
    _sizes: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        rounded = {name: self._rounded(array) for name, array in self.arrays.items()}
        self.__dict__.update(arrays=rounded, _sizes=_sizes(rounded, self.axes))

    def _rounded(self, array: Array | None) -> Array | None:
        return array if array is None or array.dtype.kind in "bi" else self.format.round(array)

    def _with(self, arrays: Mapping[str, Array | None], **more: Any) -> Inputs:
        """The same inputs with other arrays, all of them rounded already."""
        made = object.__new__(Inputs)
        made.__dict__.update(self.__dict__, arrays=arrays, **more)
        made.__dict__["_sizes"] = _sizes(arrays, made.axes)
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        for place in (self.arrays, self.options):
            if name in place:
                return place[name]
        raise AttributeError(f"these inputs have no {name!r}; they have {[*self.arrays, *self.options]}")

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def letters(self) -> tuple[str, ...]:
        """The names of the axes that these inputs have."""
        return tuple(self._sizes)

    def size(self, letter: str) -> int:
        """The length of the axis called ``letter``."""
        return self._sizes[letter]

    def spelled(self, **axes: str) -> Inputs:
        """The same inputs with the axes of some arrays named anew, before they are replaced."""
        arrays = {name: None if name in axes else array for name, array in self.arrays.items()}
        return self._with(arrays, axes={**self.axes, **axes})

    def but(self, **changes: Any) -> Inputs:
        """The same inputs with some arrays or options replaced."""
        unknown = [name for name in changes if name not in self.arrays and name not in self.options]
        if unknown:
            raise AttributeError(f"these inputs have no {unknown[0]!r}; they have {[*self.arrays, *self.options]}")
        arrays = {
            name: self._rounded(changes[name]) if name in changes else array for name, array in self.arrays.items()
        }
        options = {name: changes.get(name, value) for name, value in self.options.items()}
        return self._with(arrays, options=options)

    def in_format(self, format: Format) -> Inputs:
        """The same numbers, to be read as inputs of a call that answers in another format."""
        return self._with(self.arrays, format=format)

    def take(self, letter: str, index: Any) -> Inputs:
        """The inputs at some indices of one axis, in every array that has it; broadcast axes stay."""
        arrays = dict(self.arrays)
        for name, array in arrays.items():
            if array is not None and letter in self.axes[name]:
                axis = self.axes[name].index(letter)
                if array.shape[axis] == self.size(letter):
                    arrays[name] = np.take(array, index, axis=axis)
        return self._with(arrays)

    def join(self, letter: str, other: Inputs) -> Inputs:
        """These inputs followed by others along one axis; arrays without that axis stay these."""
        arrays = dict(self.arrays)
        for name, array in arrays.items():
            added = other.arrays[name]
            if array is not None and added is not None and letter in self.axes[name]:
                axis = self.axes[name].index(letter)
                if array.shape[axis] == self.size(letter):
                    arrays[name] = np.concatenate([array, added], axis=axis)
        return self._with(arrays)

    def rng(self, purpose: str) -> np.random.Generator:
        """A random generator that depends on the case and the purpose alone."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def permutation(self, letter: str) -> Array:
        """A permutation of one axis that moves every index it can (a rotation of a shuffle)."""
        shuffled = self.rng("permutation " + letter).permutation(self.size(letter))
        moved = np.empty_like(shuffled)
        moved[shuffled] = np.roll(shuffled, 1)
        return moved

    def noise(self, purpose: str, shape: tuple[int, ...], scale: float = 1.0) -> Array:
        """Normal noise of some scale, already rounded to the format."""
        return self.format.round(scale * self.rng(purpose).standard_normal(shape))

    def signs(self, purpose: str, shape: tuple[int, ...]) -> Array:
        """Ones of either sign."""
        return self.rng(purpose).choice([-1.0, 1.0], shape)

    def grid(self, purpose: str, shape: tuple[int, ...]) -> Array:
        """Small multiples of 1/4 in [-2, 2]: sums and differences of a few are exact in any format."""
        return self.rng(purpose).integers(-8, 9, shape) / 4.0


def _sizes(arrays: Mapping[str, Array | None], axes: Mapping[str, str]) -> dict[str, int]:
    """The length of every axis; a broadcast axis of length 1 does not count."""
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        if array is not None:
            for letter, size in zip(axes[name], array.shape, strict=True):
                if sizes.get(letter, 1) == 1:
                    sizes[letter] = size
    return sizes
