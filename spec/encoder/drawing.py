"""The cases that the laws of an encoder block draw: sizes, which kind of block, masks, fills and weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.spec.attention import MASK_SHAPES, AttentionCase
from seqlaws.subject import Case, Cases, Claims

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FILLS = ("normal", "faint", "strong", "grid", "level", "uneven", "high")
AXES = {
    "x": "BQE", "W_q": "DE", "W_k": "DE", "W_v": "DE", "W_o": "ED", "b_q": "D", "b_k": "D", "b_v": "D", "b_o": "E",
    "W_1": "FE", "b_1": "F", "W_2": "EF", "b_2": "E", "g_1": "E", "s_1": "E", "g_2": "E", "s_2": "E",
}  # fmt: skip
WEIGHTS = tuple(name for name in AXES if name != "x")


@dataclass(frozen=True)
class EncoderCase:
    """Sizes, pre-norm or post-norm, the mask (as for attention), a fill, a gain and a seed.

    ``width`` is that of one head and ``hidden`` that of the feed-forward part. ``gain`` scales the
    matrices, which at 1 keep the size of what they map. ``fill`` is one of FILLS, "mixed" (all of them
    in turn), "tiny" or "blank" (every other token is zero). ``weights`` are "usual", or those of one part are 0 or
    far from 1: "closed", "loud hidden" or "loud scores".
    """

    batch: int
    heads: int
    width: int
    length: int
    hidden: int
    norm_first: bool = False
    mask: str = "none"
    mask_axes: str = "B11K"
    pattern: str = "random"
    gain: float = 1.0
    fill: str = "mixed"
    seed: int = 0
    weights: str = "usual"

    def inputs(self, format: Format) -> Inputs:
        """Every batch row is a sub-case with a fill of its own; all share the weights."""
        rng = np.random.default_rng(self.seed)
        sizes = {"E": self.heads * self.width, "D": self.heads * self.width, "F": self.hidden}
        arrays: dict[str, Array | None] = {"x": self._tokens(rng, format, (self.batch, self.length, sizes["E"]))}
        for name in WEIGHTS:
            shape = tuple(sizes[letter] for letter in AXES[name])
            if name.startswith("W"):
                arrays[name] = self.gain / np.sqrt(shape[1]) * rng.standard_normal(shape)
            elif name.startswith("g"):
                arrays[name] = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 2.0, shape)
            else:
                arrays[name] = 0.5 * rng.standard_normal(shape)
        self._reweigh(arrays)
        masks = AttentionCase(
            self.batch, self.heads, self.heads, self.length, self.length, 1, 1,
            self.mask, self.mask_axes, self.pattern, seed=self.seed,
        ).inputs(format)  # fmt: skip
        arrays["mask"] = masks.mask
        options = {"num_heads": self.heads, "norm_first": self.norm_first}
        return Inputs("encoder", format, arrays, options, AXES | {"mask": masks.axes["mask"]}, self.seed, self.batch)

    def _reweigh(self, arrays: dict[str, Any]) -> None:
        """Give some weights another size, in place."""
        match self.weights:
            case "loud hidden":
                arrays["W_1"] *= 32.0
            case "loud scores":
                arrays["W_q"] *= 8.0
                arrays["W_k"] *= 8.0
            case "closed":
                arrays["g_1"][::3] = 0.0
                arrays["g_2"][1::3] = 0.0

    def _tokens(self, rng: np.random.Generator, format: Format, shape: tuple[int, ...]) -> Array:
        tokens = rng.standard_normal(shape)
        fills = FILLS if self.fill == "mixed" else (self.fill,)
        for place, fill in enumerate(fills):
            _refill(fill, rng, format, tokens[place :: len(fills)])
        return tokens


def _refill(fill: str, rng: np.random.Generator, format: Format, tokens: Array) -> None:
    """Give some batch entries their own kind of numbers, in place."""
    match fill:
        case "faint":
            tokens *= 0.1
        case "tiny":
            tokens *= 1e-4
        case "strong":
            tokens *= 3.0
        case "grid":
            tokens[...] = rng.integers(-8, 9, tokens.shape) / 4.0
        case "level":
            tokens += 4.0
        case "uneven":
            tokens *= 10.0 ** rng.uniform(-1.0, 0.5, tokens.shape)
        case "blank":  # no padding, although it looks like it
            tokens[:, 1::2] = 0.0
        case "high":
            # a large common part, as far as products of queries and keys stay in range
            tokens += min(256.0, np.sqrt(format.largest) / 16)


def adapted(case: EncoderCase, claims: Claims) -> EncoderCase:
    """The nearest case that an implementation with these claims accepts."""
    if case.mask == "float" and "float_mask" not in claims.can:
        case = replace(case, mask="bool")
    if case.mask == "bool" and "bool_mask" not in claims.can:
        case = replace(case, mask="hiding" if "float_mask" in claims.can else "none")
    if not case.norm_first and "post_norm" not in claims.can:
        case = replace(case, norm_first=True)
    if case.norm_first and "pre_norm" not in claims.can:
        case = replace(case, norm_first=False)
    return case


TRAPS = (
    EncoderCase(193, 2, 5, 7, 11, seed=1),
    EncoderCase(193, 2, 5, 7, 11, norm_first=True, seed=2),
    EncoderCase(61, 4, 6, 9, 13, True, mask="bool", seed=3),
    EncoderCase(4, 4, 4, 4, 16, False, mask="float", mask_axes="B1QK", seed=4),  # batch, heads, tokens, width: all 4
    EncoderCase(5, 3, 5, 33, 17, True, mask="float", mask_axes="BHQK", seed=5),
    EncoderCase(6, 6, 1, 6, 6, False, mask="bool", mask_axes="1HQK", seed=6),  # every size is 6
    EncoderCase(5, 2, 8, 5, 32, False, mask="bool", pattern="left", gain=2.0, seed=7),
    EncoderCase(1, 1, 7, 1, 5, True, gain=0.5, seed=8),  # one entry, one head, one token
    EncoderCase(61, 3, 4, 6, 7, True, gain=0.25, seed=9),  # small enough for the bounds of half types to bite
    EncoderCase(61, 3, 4, 6, 7, False, mask="bool", gain=0.25, seed=10),
)
# a norm over two channels knows nothing but a sign, and its gradient is what rounding leaves
HEADS = ((1, 3), (1, 7), (3, 1), (2, 3), (2, 8), (3, 2), (3, 5), (4, 4), (4, 6), (6, 1), (8, 2))
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 32, 33)


def cases(traps: int = len(TRAPS), **fixed: Any) -> Cases:
    """Some traps and drawn cases, with some fields fixed; a tuple offers several values for a field."""

    def settle(case: EncoderCase, index: int) -> EncoderCase:
        chosen = {
            name: value[index % len(value)] if isinstance(value, tuple) else value for name, value in fixed.items()
        }
        return replace(case, **chosen)

    def always(claims: Claims) -> Iterable[EncoderCase]:
        return dict.fromkeys(adapted(settle(case, index), claims) for index, case in enumerate(TRAPS[:traps]))

    def strategy(claims: Claims) -> SearchStrategy[EncoderCase]:
        return _drawn().map(lambda found: adapted(settle(*found), claims))

    return Cases(always, strategy)


def besides(cases: Cases, *more: EncoderCase) -> Cases:
    """The same cases, and after those that always run some more, as far as they are accepted."""

    def always(claims: Claims) -> Iterable[Case]:
        return dict.fromkeys([*cases.always(claims), *(adapted(case, claims) for case in more)])

    return Cases(always, cases.strategy)


@cache
def _drawn() -> SearchStrategy[tuple[EncoderCase, int]]:
    """Any case, and the index of what a law fixes in it; made once, for Hypothesis reads its source each time."""
    from hypothesis import strategies as st

    one_of, flag, seeds, index = st.sampled_from, st.booleans(), st.integers(0, 2**32 - 1), st.integers(0, 62)
    groups, lengths, own = one_of(HEADS), one_of(LENGTHS), st.integers(0, 7)
    hidden_units, gains, fills = st.integers(0, 5), one_of((0.25, 0.5, 1.0, 2.0)), one_of(("mixed", *FILLS))
    masks, mask_axes = one_of(("none", "bool", "float")), one_of(MASK_SHAPES)
    patterns = one_of(("random", "left", "right", "anticausal", "all"))

    @st.composite
    def build(draw: Any) -> tuple[EncoderCase, int]:
        heads, width = draw(groups)
        size = heads * width
        length = {0: heads, 1: size}.get(draw(own)) or draw(lengths)
        hidden = (1, 3, 8, 13, 4 * width, size)[draw(hidden_units)]
        cost = length * size * (length + 3 * size + hidden)
        batches = [count for count in (1, heads, length, 96, 193, 386) if count * cost < 1_600_000]
        drawn = EncoderCase(
            batches[draw(index) % len(batches)] if batches else 1,
            heads,
            width,
            length,
            hidden,
            draw(flag),
            draw(masks),
            draw(mask_axes),
            draw(patterns),
            draw(gains),
            draw(fills),
            draw(seeds),
        )
        return drawn, draw(index)

    return build()


# at these end the tiles of nearly every size up to 136
EVERY_LENGTH = (
    *range(1, 18),
    *(size for size in range(18, 66) if size % 8 in (0, 1, 7)),
    *(size for size in range(66, 130) if size % 16 in (0, 1, 15)),
    *(255, 256, 257),
)
BORDERS = (31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 257)
HIDDEN = (31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256, 257)
WIDE = (
    (1, 32), (1, 33), (2, 32), (1, 64), (1, 65), (3, 32), (12, 3), (16, 2), (17, 2), (1, 128), (1, 129),
    (4, 48),
)  # fmt: skip
# beyond what tiles of 256 channels, 512 hidden units and 512 tokens hold; for outputs alone, since simulated
# roundings are dear
LARGE = (
    EncoderCase(1, 4, 65, 2, 5, True, fill="normal", seed=260),
    EncoderCase(1, 1, 4, 2, 520, True, fill="normal", seed=520),
    EncoderCase(1, 1, 4, 2, 1030, True, fill="normal", seed=1030),
    EncoderCase(1, 2, 32, 70, 5, True, mask="bool", fill="normal", seed=70),  # wide and long
)
LONG = (
    EncoderCase(1, 1, 4, 520, 5, True, fill="normal", seed=521),
    # masks of their own for every query, beyond a tile of them
    EncoderCase(1, 2, 4, 65, 8, True, mask="bool", mask_axes="11QK", fill="normal", seed=66),
    EncoderCase(2, 2, 4, 129, 8, False, mask="bool", mask_axes="BHQK", fill="normal", seed=130),
    EncoderCase(350, 1, 4, 6, 5, True, fill="normal", seed=350),  # beyond 2048 tokens in all
)
# masks that hide the future, and more than it
PUNCTURED = (
    EncoderCase(3, 2, 4, 6, 7, True, mask="bool", mask_axes="B1QK", pattern="punctured", fill="normal", seed=26),
    EncoderCase(3, 2, 4, 6, 7, False, mask="float", mask_axes="11QK", pattern="punctured", fill="normal", seed=27),
)
# hidden units and scores that someone may have clipped, tokens far smaller than √ε, and some that are zero
EXTREME = (
    EncoderCase(2, 2, 4, 3, 7, False, fill="normal", weights="loud hidden", seed=20),
    EncoderCase(2, 2, 4, 9, 7, True, fill="normal", weights="loud scores", seed=21),
    EncoderCase(2, 2, 4, 3, 7, True, fill="tiny", seed=22),
    EncoderCase(3, 2, 4, 5, 7, True, fill="blank", seed=25),
)
# channels that a gain of 0 has closed: what entered the norm cannot be had back from what it gave
CLOSED = (
    EncoderCase(3, 2, 4, 5, 7, False, fill="normal", weights="closed", seed=23),
    EncoderCase(3, 2, 4, 5, 7, True, fill="normal", weights="closed", seed=24),
)

# padding that lies beyond what short sequences reach
PADDED_LENGTHS = (("bool", 129), ("float", 129), ("bool", 257))


def every_length(lengths: tuple[int, ...] = EVERY_LENGTH, padded: tuple[tuple[str, int], ...] = ()) -> Cases:
    """One case of every length about which a kernel may have ideas, pre-norm and post-norm in turn.

    Those of ``padded`` have a mask of some kind, over the keys of each entry.
    """
    # simulated roundings of long sequences are dear
    some = [
        EncoderCase(2 if length < 64 else 1, 2, 4, length, 8, bool(place % 2), mask, fill="normal", seed=length)
        for place, (mask, length) in enumerate([*(("none", length) for length in lengths), *padded])
    ]
    return _swept(some)


def every_width() -> Cases:
    """One case of every number of hidden units, of every width, and of every number of heads, in both orders.

    Half of them have a mask with a part for each head.
    """
    wide = [EncoderCase(2, heads, width, 3, 5, fill="normal", seed=heads * width) for heads, width in WIDE]
    wide += [EncoderCase(2, 2, 4, 3, hidden, fill="normal", seed=hidden) for hidden in HIDDEN]
    both = [replace(case, norm_first=norm_first) for case in wide for norm_first in (False, True)]
    # of two neighbours, one is pre-norm with a mask, and the other post-norm with a mask
    hiding = {1: "bool", 2: "bool"}
    return _swept([
        replace(case, mask=hiding.get(place % 4, "none"), mask_axes="BHQK") for place, case in enumerate(both)
    ])  # fmt: skip


def _swept(some: list[EncoderCase]) -> Cases:
    return Cases(lambda claims: dict.fromkeys(adapted(case, claims) for case in some), cases().strategy)
