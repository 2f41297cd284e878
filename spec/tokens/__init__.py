"""Tokens: the subject, and the texts that its laws draw.

A tokenizer is an object with `encode(text) -> list[int]`, `decode(ids) -> text` and `vocab_size`. One
that claims "unicode" takes any text; another takes what its own ids spell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Format
from seqlaws.inputs import Inputs
from seqlaws.subject import Cases, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

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
    "\u1112\u1161\u11ab", "<extra_id_0>", "<|assistant|>", "<0x0A>", "[gMASK]",
    "<|begin_of_text|>", "<|user|>", "<|python_tag|>", "<unused0>",
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


def texts_drawn() -> SearchStrategy[TokensCase]:
    """Texts of several numbers and lengths."""
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
    cases=Cases(lambda claims: USUAL, lambda claims: texts_drawn()),
    differentiable=(),
    simpler=_simpler,
    complaint=_complaint,
    tensors=False,
)
