"""How text becomes vectors, and what those vectors mean."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Figure, Series
from seqlaws.reference.rounding import gamma

TEXT = (
    "The cat sat on the mat.  The dog, which the cat saw, sat there too!\n"
    "Was the dog's mat new? It wasn’t: the cat’s café had sold it in 1998 for 3.50 €.\n"
)


def sentences(text: str) -> list[str]:
    """Pieces that end with a full stop, a question mark or an exclamation mark, and with what spaces follow."""
    return re.findall(r".+?(?:[.!?]+\s+|$)|\s+", text, re.DOTALL)


def words(text: str) -> list[str]:
    """Words, signs, and the spaces between them."""
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def subwords(text: str) -> list[str]:
    """Bytes, of which the commonest neighbours were merged twenty times. A piece is named by its bytes."""
    pieces = [bytes([each]).decode("latin-1") for each in text.encode()]
    for _ in range(20):
        common = max(Counter(pairwise(pieces)).items(), key=lambda item: (item[1], item[0]))[0]
        merged, at = list[str](), 0
        while at < len(pieces):
            both = tuple(pieces[at : at + 2]) == common
            merged.append("".join(common) if both else pieces[at])
            at += 2 if both else 1
        pieces = merged
    return pieces


def spelt(pieces: list[str]) -> str:
    """The text that pieces of bytes spell."""
    return "".join(pieces).encode("latin-1").decode()


@claim("H1", HOLDS, articles="S3", source="Sennrich et al. 2016")
def tokens_are_sentences_words_subwords_or_characters(see: Evidence) -> None:
    """Depending on the method, tokens are whole sentences, words, parts of words, or single characters.

    decode(encode(s)) = s for each of them; the smaller the pieces, the more of them

    Rule: a text goes through four tokenizers to ids and back, and is the same in every character. The number
    of tokens rises from one to the next.
    """
    methods: dict[str, tuple[Callable[[str], list[str]], Callable[[list[str]], str]]] = {
        "sentences": (sentences, "".join),
        "words": (words, "".join),
        "sub-words": (subwords, spelt),
        "characters": (list, "".join),
    }
    lengths = []
    for name, (cut, joined) in methods.items():
        pieces = cut(TEXT)
        vocabulary = sorted(set(pieces))
        ids = [vocabulary.index(piece) for piece in pieces]
        see.supports(f"{name}: the text comes back", joined([vocabulary[id] for id in ids]) == TEXT, equals=True)
        lengths.append(len(ids))
    for (larger, smaller), (before, after) in zip(pairwise(methods), pairwise(lengths), strict=True):
        see.supports(f"tokens: {smaller} and {larger}", after, above=before)


@claim("H2", HoldsIf("a token is an entry of the vocabulary, not an occurrence in a text"), articles="S3")
def every_token_has_a_unique_id(see: Evidence) -> None:
    """Each token is mapped to a unique identifier.

    vocabulary ↔ {0 … |V| − 1} is a bijection; all occurrences of one word share its id

    Rule: ids and vocabulary of a text are counted, there and back; so are the ids of the five words of a
    sentence.
    """
    vocabulary = sorted(set(words(TEXT)))
    ids = {piece: id for id, piece in enumerate(vocabulary)}
    see.supports("ids of the vocabulary", len(set(ids.values())), equals=len(vocabulary))
    back = {id: piece for piece, id in ids.items()}
    see.supports(
        "vocabulary entries whose id leads back", sum(back[ids[each]] == each for each in ids), equals=len(ids)
    )
    sentence = ["the", "cat", "saw", "the", "dog"]
    see.refutes("“the cat saw the dog”: ids of five words", len({ids[each] for each in sentence}), equals=4)


@claim("H3", HOLDS, articles="S3", source="Vaswani et al. 2017, section 3.4")
def an_embedding_maps_tokens_to_vectors(see: Evidence) -> None:
    """The input embedding turns each token into a vector of continuous values.

    E[w] = one_hot(w)·E: a row of a table, and a linear map of indicator vectors

    Rule: the rows that nn.Embedding looks up equal the products with indicator vectors in every bit, as sums
    of zeros and one number are exact in any order; their gradients agree where no id comes twice.
    """
    table = nn.Embedding(50, 12)
    ids = torch.randperm(50)[:20].reshape(4, 5)
    one_hot = F.one_hot(ids, 50).to(table.weight.dtype)
    looked_up, multiplied = table(ids), one_hot @ table.weight
    see.supports("20 tokens, d = 12: shape", tuple(looked_up.shape), equals=(4, 5, 12))
    see.supports("entries in which both differ", int((looked_up != multiplied).sum()), equals=0)
    cotangent = torch.randn(4, 5, 12)
    one, other = (torch.autograd.grad(each, table.weight, cotangent)[0] for each in (looked_up, multiplied))
    see.supports("gradient entries in which both differ", int((one != other).sum()), equals=0)


ANIMALS, VEHICLES = ("dog", "puppy"), ("car", "van")
NOUNS = (*ANIMALS, *VEHICLES)


@cache
def corpus() -> tuple[tuple[str, ...], ...]:
    """Every sentence of a small language: animals and vehicles do different things, all cars what vans do."""
    habits = {
        "dog": ("barks", "runs", "sleeps", "eats", "guards"),
        "puppy": ("barks", "runs", "sleeps", "eats", "whines"),
        "car": ("drives", "parks", "brakes", "rusts"),
        "van": ("drives", "parks", "brakes", "rusts"),
    }
    return tuple(
        (article, noun, verb)
        for noun, verbs in habits.items()
        for article, verb in product(("the", "my", "your"), verbs)
    )


def associations() -> dict[str, list[float]]:
    """How much more often than by chance a noun meets each other word: max(0, log p(a, b)/(p(a)·p(b)))."""
    together = Counter((noun, other) for article, noun, verb in corpus() for other in (article, verb))
    of_noun, of_other = Counter[str](), Counter[str]()
    for (noun, other), count in together.items():
        of_noun[noun] += count
        of_other[other] += count
    ratios = {
        noun: [
            Fraction(together[noun, other] * together.total(), of_noun[noun] * of_other[other]) for other in of_other
        ]
        for noun in NOUNS
    }
    return {noun: [math.log(max(each, Fraction(1))) for each in row] for noun, row in ratios.items()}


def trained(width: int) -> tuple[dict[str, Tensor], float]:
    """Embeddings of the nouns by the singular vectors of their associations, and what rounding may add to
    one.
    """
    rows = {noun: torch.tensor(row, dtype=torch.float64) for noun, row in associations().items()}
    directions = torch.linalg.svd(torch.stack(list(rows.values())))[2][:width].T
    largest = max(float((row.abs() @ directions.abs()).max()) for row in rows.values())
    return {noun: row @ directions for noun, row in rows.items()}, gamma(len(directions), 2.0**-53) * largest


def cosine(one: Tensor, other: Tensor) -> float:
    """The cosine of the angle between two vectors."""
    return float(one @ other / (one.norm() * other.norm()))


@claim("H4", HoldsIf("the embedding was trained on texts in which similar words share contexts"), articles="S3",
       source="Levy & Goldberg 2014")  # fmt: skip
def words_of_similar_meaning_lie_closer_together(see: Evidence) -> None:
    """Embeddings place words of similar meaning close together, and unrelated ones farther apart.

    before training cos(a, b) has mean 0 and variance 1/d for any two words; after it, words are as close as
    their contexts are alike

    Rule: singular vectors of the associations in a small language bring dog closer to puppy than to car. Of
    2000 tables drawn at random, d = 32, as many do so as chance would have it: half, up to √(ln 10⁹/(2·2000))
    by Hoeffding.
    """
    vectors, _ = trained(3)
    near, far = cosine(vectors["dog"], vectors["puppy"]), cosine(vectors["dog"], vectors["car"])
    see.supports("trained: cosine of dog and puppy, above that of dog and car", near, above=far)
    draws, width = 2000, 32
    dog, puppy, car = torch.randn(3, draws, width)
    closer = (F.cosine_similarity(dog, puppy) > F.cosine_similarity(dog, car)).double().mean().item()
    chance = math.sqrt(math.log(1e9) / (2 * draws))
    see.refutes("2000 random tables: share with dog closer to puppy than to car", closer, at_most=0.5 + chance)
    random = nn.Embedding(len(NOUNS), 2).weight.detach()
    for title, placed in (
        ("Two dimensions, before training", dict(zip(NOUNS, random, strict=True))),
        ("Two dimensions, after training: two places for four words", trained(2)[0]),
    ):
        points = tuple(Series(noun, [at[0].item()], [at[1].item()], joined=False) for noun, at in placed.items())
        see.picture(Figure(title, "first coordinate", "second coordinate", points))


@claim("H5", Refuted("words that share all their contexts get one vector, however different their meanings"),
       articles="S3", source="Levy & Goldberg 2014", picture="H4")  # fmt: skip
def words_of_distinct_meaning_are_placed_apart(see: Evidence) -> None:
    """Words with distinct meanings, such as "car" and "van", are placed apart in the embedding space.

    equal contexts ⇒ equal rows of associations ⇒ equal vectors, up to rounding

    Rule: in a language in which vans do what cars do, the rows of associations are equal in every bit, and
    the vectors of width 3 differ by no more than both are rounded. Dog and puppy, which each do one thing of
    their own, differ.
    """
    rows = associations()
    differing = sum(one != other for one, other in zip(rows["car"], rows["van"], strict=True))
    see.refutes("car and van: associations in which they differ", differing, equals=0)
    vectors, rounding = trained(3)
    apart = (vectors["car"] - vectors["van"]).abs().max().item()
    see.refutes("car and van: largest difference of their vectors", apart, at_most=2 * rounding)
    apart = (vectors["dog"] - vectors["puppy"]).abs().max().item()
    see.supports("dog and puppy: largest difference of their vectors", apart, above=2 * rounding)


@claim("H6", Refuted("an input embedding is the same in every context; attention is what makes it depend on one"),
       articles="S3")  # fmt: skip
def embeddings_preserve_contextual_relationships(see: Evidence) -> None:
    """Embeddings let the model process text while contextual relationships between words are preserved.

    E[w] depends on w alone

    Rule: "bank" has one vector in two sentences, equal in every bit, at the same position; after one layer of
    attention it has two.
    """
    texts = (["the", "river", "bank", "was", "wet"], ["my", "savings", "bank", "was", "shut"])
    vocabulary = sorted({word for text in texts for word in text})
    table = nn.Embedding(len(vocabulary), 16)
    layer = nn.MultiheadAttention(16, 2, batch_first=True)
    with torch.no_grad():
        embedded = [table(torch.tensor([[vocabulary.index(word) for word in text]])) for text in texts]
        attended = [layer(x, x, x, need_weights=False)[0] for x in embedded]
    for name, (one, other), wanted in (("embedding", embedded, "equals"), ("after attention", attended, "above")):
        change = (one[0, 2] - other[0, 2]).abs().max().item()
        see.refutes(f"“bank”, {name}: largest difference between two sentences", change, **{wanted: 0.0})
