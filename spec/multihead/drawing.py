"""The cases that the laws of multi-head attention draw: sizes, who is who, masks, fills and weights."""

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

FORMS = {"separate": ("query", "key", "value"), "memory": ("query", "key"), "self": ("query",)}
FILLS = ("normal", "faint", "strong", "grid", "shifted", "uneven")
MATRICES = ("W_q", "W_k", "W_v", "W_o")
BIASES = ("b_q", "b_k", "b_v", "b_o")
AXES = {
    "query": "BQE", "key": "BKE", "value": "BKE", "W_q": "FE", "W_k": "FE", "W_v": "FE", "W_o": "EF",
    "b_q": "F", "b_k": "F", "b_v": "F", "b_o": "E",
}  # fmt: skip


@dataclass(frozen=True)
class MultiheadCase:
    """Sizes, which tensors are one and the same, the mask (as for attention), a fill, a gain and a seed.

    ``width`` is that of one head. ``form`` is "separate", "memory" (key and value are one tensor) or
    "self" (all three are). ``gain`` scales the weights, which at 1 keep the size of what they map.
    ``fill`` is one of FILLS, "mixed" (all of them in turn) or "loud" (one key takes all the weight).
    """

    batch: int
    heads: int
    width: int
    q_len: int
    kv_len: int
    form: str = "separate"
    mask: str = "none"
    mask_axes: str = "BHQK"
    pattern: str = "random"
    causal: bool = False
    gain: float = 1.0
    fill: str = "mixed"
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every batch row is a sub-case with a fill of its own; all share the weights."""
        rng = np.random.default_rng(self.seed)
        size, keys = self.heads * self.width, self.q_len if self.form == "self" else self.kv_len
        arrays: dict[str, Array | None] = dict.fromkeys(AXES)
        for name in FORMS[self.form]:
            arrays[name] = self._tokens(rng, format, (self.batch, self.q_len if name == "query" else keys, size))
        for name in MATRICES:
            arrays[name] = self.gain / np.sqrt(size) * rng.standard_normal((size, size))
        for name in BIASES:
            arrays[name] = self.gain / 2 * rng.standard_normal(size)
        masks = AttentionCase(
            self.batch, self.heads, self.heads, self.q_len, keys, 1, 1,
            self.mask, self.mask_axes, self.pattern, seed=self.seed,
        ).inputs(format)  # fmt: skip
        arrays["mask"] = masks.mask
        options = {"num_heads": self.heads, "causal": self.causal}
        return Inputs("multihead", format, arrays, options, AXES | {"mask": masks.axes["mask"]}, self.seed, self.batch)

    def _tokens(self, rng: np.random.Generator, format: Format, shape: tuple[int, ...]) -> Array:
        tokens = rng.standard_normal(shape)
        fills = FILLS if self.fill == "mixed" else (self.fill,)
        for place, fill in enumerate(fills):
            self._refill(fill, rng, format, tokens[place :: len(fills)])
        return tokens

    def _refill(self, fill: str, rng: np.random.Generator, format: Format, tokens: Array) -> None:
        """Give some batch entries their own kind of numbers, in place."""
        match fill:
            case "faint":
                tokens *= 0.1
            case "strong":
                tokens *= 3.0
            case "grid":
                tokens[...] = rng.integers(-8, 9, tokens.shape) / 4.0
            case "shifted":
                tokens += 4.0
            case "uneven":
                tokens *= 10.0 ** rng.uniform(-1.5, 0.5, tokens.shape)
            case "loud":
                # as far as products of queries and keys stay in range
                tokens *= min(100.0, np.sqrt(format.largest / 64 / self.width) / self.gain)


def adapted(case: MultiheadCase, claims: Claims, keep_mask: bool = False) -> MultiheadCase:
    """The nearest case that an implementation with these claims accepts, and that has no empty rows.

    Where a mask and causality do not go together, ``keep_mask`` says which of them stays.
    """
    if case.mask == "float" and "float_mask" not in claims.can:
        case = replace(case, mask="bool")
    if case.mask == "bool" and "bool_mask" not in claims.can:
        case = replace(case, mask="hiding" if "float_mask" in claims.can else "none")
    if case.causal and "causal" not in claims.can:
        case = replace(case, causal=False)
    if case.causal and case.mask != "none" and "causal_with_mask" not in claims.can:
        case = replace(case, causal=False) if keep_mask else replace(case, mask="none")
    if case.form == "self" or "cross_length" not in claims.can:
        case = replace(case, kv_len=case.q_len)
    if case.causal and claims.dialect["alignment"] == "bottom_right" and case.q_len > case.kv_len:
        case = replace(case, q_len=case.kv_len, kv_len=case.q_len)
    if case.causal and case.pattern == "left":
        case = replace(case, pattern="right")
    return case


TYPICAL = MultiheadCase(577, 2, 5, 3, 7, seed=1)
TRAPS = (
    TYPICAL,
    MultiheadCase(131, 4, 8, 9, 9, "self", mask="bool", mask_axes="B11K", seed=2),
    MultiheadCase(5, 3, 5, 33, 65, "memory", mask="bool", seed=3),  # beyond one tile of queries and of keys
    MultiheadCase(4, 4, 4, 4, 4, mask="float", mask_axes="B1QK", seed=4),  # batch, heads, tokens, head width: all 4
    MultiheadCase(7, 2, 8, 32, 32, "self", causal=True, seed=5),
    MultiheadCase(6, 6, 1, 6, 6, "memory", mask="bool", mask_axes="1HQK", seed=6),  # tokens = model width = heads
    MultiheadCase(5, 5, 3, 4, 7, mask="bool", mask_axes="B11K", pattern="left", gain=3.0, seed=7),  # batch = heads
    MultiheadCase(127, 8, 6, 9, 4, causal=True, mask="bool", mask_axes="11QK", seed=8),  # fewer keys than queries
    MultiheadCase(1, 1, 7, 1, 5, gain=0.5, seed=9),  # one entry, one head, one query
)
LONG = (
    MultiheadCase(2, 2, 4, 65, 131, "memory", mask="bool", seed=10),  # beyond two tiles of keys
    MultiheadCase(2, 2, 4, 130, 130, "self", causal=True, seed=11),
    MultiheadCase(2, 1, 4, 3, 257, mask="float", mask_axes="B11K", pattern="right", seed=12),
    # whole tiles alone, under both
    MultiheadCase(1, 2, 4, 128, 128, "self", causal=True, mask="bool", mask_axes="11QK", seed=13),
)
# beyond what tables and tiles of 256 hold; for outputs alone, since simulated roundings of gradients are dear
LARGE = (
    MultiheadCase(1, 1, 3, 288, 288, "self", causal=True, fill="normal", seed=14),
    MultiheadCase(2, 4, 65, 2, 3, fill="normal", seed=15),
    MultiheadCase(1, 2, 32, 3, 130, "memory", mask="bool", fill="normal", seed=16),  # wide and long
    MultiheadCase(2, 1, 3, 4, 513, "memory", mask="bool", mask_axes="B11K", fill="normal", seed=17),
    MultiheadCase(4099, 1, 2, 1, 1, fill="normal", seed=18),
    MultiheadCase(1, 1, 3, 150, 150, "self", causal=True, mask="bool", mask_axes="11QK", fill="normal", seed=19),
)
# masks that hide the future, and more than it
PUNCTURED = (
    MultiheadCase(3, 2, 4, 6, 6, "self", mask="bool", mask_axes="B1QK", pattern="punctured", fill="normal", seed=20),
    MultiheadCase(3, 2, 4, 5, 9, mask="float", mask_axes="11QK", pattern="punctured", fill="normal", seed=21),
)
# at the lengths end the tiles of nearly every size up to 65
LENGTHS_SWEPT = (*(size for size in range(1, 66) if size < 9 or size % 4 in (0, 1, 3)), 127, 128, 129, 255, 256, 513)
WIDE = (
    (1, 32), (1, 33), (2, 32), (1, 64), (1, 65), (3, 32), (12, 3), (16, 2), (17, 2), (1, 128), (1, 129),
    (4, 48),
)  # fmt: skip
# a kernel for wide heads or for many has code of its own for what hides keys
HIDING: tuple[dict[str, Any], ...] = ({}, {"mask": "bool"}, {"causal": True})
HEADS = (
    (1, 1),
    (1, 7),
    (2, 1),
    (2, 3),
    (2, 8),
    (3, 2),
    (3, 5),
    (3, 16),
    (4, 4),
    (4, 6),
    (6, 1),
    (6, 5),
    (8, 2),
    (8, 6),
)
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13)
BORDERS = (15, 16, 17, 31, 32, 33, 63, 64, 65)


def cases(traps: tuple[MultiheadCase, ...] = TRAPS, **fixed: Any) -> Cases:
    """Some traps and drawn cases, with some fields fixed; a tuple offers several values for a field."""

    keep_mask = fixed.get("mask", "none") != "none"

    def settle(case: MultiheadCase, index: int) -> MultiheadCase:
        chosen = {
            name: value[index % len(value)] if isinstance(value, tuple) else value for name, value in fixed.items()
        }
        return replace(case, **chosen)

    def always(claims: Claims) -> Iterable[MultiheadCase]:
        seen: dict[MultiheadCase, None] = {}
        for index, case in enumerate(traps):
            seen.setdefault(adapted(settle(case, index), claims, keep_mask))
        return seen

    def strategy(claims: Claims) -> SearchStrategy[MultiheadCase]:
        return _drawn().map(lambda found: adapted(settle(*found), claims, keep_mask))

    return Cases(always, strategy)


def besides(cases: Cases, *more: MultiheadCase) -> Cases:
    """The same cases, and after those that always run some more as they are, as far as they are accepted."""

    def always(claims: Claims) -> Iterable[Case]:
        return dict.fromkeys([*cases.always(claims), *(adapted(case, claims) for case in more)])

    return Cases(always, cases.strategy)


@cache
def _drawn() -> SearchStrategy[tuple[MultiheadCase, int]]:
    """Any case, and the index of what a law fixes in it; made once, for Hypothesis reads its source each time."""
    from hypothesis import strategies as st

    one_of, flag, seeds, index = st.sampled_from, st.booleans(), st.integers(0, 2**32 - 1), st.integers(0, 62)
    groups, gains, fills = one_of(HEADS), one_of((0.5, 1.0, 3.0)), one_of(("mixed", *FILLS))
    lengths, own = one_of(LENGTHS + LENGTHS + BORDERS), st.integers(0, 7)
    forms, masks, mask_axes = one_of(tuple(FORMS)), one_of(("none", "bool", "float")), one_of(MASK_SHAPES)
    patterns = one_of(("random", "left", "right", "anticausal", "all"))

    @st.composite
    def build(draw: Any) -> tuple[MultiheadCase, int]:
        heads, width = draw(groups)
        size = heads * width
        # as often as any other length, one that is a number of something else
        q_len, kv_len = ({0: heads, 1: width, 2: size}.get(draw(own)) or draw(lengths) for _ in range(2))
        if draw(flag):
            kv_len = q_len
        cost = size * (q_len * kv_len + size * (q_len + kv_len))
        batches = [count for count in (1, heads, q_len, 37, 96, 128, 256) if count * cost < 4_000_000]
        drawn = MultiheadCase(
            batches[draw(index) % len(batches)] if batches else 1,
            heads,
            width,
            q_len,
            kv_len,
            draw(forms),
            draw(masks),
            draw(mask_axes),
            draw(patterns),
            draw(flag),
            draw(gains),
            draw(fills),
            draw(seeds),
        )
        return drawn, draw(index)

    return build()


def every_size() -> Cases:
    """One small case of every length about which a kernel may have ideas, of wide heads, and of many."""
    forms = tuple(FORMS)
    swept = [
        MultiheadCase(2, 2, 3, length, 5, forms[place % 2], fill="normal", seed=length)
        for place, length in enumerate(LENGTHS_SWEPT)
    ]
    swept += [
        MultiheadCase(2, 2, 3, 4, length, forms[place % 2], fill="normal", seed=length)
        for place, length in enumerate(LENGTHS_SWEPT)
    ]
    swept += [
        MultiheadCase(2, heads, width, 3, 5, form, fill="normal", seed=7, **hiding)
        for heads, width in WIDE
        for form, hiding in zip(forms, HIDING, strict=True)
    ]

    def always(claims: Claims) -> Iterable[MultiheadCase]:
        return dict.fromkeys(adapted(case, claims) for case in swept)

    return Cases(always, cases().strategy)
