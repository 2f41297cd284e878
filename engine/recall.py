"""Recall: what the reference made of the same numbers before, so that it is not computed again.

Many laws ask about the same inputs, and many implementations are judged on them in one process. What
a reference says depends on nothing but its arguments, and so it is found again by what they contain.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs


class Recall:
    """The last results of some functions, as many as there is room for, in bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = 0
        self._results: OrderedDict[bytes, Any] = OrderedDict()

    def __call__(self, key: bytes, compute: Callable[[], Any]) -> Any:
        """The result under a key, computed if it is not there. Its arrays can no longer be written to."""
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        result = compute()
        for array in _arrays(result):
            array.flags.writeable = False
        self._results[key] = result
        self.held += _size(result)
        while self.held > self.room:
            self.held -= _size(self._results.popitem(last=False)[1])
        return result


def key_of(question: str, x: Inputs, dialect: Mapping[str, str], *arrays: Array) -> bytes:
    """What inputs, a dialect and further arrays contain, in few bytes: equal for equal contents alone."""
    digest = hashlib.blake2b(digest_size=20)
    told = question, x.subject, x.format.name, sorted(dialect.items()), sorted(x.options.items()), x.seed, x.rows
    digest.update(repr(told).encode())
    for name, array in [*x.arrays.items(), *(("", array) for array in arrays)]:
        if array is not None:
            digest.update(repr((name, x.axes.get(name), array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _arrays(result: Any) -> list[Array]:
    parts = result.values() if isinstance(result, Mapping) else result
    return [result] if isinstance(result, np.ndarray) else [array for part in parts for array in _arrays(part)]


def _size(result: Any) -> int:
    return sum(array.nbytes for array in _arrays(result))


RECALL = Recall(2**28)
