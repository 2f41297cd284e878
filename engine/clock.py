"""Clock: where the time of a judgement goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Seconds spent inside the implementation and inside its reference, and the start of the present call."""

    def __init__(self) -> None:
        self.implementation = 0.0
        self.reference = 0.0
        self.watch: Callable[[bool], None] = lambda entering: None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Count the time of one call of the implementation."""
        self.watch(True)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.implementation += time.perf_counter() - start
            self.watch(False)

    @contextmanager
    def referring(self) -> Iterator[None]:
        """Count the time of one evaluation of the reference."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.reference += time.perf_counter() - start
