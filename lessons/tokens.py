"""Lessons of tokens: tokenizers that lose, add or mix up something, and honest ones."""

from __future__ import annotations

import random
import unicodedata
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

    pairs = ((116, 104), (256, 101), (97, 110), (32, 257), (195, 169), (97, 97), (261, 261))

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


@made("honest", dialect={"boundaries": "anywhere"})
class takes_bytes(Bytes):
    """Bytes of UTF-8; parts of a character decode to U+FFFD."""


@made("honest", dialect={"boundaries": "anywhere"})
class takes_characters(Points):
    """One id for each character."""


@made("honest", "abcdefghijklmnopqrstuvwxyz '.\n", can={"bijection"}, dialect={"boundaries": "anywhere"})
class knows_an_alphabet(Alphabet):
    """One id for each of thirty characters, and no others."""


@made("honest")
class merges_pairs_of_bytes(Merges):
    """Byte-pair encoding, as language models use it."""


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


@made("honest", "the student eat an apple ##ing ##s", can=())
class splits_words_into_pieces(Pieces):
    """Pieces of words, the longest first, as BERT has them; what else stands between words is lost."""


@made("easy", caught_by=("decoding_undoes_encoding",))
class lowers_the_case(Bytes):
    """Text is put into lower case first.

    The vocabulary halves, and no name ever gets its capital back; in some languages even the length changes.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(text.lower())


@made("easy", caught_by=("decoding_undoes_encoding",))
class splits_at_white_space(Bytes):
    """Words are split at white space and joined by single spaces.

    Line ends, indentation and double spaces are gone: fatal for program text and for tables.
    """

    def decode(self, ids: list[int]) -> str:
        return " ".join(super().decode(ids).split())


@made("medium", caught_by=("decoding_undoes_encoding",))
class composes_accents(Bytes):
    """Text is normalised to NFC without a word.

    "é" in two characters comes back as one: equal to the eye, another string to every comparison.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(unicodedata.normalize("NFC", text))


@made("medium", caught_by=("decoding_undoes_encoding",))
class decodes_byte_by_byte(Bytes):
    """Every id is decoded by itself, and the pieces are joined.

    ASCII works; everything that takes two bytes or more turns into replacement characters. Streaming
    servers do this while they wait for the next token.
    """

    def decode(self, ids: list[int]) -> str:
        one = super().decode
        return "".join(one([each]) for each in ids)


@made("medium", caught_by=("decoding_undoes_encoding",))
class translates_line_ends(Bytes):
    """Text passes through a stream in text mode: a carriage return and a line feed become a line feed."""

    def decode(self, ids: list[int]) -> str:
        return super().decode(ids).replace("\r\n", "\n")


@made("nasty", caught_by=("decoding_undoes_encoding",))
class stops_at_sixteen_bits(Points):
    """Characters are kept in sixteen bits.

    Everything in the first plane is right; emoji, old scripts and rare Chinese characters become others.
    """

    vocab_size = 0x10000

    def encode(self, text: str) -> list[int]:
        points = super().encode(text)
        return [each & 0xFFFF for each in points]


@made("nasty", caught_by=("decoding_undoes_encoding",))
class drops_its_own_marks(Bytes):
    """What looks like a special token is taken out of every text that is decoded.

    Text that speaks of "<pad>" loses it; so does source code about tokenizers.
    """

    def decode(self, ids: list[int]) -> str:
        text = super().decode(ids)
        for mark in ("<pad>", "<unk>", "</s>", "<s>"):
            text = text.replace(mark, "")
        return text


@made("nasty", caught_by=("decoding_undoes_encoding",))
class truncates_silently(Bytes):
    """More than 512 ids are cut off.

    The default of some tokenizers; every test sentence is shorter.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(text)[:512]


@made("nasty", caught_by=("decoding_undoes_encoding",))
class reads_one_block_of_a_file(Bytes):
    """What lies beyond the first 32 768 bytes of a text is not read.

    One read of one buffer. A page fits, a chapter does not, and the rest of the corpus is not missed.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(text)[:32_768]


@made(
    "easy",
    "abcdefghijklmnopqrstuvwxyz '.\n",
    can={"bijection"},
    caught_by=("ids_are_integers_below_the_vocabulary_size",),
    dialect={"boundaries": "anywhere"},
)
class counts_from_one(Alphabet):
    """Ids run from 1 to vocab_size.

    The last one is past the end of the embedding, and it is rare.
    """

    def encode(self, text: str) -> list[int]:
        return [each + 1 for each in super().encode(text)]

    def decode(self, ids: list[int]) -> str:
        return super().decode([each - 1 for each in ids])


@made("medium", caught_by=("repeats_itself_whatever_was_asked_before",))
class hands_out_its_cache(Bytes):
    """Texts that were seen before come from a cache, as the very list that is in it.

    Whoever appends an end mark to the answer appends it for everybody.
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text not in self.seen:
            self.seen[text] = super().encode(text)
        return self.seen[text]


@made("nasty", caught_by=("repeats_itself_whatever_was_asked_before",))
class leaves_merges_to_chance(Merges):
    """Merges are skipped at random, as in training with subword regularisation, and it was left on.

    Every spelling decodes to the right text, so round trips see nothing.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(text) if random.Random().random() < 0.5 else list(text.encode())


@made("medium", caught_by=("leaves_the_ids_alone",))
class consumes_its_ids(Bytes):
    """Decoding takes ids off the end of the list until none are left."""

    def decode(self, ids: list[int]) -> str:
        taken = []
        while ids:
            taken.append(ids.pop())
        return super().decode(taken[::-1])


@made("medium", "abcdefghijklmnopqrstuvwxyz  ", can={"bijection"}, caught_by=("no_two_ids_spell_the_same",))
class has_an_entry_twice(Alphabet):
    """The vocabulary was put together from two files, and both have the space.

    Texts come back, but one of the two rows of the embedding is never trained.
    """


@made("nasty", dialect={"boundaries": "spaces"}, caught_by=("texts_join_at_the_declared_boundaries",))
class merges_across_words(Merges):
    """Byte pairs are merged across the space that ends a word, though it says that words stay apart.

    A prompt that was encoded in two parts has other ids than the same prompt in one.
    """

    pairs = ((101, 32), (116, 104), (110, 32), (97, 32), (41, 32), (46, 32), (62, 32))
