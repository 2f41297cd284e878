"""The cases that the laws of recurrent layers draw: sizes, fills, a gain and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.subject import Cases, Claims

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FILLS = ("normal", "faint", "strong", "grid", "uneven", "steady", "blank")
MODERATE = ("normal", "steady")
LETTERS = {"x": "BTD", "h0": "BH", "c0": "BH", "W": "HD", "U": "HG", "b": "H", "c": "H"}


@dataclass(frozen=True)
class RecurrentCase:
    """Batch, length, width of the input, hidden units, a gain, a fill and a seed.

    ``gain`` is the largest sum of magnitudes in a row of U: below 1, a state fades. ``fill`` is one of
    FILLS, "mixed" (every batch row its own), "huge" (as large as the format allows) or "loud" (large,
    and alone in saturating the gates). Weights, states and biases differ for every gate and unit.
    """

    batch: int
    length: int
    width: int
    units: int
    gain: float = 0.9
    fill: str = "mixed"
    seed: int = 0

    SUBJECT: ClassVar[str] = ""
    STATES: ClassVar[tuple[str, ...]] = ("h0",)
    MATRICES: ClassVar[tuple[str, ...]] = ()
    RECURRENT: ClassVar[tuple[str, ...]] = ()
    OFFSETS: ClassVar[tuple[str, ...]] = ()
    WEIGHTS: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.WEIGHTS = (*cls.MATRICES, *cls.RECURRENT, *cls.OFFSETS)

    @staticmethod
    def forgetful(x: Inputs) -> Inputs:
        """The same inputs with weights that keep nothing of the state."""
        raise NotImplementedError

    @staticmethod
    def idle(dialect: Mapping[str, str]) -> tuple[str, ...]:
        """The weights that have no part in the result under a dialect."""
        return ()

    def inputs(self, format: Format) -> Inputs:
        """Every batch row is a sub-case with a fill of its own; all share the weights."""
        rng = np.random.default_rng(self.seed)
        arrays: dict[str, Array | None] = {"x": rng.standard_normal((self.batch, self.length, self.width))}
        for name in self.STATES:
            arrays[name] = rng.uniform(-0.9, 0.9, (self.batch, self.units)) * (1.0 if name == "h0" else 2.0)
        fills = FILLS if self.fill == "mixed" else (self.fill,)
        for place, fill in enumerate(fills):
            rows = slice(place, None, len(fills))
            for name in ("x", *self.STATES):
                arrays[name][rows] = _filled(fill, name, rng, arrays[name][rows], format)  # type: ignore[index]
        for name in self.MATRICES:
            arrays[name] = rng.standard_normal((self.units, self.width)) / np.sqrt(max(1, self.width))
        for name in self.RECURRENT:
            matrix = rng.standard_normal((self.units, self.units))
            arrays[name] = matrix * self.gain / np.abs(matrix).sum(axis=1).max()
        for name in self.OFFSETS:
            arrays[name] = rng.uniform(0.2, 0.8, self.units) * rng.choice([-1.0, 1.0], self.units)
        axes = {name: LETTERS[name if name in LETTERS else name[0]] for name in arrays}
        return Inputs(self.SUBJECT, format, arrays, {}, axes, self.seed, self.batch)


def _filled(fill: str, name: str, rng: np.random.Generator, normal: Array, format: Format) -> Array:
    """Inputs [B,T,D] or states [B,H] with a fill, of normal ones."""
    filled: Array = normal
    match fill:
        case "faint":
            filled = 0.05 * normal
        case "strong":
            filled = 4.0 * normal
        case "grid":  # some steps of it without any input
            filled = rng.integers(-4, 5, normal.shape) / 4.0
            filled[:, 1::3] *= name != "x"
        case "uneven":
            filled = normal * 10.0 ** rng.uniform(-3.0, 0.5, normal.shape)
        case "steady":
            filled = np.broadcast_to(normal[:, :1], normal.shape) if name == "x" else normal
        case "blank":
            filled = normal if name == "x" else 0.0 * normal
        case "huge":  # products with weights of size 1 may be summed up without overflow
            size = format.largest / 64 / max(1, normal.shape[-1]) if name == "x" else 1.0
            filled = np.clip(normal, -1, 1) * min(size, 1e30)
        case "loud":
            filled = 300.0 * normal if name == "x" else normal
    return filled


Sizes = tuple[int, int, int, int]

TRAPS: tuple[Sizes, ...] = (
    (127, 7, 3, 5),
    (4, 4, 4, 4),  # batch, steps, width and units: all 4
    (129, 1, 3, 2),  # one step, many sequences
    (1, 9, 5, 3),  # one sequence
    (3, 2, 1, 7),  # an input of one number
    (5, 3, 17, 1),  # one unit
    (257, 3, 2, 3),  # beyond 256 sequences
    (3, 5, 2, 33),  # beyond a tile of 32 units
    (2, 67, 3, 4),  # beyond a block of 64 steps
    (2, 131, 2, 3),  # beyond a block of 128 steps
)
SHORT = TRAPS[:7]
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13)
LONG = (15, 16, 17, 31, 32, 33, 63, 64, 65)


def cases(kind: type[RecurrentCase], traps: Sequence[Sizes] = SHORT, **fixed: Any) -> Cases:
    """Some traps and drawn cases, with some fields fixed; a tuple offers several values for a field.

    Runs beyond a block of steps are drawn if they are among the traps.
    """
    long = any(length > max(LENGTHS) for _, length, _, _ in traps)

    def settle(case: RecurrentCase, index: int) -> RecurrentCase:
        chosen = {
            name: value[index % len(value)] if isinstance(value, tuple) else value for name, value in fixed.items()
        }
        return replace(case, **chosen)

    def always(claims: Claims) -> Iterable[RecurrentCase]:
        return dict.fromkeys(
            settle(kind(*sizes, seed=index + 1), index) for index, sizes in enumerate(traps)
        )  # fmt: skip

    def strategy(claims: Claims) -> SearchStrategy[RecurrentCase]:
        return _drawn(long).map(lambda found: settle(kind(*found[0]), found[1]))

    return Cases(always, strategy)


@cache
def _drawn(long: bool) -> SearchStrategy[tuple[tuple[Any, ...], int]]:
    """The fields of any case, and the index of what a law fixes in it; made once, for Hypothesis reads its source
    each time."""
    from hypothesis import strategies as st

    one_of, index, seeds = st.sampled_from, st.integers(0, 62), st.integers(0, 2**32 - 1)
    sizes, lengths, own = one_of(SIZES), one_of(LENGTHS + (LONG if long else ())), st.integers(0, 11)
    fills = one_of(("mixed", "mixed", *FILLS))

    @st.composite
    def build(draw: Any) -> tuple[tuple[Any, ...], int]:
        units, width = draw(sizes), draw(sizes)
        length = {0: units, 1: width}.get(draw(own)) or draw(lengths)
        # over many steps a gain above 1 would allow any error at the end
        gains = (0.5, 0.9) if length > 13 else (0.5, 0.9, 1.5)
        batches = (1, 2, 3) if length > 17 else (1, 2, 3, 37, 96, 192, units, length)
        batch, gain = batches[draw(index) % len(batches)], gains[draw(index) % len(gains)]
        return (batch, length, width, units, gain, draw(fills), draw(seeds)), draw(index)

    return build()


BORDERS = (31, 32, 33, 63, 64, 65, 127, 128, 129, 257)


def every_size(kind: type[RecurrentCase], borders: tuple[int, ...] = BORDERS, large: tuple[Sizes, ...] = ()) -> Cases:
    """One case of every number of units, channels and sequences about which a kernel may have ideas, and large ones."""
    swept = [
        *((2, 2, 3, units) for units in borders),
        *((2, 2, width, 3) for width in borders),
        *((batch, 2, 3, 2) for batch in borders),
        (1, 1, 65, 65),  # one step of one sequence: a matrix and a vector
        (1, 1, 128, 128),
        (3, 3, 65, 65),  # several, and beyond a tile of channels and one of units at once
        (33, 4, 3, 33),  # beyond a tile of sequences and one of units at once
        (65, 2, 3, 65),
        (3, 3, 6, 2),  # as many channels as all units of a packed layer of three gates
        (2, 5, 3, 65),  # more steps than a kernel has buffers for the state
        (9, 3, 16, 16),  # square matrices, and a batch
        (1, 1, 2, 515),  # beyond blocks of 512
        (1, 2, 520, 2),
        (513, 1, 2, 2),
        (33, 35, 2, 3),  # long and many
        (70, 60, 2, 2),  # beyond a block of 4096 tokens
        (65_540, 1, 1, 1),  # more sequences than sixteen bits count
        *large,
    ]
    return Cases(lambda claims: [kind(*sizes, seed=sum(sizes)) for sizes in swept], cases(kind).strategy)
