"""Marks: where a child is, in memory that it shares with its parent, so that they outlive it."""

from __future__ import annotations

import mmap
import time


class Marks:
    """Where a child is: the time of its last mark, whether inside a call, and the case it is at."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, 1 << 16))
        self._numbers = memory[:24].cast("d")
        self._text = memory[24:]
        self.touch(False)

    def touch(self, inside: bool) -> None:
        """Note the time, and whether a call begins (or ends) now."""
        # a call must not seem to have begun when the mark before it was left
        if not inside:
            self._numbers[1] = False
        self._numbers[0] = time.monotonic()
        self._numbers[1] = inside

    def look(self) -> tuple[bool, float]:
        """Whether inside a call, and the seconds since the last mark."""
        inside, last = bool(self._numbers[1]), self._numbers[0]
        return inside, time.monotonic() - last

    def write(self, law: str, case: str) -> None:
        """Note which case of which law comes next."""
        text = f"{law}\0{case}".encode()[: len(self._text)]
        self._text[: len(text)] = text
        self._numbers[2] = len(text)
        self.touch(False)

    def read(self) -> tuple[str, str]:
        """The law and the case that were noted last."""
        text = bytes(self._text[: int(self._numbers[2])]).decode(errors="replace")
        law, _, case = text.partition("\0")
        return law, case
