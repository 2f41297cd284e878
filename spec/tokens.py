"""Tokens: the subject, the texts that its laws draw, and the laws.

A tokenizer is an object with `encode(text) -> list[int]`, `decode(ids) -> text` and `vocab_size`. One
that claims "unicode" takes any text; another takes what its own ids spell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.formats import Format
from seqlaws.inputs import Inputs
from seqlaws.law import CONTRACT, EDGES, STRUCTURE, VALUES, law
from seqlaws.subject import Cases, Subject
from seqlaws.verdict import HOLDS, Verdict, alike, broken, every, vacuous

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from seqlaws.run import Run

# what tokenizers trip over: spaces, line ends, accents of two spellings, what looks like their own marks
PIECES = (
    "", " ", "  ", "\t", "\n", "\r\n", "\r", "\x00", "a", "A", "the", " the", "The student is eating an apple.",
    "don't", "e.g.", "1234567890", "3.14", "é", "e\u0301", "Å", "Å", "ﬁ", "ß", "ẞ", "İ", "ı", "ǅ", "½", "²", "Ⅷ",
    "\u00a0", "\u00ad", "\u200b", "\u200d", "\u2028", "\u3000", "\ufeff", "\ufffd", "\uffff", "\U0010ffff",
    "\u202eabc", "日本語", "한국어", "ㅎㅏㄴ", "हिन्दी", "العربية", "👩‍👩‍👧", "🇩🇪", "𝔘", "🫠", "a" * 999, "ab" * 77,
    "<pad>", "<unk>", "<s>", "</s>", "<|endoftext|>", "[CLS]", "[UNK]", "##ing", "▁", "▁the", "Ġ", "</w>", "<0x41>",
    "\\n", '"', "'", "`", "{}", "%s", "&amp;", "http://a.b/c?d=e&f", "def f(x):\n    return x\n", "CamelCase_snake",
    "<|im_start|>", "[MASK]", " " * 20, "\n" * 7, "\n\t\tx", "\u2029", "\x85", "\u200e", "\u2764\ufe0f", "“’—”",
    "，。！", " " * 200, "\n" * 50, "\t" * 40, "do n't", "it 's we 're I 'm they 've", " .", " ,", " @-@ ", "``",
    "''", " @,@ ", "<|im_end|>", "<|eot_id|>", "<|fim_prefix|>", "<bos>", "<eos>", "<sep>", "<mask>", "[SEP]", "[PAD]",
    "[INST]", "<image>", "<tool_call>", "<think>", "<start_of_turn>", "This is the last time.",
    "It was the best of times.", "it was the worst of times, as the poets tell us",
    "She asks two questions at the end of each talk.",
)  # fmt: skip


@dataclass(frozen=True)
class TokensCase:
    """How many texts, of how many pieces each, and a seed. The first text is always empty."""

    count: int
    pieces: int
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every text is a sub-case."""
        rng = np.random.default_rng(self.seed)
        texts = ["".join(self._piece(rng) for _ in range(rng.integers(0, self.pieces + 1))) for _ in range(self.count)]
        options = {"texts": tuple(dict.fromkeys(["", *texts]))}
        return Inputs("tokens", format, {}, options, {}, self.seed, len(options["texts"]))

    def _piece(self, rng: np.random.Generator) -> str:
        if rng.random() < 0.6:
            return str(PIECES[rng.integers(len(PIECES))])
        point = int(
            rng.choice([rng.integers(0x80), rng.integers(0x800), rng.integers(0x10000), rng.integers(0x110000)])
        )
        return chr(point) if not 0xD800 <= point < 0xE000 else "-"  # halves of a pair are not characters


@dataclass(frozen=True)
class Characters:
    """Every character of the scripts, symbols and invisible marks that programs clean up, and one long text."""

    def inputs(self, format: Format) -> Inputs:
        """Every text is a sub-case."""
        points = [*range(0x3100), *range(0xF900, 0x10000), *range(0xE0000, 0xE0080), *range(0xE0100, 0xE01F0)]
        texts = ["".join(map(chr, points[start : start + 250])) for start in range(0, len(points), 250)]
        # beyond 65 536 characters and 131 072 bytes; characters of three bytes lie across all borders from 2^12 to 2^17
        options = {"texts": (*texts, "€€€ the, " * 9000)}
        return Inputs("tokens", format, {}, options, {}, 0, len(options["texts"]))


@dataclass(frozen=True)
class Listed:
    """Every piece by itself."""

    def inputs(self, format: Format) -> Inputs:
        """Every text is a sub-case."""
        return Inputs("tokens", format, {}, {"texts": PIECES}, {}, 0, len(PIECES))


def _strategy() -> SearchStrategy[TokensCase]:
    from hypothesis import strategies as st

    return st.builds(TokensCase, st.sampled_from((7, 31, 61)), st.integers(1, 9), st.integers(0, 2**32 - 1))


