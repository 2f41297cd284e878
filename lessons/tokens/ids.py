"""Lessons about ids: their size, their uniqueness, what they remember, and where texts join."""

from __future__ import annotations

import codecs
import random

from seqlaws.lessons.tokens import Alphabet, Bytes, Merges, made


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
