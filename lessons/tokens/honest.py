"""Honest tokenizers: bytes, characters, an alphabet, merged pairs, pieces of words."""

from __future__ import annotations

import numpy as np

from seqlaws.lessons.tokens import Alphabet, Bytes, Merges, Pieces, Points, made


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


@made("honest", "the student eat an apple ##ing ##s", can=())
class splits_words_into_pieces(Pieces):
    """Pieces of words, the longest first, as BERT has them; what else stands between words is lost."""


@made("honest", can={"unicode"})
class refuses_half_a_character(Bytes):
    """Bytes of UTF-8, and an exception for what is none."""

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


@made("honest")
class counts_its_ids_by_numpy(Bytes):
    """The size of the vocabulary is a NumPy integer, as a maximum over an array is."""

    vocab_size = np.int64(256)  # type: ignore[assignment]
