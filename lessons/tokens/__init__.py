"""Tokenizers that lessons change: bytes, characters, an alphabet, merged pairs, pieces of words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from seqlaws.lesson import honest, lesson


class Bytes:
    """The bytes of a text in UTF-8: 256 ids, and any text."""

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")


class Points:
    """A character is its own id."""

    vocab_size = 0x110000

    def encode(self, text: str) -> list[int]:
        return [ord(each) for each in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(each) for each in ids)


class Alphabet:
    """An id for each character of an alphabet; other characters are refused."""

    def __init__(self, alphabet: str) -> None:
        self.characters = list(alphabet)
        self.ids = {each: place for place, each in enumerate(alphabet)}
        self.vocab_size = len(alphabet)

    def encode(self, text: str) -> list[int]:
        return [self.ids[each] for each in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.characters[each] for each in ids)


class Merges(Bytes):
    """Byte pairs, merged in the order in which they were learned; merges never cross into a space."""

    pairs: tuple[tuple[int, int], ...] = (
        (116, 104),
        (256, 101),
        (97, 110),
        (32, 257),
        (195, 169),
        (97, 97),
        (261, 261),
    )

    def __init__(self) -> None:
        self.pieces = {each: bytes([each]) for each in range(256)}
        for place, (one, other) in enumerate(self.pairs):
            self.pieces[256 + place] = self.pieces[one] + self.pieces[other]
        self.vocab_size = len(self.pieces)

    def encode(self, text: str) -> list[int]:
        ids = list(text.encode())
        for place, pair in enumerate(self.pairs):
            merged: list[int] = []
            for each in ids:
                if merged and (merged[-1], each) == pair:
                    merged[-1] = 256 + place
                else:
                    merged.append(each)
            ids = merged
        return ids

    def decode(self, ids: list[int]) -> str:
        return b"".join(self.pieces[each] for each in ids).decode(errors="replace")


class Pieces:
    """Words in pieces, of which all but the first begin with ##; between two words there is one space."""

    def __init__(self, words: str) -> None:
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.pieces = [*letters, *("##" + each for each in letters), *words.split(), "#"]
        self.ids = {each: place for place, each in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)

    def encode(self, text: str) -> list[int]:
        return [self.ids[piece] for word in text.replace("#", " # ").split() for piece in self._split(word)]

    def _split(self, word: str) -> Iterator[str]:
        mark = ""
        while word:
            end = next(end for end in range(len(word), 0, -1) if mark + word[:end] in self.ids)
            yield mark + word[:end]
            mark, word = "##", word[end:]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.pieces[each] for each in ids).replace(" ##", "")


Made = type[Any]


def made(grade: str, *arguments: Any, caught_by: tuple[str, ...] = (), **declared: Any) -> Callable[[Made], Made]:
    """Make an object of the decorated class a lesson, or an honest variant, under the name of the class."""

    def define(kind: Made) -> Made:
        it = kind(*arguments)
        it.__name__, it.__doc__ = kind.__name__, kind.__doc__
        (
            honest("tokens", **declared)
            if grade == "honest"
            else lesson("tokens", grade, caught_by=caught_by, **declared)
        )(it)
        return kind

    return define
