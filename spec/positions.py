"""What the laws of position encodings share: the positions that they ask about, and products of outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqlaws.formats import Array
from seqlaws.verdict import Output

# how far laws of offsets move everything
SHIFTS = (1, 7, 1000, 100_000)
# the borders of what half types and 16 bits can count, lengths of common tables, and far beyond them
FAR = (
    255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 5000, 8191, 8193, 15_962,
    32_767, 32_768, 65_535, 65_536, 65_537, 100_003, 131_072, 262_143, 262_144, 524_289, 1_000_003,
)  # fmt: skip
PLACES = ("arange", "near", "offset", "descending", "restarting")


def places(kind: str, rng: np.random.Generator, length: int, far: tuple[int, ...] = FAR) -> Array:
    """Positions of one sequence: "far" ones, or one of PLACES, which stay below 400."""
    index = np.arange(length)
    match kind:
        case "near":  # gaps, and no order
            index = rng.permutation(3 * length + 2)[:length]
        case "offset":
            index = index + rng.choice([1, 7, 63, 100, 255])
        case "descending":
            index = index[::-1].copy()
        case "restarting":  # two documents in one row, or padding and a document
            first = int(rng.integers(0, max(1, length)))
            index = np.concatenate([np.arange(first), np.arange(length - first)])
        case "far":
            index = rng.choice(far, length)
    return index


def exactly(array: Array) -> Output:
    """Numbers that are known without any error."""
    nothing = np.zeros(array.shape)
    return Output(array, lambda: (array, nothing, nothing))


def product(one: Output, other: Output, multiply: Callable[[Array, Array], Array] = np.multiply) -> Output:
    """A product of two outputs, entry by entry or another one that is linear in both."""

    def error(left: Array, right: Array, left_off: Array, right_off: Array) -> Array:
        return multiply(np.abs(left), right_off) + multiply(left_off, np.abs(right)) + multiply(left_off, right_off)

    return Output(
        np.asarray(multiply(one.value, other.value)),
        lambda: (
            multiply(one.reference, other.reference),
            error(one.reference, other.reference, one.bound, other.bound),
            error(one.value, other.value, one.slack, other.slack),
        ),
    )


def products(one: Output, other: Output) -> Output:
    """⟨one_t, other_s⟩ for every pair of tokens, [..., T, T]: the scores, were these queries and keys."""
    return product(one, other, lambda left, right: np.asarray(left @ right.swapaxes(-1, -2)))


def squares(one: Output) -> Output:
    """The squared length of every token, [..., T]."""
    return product(one, one).sum(axis=-1)
