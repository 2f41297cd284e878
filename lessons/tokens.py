"""Lessons of tokens: tokenizers that lose, add or mix up something, and honest ones."""

from __future__ import annotations

import codecs
import random
import re
import unicodedata

import numpy as np

from seqlaws.lessons.tokenizers import Alphabet, Bytes, Merges, Pieces, Points, made


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


@made("easy", caught_by=("ids_are_integers_below_the_vocabulary_size",))
class has_its_size_in_a_method(Bytes):
    """vocab_size is a method and wants to be called.

    Most libraries have a property, some a method. A model that is built from it fails far away from here.
    """

    def vocab_size(self) -> int:  # type: ignore[override]
        return 256


@made("nasty", caught_by=("ids_are_integers_below_the_vocabulary_size",))
class leaves_added_marks_out_of_its_size(Bytes):
    """The mark that ends a turn was added later: it has the id 256, and the size is 256 still.

    The table of the model was made for that size. Plain text never meets the id, and every chat does.
    """

    mark = "<|im_end|>"

    def encode(self, text: str) -> list[int]:
        ids = super().encode
        first, *others = text.split(self.mark)
        return ids(first) + [each for part in others for each in (256, *ids(part))]

    def decode(self, ids: list[int]) -> str:
        whole = b"".join(self.mark.encode() if each == 256 else bytes([each]) for each in ids)
        return whole.decode(errors="replace")


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


@made("nasty", caught_by=("repeats_itself_whatever_was_asked_before",))
class keeps_a_started_character(Bytes):
    """Half a character at the end of the ids is kept, and begins the next text.

    So a stream is decoded, chunk by chunk. Between two requests nobody told it that the stream had ended.
    """

    def __init__(self) -> None:
        self.stream = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(self, ids: list[int]) -> str:
        return self.stream.decode(bytes(ids))


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


@made("nasty", caught_by=("no_two_ids_spell_the_same",))
class has_an_entry_twice_among_many(Bytes):
    """Of 50 000 ids, two in the middle spell the same.

    A word that was merged in two ways has two ids, and one of them is never written.
    """

    vocab_size = 50_000

    def decode(self, ids: list[int]) -> str:
        return b"".join(bytes([each]) if each < 256 else self._word(each) for each in ids).decode(errors="replace")

    def _word(self, each: int) -> bytes:
        return b"<%d>" % (20_011 if each == 31_007 else each)


@made("nasty", dialect={"boundaries": "spaces"}, caught_by=("texts_join_at_the_declared_boundaries",))
class merges_across_words(Merges):
    """Byte pairs are merged across the space that ends a word, though it says that words stay apart.

    A prompt that was encoded in two parts has other ids than the same prompt in one.
    """

    pairs = ((101, 32), (116, 104), (110, 32), (97, 32), (41, 32), (46, 32), (62, 32))


@made("nasty", dialect={"boundaries": "spaces"}, caught_by=("texts_join_at_the_declared_boundaries",))
class merges_the_end_of_a_word_and_the_next(Merges):
    """ "s t" is one token, though it says that words stay apart.

    The pair is frequent in English, and most texts that are put together do not meet just there.
    """

    pairs = ((115, 32), (256, 116))

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return [part for each in ids for part in ((115, 32) if each == 256 else (each,))]
