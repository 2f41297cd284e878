"""The refusal of a name that is not known: it names what is close, or else what there is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from seqlaws.errors import Misunderstood


def misunderstood(what: str, name: str, possible: Sequence[str], limit: int = 12) -> Misunderstood:
    """What is wrong with a name, in one line with the names that were perhaps meant."""
    near = difflib.get_close_matches(name, possible, n=3, cutoff=0.75)
    if near:
        return Misunderstood(f"{what}; close: {', '.join(near)}")
    if not possible:
        return Misunderstood(what)
    more = [f"and {len(possible) - limit} more"] if len(possible) > limit else []
    return Misunderstood(f"{what}; there are: {', '.join([*possible[:limit], *more])}")
