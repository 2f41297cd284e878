"""Two tokenizers, as examples of an adapter: the bytes of UTF-8, and the characters of an alphabet."""

from __future__ import annotations

from seqlaws.implementation import Implementation


class Utf8:
    """An id for each of 256 bytes: takes any text."""

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        """The text of bytes; what is not UTF-8 becomes U+FFFD."""
        return bytes(ids).decode(errors="replace")


class Characters:
    """An id for each character of an alphabet; raises KeyError for any other."""

    def __init__(self, alphabet: str) -> None:
        self._characters = alphabet
        self._ids = {character: place for place, character in enumerate(alphabet)}
        self.vocab_size = len(alphabet)

    def encode(self, text: str) -> list[int]:
        """The places of a text's characters in the alphabet."""
        return [self._ids[character] for character in text]

    def decode(self, ids: list[int]) -> str:
        """The characters at some places of the alphabet."""
        return "".join(self._characters[place] for place in ids)


utf8 = Implementation(name="python.utf8", subject="tokens", call=Utf8(), dialect={"boundaries": "anywhere"})  # type: ignore[arg-type]

characters = Implementation(
    name="python.characters",
    subject="tokens",
    call=Characters("abcdefghijklmnopqrstuvwxyz .,\n"),  # type: ignore[arg-type]
    can={"bijection"},
    dialect={"boundaries": "anywhere"},
)
