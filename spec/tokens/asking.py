"""What is asked of a tokenizer, and Misbehaviour where its answer is of another kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.inputs import Inputs

if TYPE_CHECKING:
    from seqlaws.run import Run

KIND = "ids_are_integers_below_the_vocabulary_size"


def answer(tokenizer: Run, x: Inputs, text: str) -> Any:
    """What encode gives, as it is."""
    return tokenizer.ask(x, lambda it, _: it.encode(text))


def encoded(tokenizer: Run, x: Inputs, text: str) -> list[int]:
    """The ids of a text. Raises Misbehaviour where they are no list of integers."""
    ids = answer(tokenizer, x, text)
    if not isinstance(ids, list) or not all(type(each) is int for each in ids):
        raise Misbehaviour(f"encode gave {type(ids).__name__} {ascii(ids)[:60]} where a list of int was due", KIND)
    return list(ids)


def decoded(tokenizer: Run, x: Inputs, ids: Sequence[int]) -> str:
    """The text of ids, which are handed over as they are. Raises Misbehaviour where it is no text."""
    return _text(tokenizer.ask(x, lambda it, _: it.decode(ids)))


def _text(thing: Any) -> str:
    if not isinstance(thing, str):
        raise Misbehaviour(f"decode gave a {type(thing).__name__} where a str was due", KIND)
    return thing


def spelled_one_by_one(ids: Iterable[int], it: Any, _: Any) -> list[str]:
    """The text of each id, decoded by itself, as a question to a tokenizer."""
    return [_text(it.decode([each])) for each in ids]


def texts_of(tokenizer: Run, x: Inputs) -> Iterable[str]:
    """The texts of a case; for a tokenizer that does not claim all of Unicode, what its ids spell instead.

    Ids in any order may spell what no text becomes, such as the inner piece of a word at its beginning: what they
    spell is encoded once, and the text that comes back is one of its own.
    """
    if tokenizer.can("unicode"):
        yield from x.texts
        return
    rng, size = x.rng("ids"), size_of(tokenizer, x)
    for length in (0, 1, *rng.integers(1, 20, len(x.texts))):
        spelled = decoded(tokenizer, x, drawn_ids(rng, size, length) if size else [])
        yield decoded(tokenizer, x, encoded(tokenizer, x, spelled))


def size_of(tokenizer: Run, x: Inputs) -> int:
    """The size of the vocabulary. Raises Misbehaviour where it is no integer."""
    size = tokenizer.ask(x, lambda it, _: it.vocab_size)
    try:
        return index(size)
    except TypeError:
        raise Misbehaviour(f"vocab_size is a {type(size).__name__} where an int was due", KIND) from None


def drawn_ids(rng: np.random.Generator, size: int, count: int) -> list[int]:
    """Ids of a vocabulary; beyond 64 bits there is nothing new."""
    drawn: list[int] = rng.integers(0, min(max(1, size), 2**63), count).tolist()
    return drawn
