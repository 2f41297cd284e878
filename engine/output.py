"""Files that a command writes: refused before the work is done, not after."""

from __future__ import annotations

import sys
from pathlib import Path

from seqlaws.errors import Misunderstood

STDOUT = "-"


def refuse_unwritable(file: str | None) -> None:
    """Raise Misunderstood, in one line, if a file cannot be written; - stands for standard output."""
    if file and file != STDOUT:
        try:
            Path(file).open("a").close()
        except OSError as error:
            raise Misunderstood(f"cannot write {file}: {error.strerror}") from None


def write(text: str, file: str) -> None:
    """Write a text to a file or to standard output."""
    if file == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        Path(file).write_text(text, encoding="utf-8")
