"""The terminal: how wide it is, and whether it shows colour."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TextIO

WIDTH = 100
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


@dataclass(frozen=True)
class Terminal:
    """A stream that a person may be looking at."""

    stream: TextIO
    interactive: bool
    coloured: bool

    @classmethod
    def of(cls, stream: TextIO) -> Terminal:
        """What is known of a stream; NO_COLOR and TERM=dumb are respected."""
        interactive = stream.isatty() and os.environ.get("TERM") != "dumb"
        return cls(stream, interactive, interactive and not os.environ.get("NO_COLOR"))

    @property
    def width(self) -> int:
        """The columns of the terminal, at most WIDTH; WIDTH where there is none."""
        return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if self.interactive else WIDTH

    def paint(self, text: str, style: str) -> str:
        """The text in a style, where the terminal has styles."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.coloured and text.strip() else text

    def say(self, text: str = "") -> None:
        """Print lines, at once: a long run is read while it goes on."""
        print(text, file=self.stream, flush=True)
