"""Tokenizers are objects that are asked; what is no tokenizer is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

import seqlaws
from seqlaws import Implementation
from seqlaws.adapters.python_tokens import Characters, Utf8


def tokenizer(call: Any, **declared: Any) -> Implementation:
    return Implementation(name="mine", subject="tokens", call=call, **declared)


def test_bytes_take_any_text() -> None:
    assert Utf8().decode(Utf8().encode("a é 🫠")) == "a é 🫠"
    assert Utf8().encode("é") == [0xC3, 0xA9]


def test_it_is_judged_once_and_not_for_every_dtype() -> None:
    report = seqlaws.check(tokenizer(Utf8(), dialect={"boundaries": "anywhere"}))
    assert {(result.device, result.dtype, result.status) for result in report} == {("cpu", "float32", "holds")}
    assert len(report.results) == len(tokenizer(Utf8()).definition.laws)


def test_a_tokenizer_that_does_not_claim_unicode_is_asked_what_its_ids_spell() -> None:
    report = seqlaws.check(tokenizer(Characters("abc "), can={"bijection"}))
    assert report.broken == []
    report = seqlaws.check(tokenizer(Characters("abc ")))
    assert "raised KeyError" in report.broken[0].message


def test_the_smallest_text_is_shown() -> None:
    class Strips(Utf8):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.strip())

    (result,) = seqlaws.check(tokenizer(Strips())).broken
    assert (result.law, result.counterexample) == ("tokens.decoding_undoes_encoding", "texts = (' ',)")
    assert result.message == "gave '' where ' ' was due"


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(seqlaws.Misunderstood, match=r"^mine: call is a str, which has no decode and no vocab_size$"):
        tokenizer("text")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vocab_size": lambda: 256}, "vocab_size is a function where an int was due"),
        ({"vocab_size": 256.0}, "vocab_size is a float where an int was due"),
        ({"encode": lambda text: None}, "encode gave NoneType None where a list of int was due"),
        ({"decode": lambda ids: None}, "decode gave a NoneType where a str was due"),
    ],
)
@pytest.mark.parametrize("can", [None, set()])
def test_what_is_of_the_wrong_kind_is_named(changed: dict[str, Any], message: str, can: set[str] | None) -> None:
    mine = Utf8()
    mine.__dict__.update(changed)
    (result,) = seqlaws.check(tokenizer(mine, can=can)).broken
    assert (result.law, result.message) == ("tokens.ids_are_integers_below_the_vocabulary_size", message)


def test_a_size_beyond_64_bits_is_a_size() -> None:
    class Vast(Utf8):
        vocab_size = 2**70

        def decode(self, ids: list[int]) -> str:
            return super().decode([each for each in ids if each < 256])

    assert seqlaws.check(tokenizer(Vast())).broken == []
