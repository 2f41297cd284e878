"""Files that a command writes: refused before the work is done, not after."""

from __future__ import annotations

import sys
from pathlib import Path

from seqlaws.errors import Misunderstood

STDOUT = "-"


def refuse_unwritable(file: str | None) -> None:
    """Raise Misunderstood, in one line, if a file cannot be written; - stands for standard output."""
    if file and file != STDOUT:
        path = Path(file)
        there = path.exists()
        try:
            path.open("a").close()
        except OSError as error:
            raise Misunderstood(f"cannot write {file}: {error.strerror}") from None
        if not there:
            path.unlink()  # the command may be refused for something else


def write(text: str, file: str) -> None:
    """Write a text to a file or to standard output."""
    text = text.encode("utf-8", "backslashreplace").decode()  # what a third party says need not be Unicode
    if file == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        Path(file).write_text(text, encoding="utf-8")
