"""The laws of tokenizers: texts become ids and come back."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from seqlaws.errors import Misbehaviour
from seqlaws.inputs import Inputs
from seqlaws.law import CONTRACT, EDGES, STRUCTURE, VALUES, law
from seqlaws.spec.tokens import USUAL, Characters, texts_drawn, tokens
from seqlaws.spec.tokens.asking import answer, decoded, drawn_ids, encoded, size_of, spelled_one_by_one, texts_of
from seqlaws.subject import Cases
from seqlaws.verdict import HOLDS, Verdict, alike, broken, every, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

SWEPT = 200_000  # so many ids of a vocabulary are decoded one by one


@law(tokens, CONTRACT)
def ids_are_integers_below_the_vocabulary_size(tokenizer: Run, x: Inputs) -> Verdict:
    """A text becomes a list of integers from 0 to vocab_size − 1, and ids become a text.

    0 ≤ encode(s)_i < vocab_size,   decode(encode(s)) is a str

    Why: an id is a row of an embedding table. One past its end is an error on a CPU, and on a GPU a
    fault far from its cause, or a wrong vector.
    """
    size = size_of(tokenizer, x)
    if size < 1:
        return broken(f"a vocabulary of {size} spells nothing")
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


@law(tokens, VALUES, cases=Cases(lambda claims: (*USUAL, Characters()), lambda claims: texts_drawn()))
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
    cases=Cases(lambda claims: USUAL[:1], lambda claims: texts_drawn()),
    examples=0.01,
)
def no_two_ids_spell_the_same(tokenizer: Run, x: Inputs) -> Verdict:
    """Ids that spell a text by themselves spell different ones.

    decode([i]) = decode([j]) ≠ ""  ⇒  i = j

    Why: a text that can be written in two ways splits its probability between them, and ids that were
    counted one off spell their neighbour's text. Parts of a character, which spell nothing whole, are left out.
    """
    size = size_of(tokenizer, x)
    ends = [*range(min(500, size)), *range(max(0, size - 500), size)]
    some = range(size) if size <= SWEPT else sorted({*ends, *drawn_ids(x.rng("ids"), size, SWEPT)})
    spelled: dict[str, int] = {}
    for start in range(0, len(some), 1000):  # asked one by one, most of the time would not be theirs
        ids = some[start : start + 1000]
        for each, text in zip(ids, tokenizer.ask(x, partial(spelled_one_by_one, ids)), strict=True):
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
