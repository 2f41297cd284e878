"""Lessons about texts: what is lost, added or changed on the way to ids and back."""

from __future__ import annotations

import re
import unicodedata

from seqlaws.lessons.tokens import Bytes, Points, made


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
class joins_contractions(Bytes):
    """The space before n't, 's and the like is taken out of what is decoded.

    English that was split into words gets its usual look. Text that was about the splitting does not come back.
    """

    def decode(self, ids: list[int]) -> str:
        return re.sub(r" (n't|'s|'m|'ve|'re)", r"\1", super().decode(ids))


@made("nasty", caught_by=("decoding_undoes_encoding",))
class undoes_the_marks_of_a_corpus(Bytes):
    """ " @-@ " becomes a hyphen, as in a well-known corpus, where hyphens were written so.

    One corpus is put right on the way out, and every other text that says so is changed.
    """

    def decode(self, ids: list[int]) -> str:
        return super().decode(ids).replace(" @-@ ", "-")


@made("nasty", caught_by=("decoding_undoes_encoding",))
class straightens_the_quotes_of_a_treebank(Bytes):
    """Two backticks become a quotation mark.

    So treebanks write the quotation marks that open. So do empty literals in several languages.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("``", '"'))


@made("nasty", caught_by=("decoding_undoes_encoding",))
class shortens_long_runs_of_spaces(Bytes):
    """Of more than 32 spaces in a row, 32 are left.

    There are tokens for 1 to 32 spaces, and the search for the longest one never goes on after it.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(re.sub(" {33,}", " " * 32, text))


@made("nasty", caught_by=("decoding_undoes_encoding",))
class shortens_long_runs_of_line_ends(Bytes):
    """Of more than 8 line ends in a row, 8 are left.

    Forms, poems and logs have more; prose does not.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(re.sub("\n{9,}", "\n" * 8, text))


@made("nasty", caught_by=("decoding_undoes_encoding",))
class strips_invisible_tags(Bytes):
    """Tag characters, U+E0000 to U+E007F, are taken out.

    They can hide instructions from a reader. They also spell the flags of Scotland and of Wales.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(re.sub("[\U000e0000-\U000e007f]", "", text))


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


@made("nasty", caught_by=("decoding_undoes_encoding",))
class reads_what_sixteen_bits_can_count(Bytes):
    """What lies beyond the first 65 536 characters of a text is not read.

    The length was kept in sixteen bits. A chapter fits, a book does not.
    """

    def encode(self, text: str) -> list[int]:
        return super().encode(text[:65_536])


@made("nasty", caught_by=("decoding_undoes_encoding",))
class cuts_characters_between_two_blocks(Bytes):
    """A text is read in blocks of 131 072 bytes, and what is left of a character at the end of one is dropped.

    Blocks do not end where characters do. In English nobody notices.
    """

    def encode(self, text: str) -> list[int]:
        whole = text.encode()
        blocks = (whole[start : start + 131_072] for start in range(0, len(whole), 131_072))
        return [each for block in blocks for each in block.decode(errors="ignore").encode()]
