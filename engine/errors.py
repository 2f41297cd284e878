"""The exceptions of the suite. They say what happened, never who is guilty."""

from __future__ import annotations


class Misunderstood(ValueError):
    """A request that cannot be carried out as written; its text is one line that names what is possible."""


class Misbehaviour(Exception):
    """A call that did not return what every call must return.

    ``law`` is the short name of the contract law that speaks of it, or "" where an exception came out.
    """

    def __init__(self, message: str, law: str = "") -> None:
        super().__init__(message)
        self.law = law