def _simpler(x: Inputs) -> Iterator[Inputs]:
    texts: tuple[str, ...] = x.texts
    for kept in _parts(texts):
        yield x.but(texts=kept)
    for place, text in enumerate(texts if len(texts) <= 2 else ()):
        for rest in _parts(text):
            yield x.but(texts=(*texts[:place], rest, *texts[place + 1 :]))


def _parts(whole: Any) -> Iterator[Any]:
    """A sequence without its halves, quarters, … and single members."""
    size = len(whole)
    while size > 1:
        size //= 2
        for start in range(0, len(whole), size):
            yield whole[:start] + whole[start + size :]


def _complaint(thing: Any) -> str:
    missing = [name for name in ("encode", "decode", "vocab_size") if not hasattr(thing, name)]
    return f"which has no {' and no '.join(missing)}" if missing else ""


SWEPT = 200_000  # so many ids of a vocabulary are decoded one by one
KIND = "ids_are_integers_below_the_vocabulary_size"

USUAL = (Listed(), TokensCase(31, 4, 1), TokensCase(7, 40, 2))

tokens = Subject(
    name="tokens",
    signature="an object with encode(text) -> list[int], decode(ids) -> text, vocab_size",
    capabilities={
        "unicode": "takes any text, not only what its own ids spell",
        "bijection": "no two of its ids spell the same text",
    },
    dialects={"boundaries": ("none", "spaces", "anywhere")},
    arrange=lambda tensors, options: ((), {}),
    shape=lambda x: (),
    exact=None,
    exact_gradient=None,
    cases=Cases(lambda claims: USUAL, lambda claims: _strategy()),
    differentiable=(),
    simpler=_simpler,
    complaint=_complaint,
    tensors=False,
)


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


def _one_by_one(ids: Iterable[int], it: Any, _: Any) -> list[str]:
    return [_text(it.decode([each])) for each in ids]


def _text(thing: Any) -> str:
    if not isinstance(thing, str):
        raise Misbehaviour(f"decode gave a {type(thing).__name__} where a str was due", KIND)
    return thing


def texts_of(tokenizer: Run, x: Inputs) -> Iterable[str]:
    """The texts of a case; for a tokenizer that does not claim all of Unicode, what its ids spell instead.

    Ids in any order may spell what no text becomes, such as the inner piece of a word at its beginning: what they
    spell is encoded once, and the text that comes back is one of its own.
    """
    if tokenizer.can("unicode"):
        yield from x.texts
        return
    rng, size = x.rng("ids"), _size(tokenizer, x)
    for length in (0, 1, *rng.integers(1, 20, len(x.texts))):
        spelled = decoded(tokenizer, x, _drawn(rng, size, length) if size else [])
        yield decoded(tokenizer, x, encoded(tokenizer, x, spelled))


def _size(tokenizer: Run, x: Inputs) -> int:
    size = tokenizer.ask(x, lambda it, _: it.vocab_size)
    try:
        return index(size)
    except TypeError:
        raise Misbehaviour(f"vocab_size is a {type(size).__name__} where an int was due", KIND) from None


def _drawn(rng: np.random.Generator, size: int, count: int) -> list[int]:
    """Ids of a vocabulary; beyond 64 bits there is nothing new."""
    drawn: list[int] = rng.integers(0, min(max(1, size), 2**63), count).tolist()
    return drawn


@law(tokens, CONTRACT)
def ids_are_integers_below_the_vocabulary_size(tokenizer: Run, x: Inputs) -> Verdict:
    """A text becomes a list of integers from 0 to vocab_size − 1, and ids become a text.

    0 ≤ encode(s)_i < vocab_size,   decode(encode(s)) is a str

    Why: an id is a row of an embedding table. One past its end is an error on a CPU, and on a GPU a
    fault far from its cause, or a wrong vector.
    """
    size = _size(tokenizer, x)
    for text in texts_of(tokenizer, x):
        ids = encoded(tokenizer, x, text)
        wrong = [each for each in ids if not 0 <= each < size]
        if wrong:
            return broken(f"gave the id {wrong[0]} with a vocabulary of {size} for {ascii(text)[:40]}")
        decoded(tokenizer, x, ids)
    return HOLDS


@law(tokens, CONTRACT, after=("ids_are_integers_below_the_vocabulary_size",))
def repeats_itself_whatever_was_asked_before(tokenizer: Run, x: Inputs) -> Verdict:
    """The same text gives the same ids, whatever was encoded before, and changing the answer changes nothing.

    encode(s), encode(t), encode(s): the first and the last are equal, and so for decode, also after ids that
    end within a character

    Why: caches that hand out their own list, sampled merges left on and state from the last text make a
    model see another input than the one it was trained on. A reply may be cut off anywhere, and the half of
    a character that it leaves belongs to no other.
    """
    texts = list(texts_of(tokenizer, x))
    first = [encoded(tokenizer, x, text) for text in texts]
    back = [decoded(tokenizer, x, list(ids)) for ids in first]
    spoil = [answer(tokenizer, x, text) for text in texts]
    for ids in spoil:
        if isinstance(ids, list):
            ids.append(0)  # the answer belongs to whoever asked
    again = [encoded(tokenizer, x, text) for text in reversed(texts)][::-1]
    once_more = []
    for ids in reversed(first):
        with suppress(Misbehaviour):  # half a character may be refused
            decoded(tokenizer, x, ids[:-1])
        once_more.append(decoded(tokenizer, x, list(ids)))
    return every(*map(alike, again, first), *map(alike, once_more[::-1], back))


@law(tokens, CONTRACT, after=("repeats_itself_whatever_was_asked_before",))
def leaves_the_ids_alone(tokenizer: Run, x: Inputs) -> Verdict:
    """Decoding does not change the list of ids.

    ids_after = ids_before

    Why: the list goes on to be counted, cached and fed to the model.
    """
    verdicts = []
    for text in texts_of(tokenizer, x):
        ids = encoded(tokenizer, x, text)
        before = list(ids)
        decoded(tokenizer, x, ids)
        verdicts.append(alike(ids, before))
    return every(*verdicts)


@law(tokens, VALUES, cases=Cases(lambda claims: (*USUAL, Characters()), lambda claims: _strategy()))
def decoding_undoes_encoding(tokenizer: Run, x: Inputs) -> Verdict:
    """Every text comes back as it was, character by character.

    decode(encode(s)) = s

    Why: whatever is lost here (case, spaces, line ends, accents, rare scripts) no model can give back;
    and a text that comes back changed is trained on changed.
    """
    return every(*[
        alike(decoded(tokenizer, x, encoded(tokenizer, x, text)), text) for text in texts_of(tokenizer, x)
    ])  # fmt: skip


@law(
    tokens,
    STRUCTURE,
    needs=("bijection",),
    cases=Cases(lambda claims: USUAL[:1], lambda claims: _strategy()),
    examples=0.01,
)
def no_two_ids_spell_the_same(tokenizer: Run, x: Inputs) -> Verdict:
    """Ids that spell a text by themselves spell different ones.

    decode([i]) = decode([j]) ≠ ""  ⇒  i = j

    Why: a text that can be written in two ways splits its probability between them, and ids that were
    counted one off spell their neighbour's text. Parts of a character, which spell nothing whole, are left out.
    """
    size = _size(tokenizer, x)
    ends = [*range(min(500, size)), *range(max(0, size - 500), size)]
    some = range(size) if size <= SWEPT else sorted({*ends, *_drawn(x.rng("ids"), size, SWEPT)})
    spelled: dict[str, int] = {}
    for start in range(0, len(some), 1000):  # asked one by one, most of the time would not be theirs
        ids = some[start : start + 1000]
        for each, text in zip(ids, tokenizer.ask(x, partial(_one_by_one, ids)), strict=True):
            if text and "\ufffd" not in text and spelled.setdefault(text, each) != each:
                return broken(f"the ids {spelled[text]} and {each} both spell {ascii(text)[:40]}")
    return HOLDS if spelled else vacuous()


@law(tokens, EDGES, when={"boundaries": ("spaces", "anywhere")})
def texts_join_at_the_declared_boundaries(tokenizer: Run, x: Inputs) -> Verdict:
    """At a boundary that the tokenizer declares, the ids of two texts together are those of each, joined.

    encode(s + t) = encode(s) + encode(t), where t starts with a space, or anywhere

    Why: prompts are put together from parts that were encoded apart; if the parts grow together, a
    cached prefix is no prefix, and lengths counted apart do not add up.
    """
    texts = list(texts_of(tokenizer, x))
    spaced = tokenizer.dialect["boundaries"] == "spaces"
    gap = " " if spaced else ""
    ends = [text for text in texts if text and not text[-1].isspace()]
    pairs = [(one, gap + other.lstrip() if spaced else other) for one, other in pairwise(ends)]
    rng = x.rng("where texts are cut")
    for text in texts:  # a text of several words has boundaries of its own
        inside = [place for place in range(1, len(text)) if not spaced or _parts_words(text, place)]
        if inside:
            cut = inside[rng.integers(len(inside))]
            pairs.append((text[:cut], text[cut:]))
    verdicts = [
        alike(encoded(tokenizer, x, one + other), encoded(tokenizer, x, one) + encoded(tokenizer, x, other))
        for one, other in pairs
    ]
    return every(*verdicts) if verdicts else vacuous()


def _parts_words(text: str, place: int) -> bool:
    """Whether a single space stands at a place in a text, between what is no space."""
    around = text[place - 1], text[place + 1 : place + 2]
    return text[place] == " " and all(each and not each.isspace() for each in around)
