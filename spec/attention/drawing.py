"""Attention's cases: sizes, masks, flags and fills; the traps that always run, and what is drawn besides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.subject import Cases, Claims

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FILLS = ("normal", "faint", "strong", "grid", "sharp", "rising", "shifted", "uneven")
# scores up to 1e5 turn the last bit of a product into another winner: where two ways of asking are
# compared before either is known to be right, they stay out
MIXTURES = {"mixed": FILLS, "moderate": tuple(fill for fill in FILLS if fill != "sharp")}
PATTERNS = ("random", "left", "right", "anticausal", "all")
# in this order the cyclic choice lays a mask per head on a batch as large as the number of heads
MASK_SHAPES = ("BHQK", "11QK", "B11K", "1HQK", "BH1K", "1H1K", "QK", "1K", "HQK", "B1QK", "B1Q1")


@dataclass(frozen=True)
class AttentionCase:
    """Sizes, the mask (kind, pattern, and which of its axes are broadcast), flags, a fill and a seed.

    A mask is "bool", "float" (finite numbers and −∞) or "hiding" (a bool mask written as 0 and −∞).
    ``mask_axes`` spells the mask's axes: "B11K" is one row of keys per batch entry.
    """

    batch: int
    heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    d_k: int
    d_v: int
    mask: str = "none"
    mask_axes: str = "BHQK"
    pattern: str = "random"
    causal: bool = False
    scale: float | None = None
    fill: str = "mixed"
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every batch row is a sub-case with a fill of its own."""
        rng = np.random.default_rng(self.seed)
        q = rng.standard_normal((self.batch, self.heads, self.q_len, self.d_k))
        k = rng.standard_normal((self.batch, self.kv_heads, self.kv_len, self.d_k))
        v = rng.standard_normal((self.batch, self.kv_heads, self.kv_len, self.d_v))
        fills = MIXTURES.get(self.fill, (self.fill,))
        for place, fill in enumerate(fills):
            rows = slice(place, None, len(fills))
            _refill(fill, rng, format, q[rows], k[rows], v[rows])
        mask = self._mask(rng)
        spelled = self.mask_axes if mask is not None else "BHQK"
        axes = {"q": "BHQD", "k": "BGKD", "v": "BGKV", "mask": "BHQK"[4 - len(spelled) :]}
        arrays, options = {"q": q, "k": k, "v": v, "mask": mask}, {"causal": self.causal, "scale": self.scale}
        return Inputs("attention", format, arrays, options, axes, self.seed, self.batch)

    def _mask(self, rng: np.random.Generator) -> Array | None:
        if self.mask == "none":
            return None
        sizes = {"B": self.batch, "H": self.heads, "Q": self.q_len, "K": self.kv_len, "1": 1}
        shape = tuple(sizes[letter] for letter in self.mask_axes)
        visible = _pattern(self.pattern, rng, shape)
        if self.mask == "bool":
            return visible
        if self.mask == "hiding":
            return np.where(visible, 0.0, -np.inf)
        bias = rng.integers(-8, 9, shape) / 4.0 if self.fill == "grid" else 2 * rng.standard_normal(shape)
        return np.where(visible, bias, -np.inf)


def _refill(fill: str, rng: np.random.Generator, format: Format, q: Array, k: Array, v: Array) -> None:
    """Give some batch entries their own kind of numbers, in place."""
    match fill:
        case "faint":
            q *= 0.1
            v *= 1e-3
        case "strong":
            q *= 3.0
            v *= 10.0
        case "grid":
            for array in (q, k, v):
                array[...] = rng.integers(-8, 9, array.shape) / 4.0
        case "sharp":
            # logits up to 1e5, as far as ⟨q, k⟩ itself stays in range
            reach = min(1e5, format.largest / 16)
            q *= reach / (4.0 * np.sqrt(max(1, q.shape[-1])))
        case "deep":
            # every score is far below −1e4, as far as ⟨q, k⟩ of few channels stays in range in float16
            size = np.sqrt(min(1e5, format.largest / 2.6) / np.sqrt(max(1, q.shape[-1])))
            q[...], k[...] = -size * (1.0 + np.abs(q) / 16), size * (1.0 + np.abs(k) / 16)
        case "shifted":
            k += 4.0
            v += 100.0
        case "rising":
            # scores that climb along the keys, and in the next batch entry fall
            climb = np.linspace(0.0, 12.0, k.shape[2])[:, None]
            q[...], k[...] = np.abs(q), np.where(np.arange(len(k)).reshape(-1, 1, 1, 1) % 2, climb[::-1], climb)
            q /= np.maximum(q.sum(axis=-1, keepdims=True), 1e-3) / np.sqrt(max(1, q.shape[-1]))
        case "uneven":
            v *= 10.0 ** rng.uniform(-2, 2, v.shape)
        case "loud":
            # values of one sign and nearly equal weights: their mean is in range, their sum is not in float16
            q *= 0.1
            v[...] = min(1e6, format.largest / 16) / (1.0 + np.abs(v))


def _pattern(pattern: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Which keys are visible; no row is empty.

    Key 0 always is visible, so that none is under causality either, except where "left" hides the first keys.
    """
    keys, queries = np.arange(shape[-1]), np.arange(shape[-2]).reshape(-1, 1) if len(shape) > 1 else 0
    match pattern:
        case "all":
            visible = np.ones(shape, dtype=bool)
        case "right":
            visible = np.broadcast_to(keys < rng.integers(1, shape[-1] + 1, (*shape[:-1], 1)), shape).copy()
        case "left":
            return np.broadcast_to(keys >= rng.integers(0, max(1, shape[-1]), (*shape[:-1], 1)), shape).copy()
        case "anticausal":
            visible = np.broadcast_to(keys >= queries, shape).copy()
        case "punctured":  # what hides the future, and more
            visible = (keys <= queries) & (rng.random(shape) < 0.6)
        case _:
            visible = rng.random(shape) < 0.6
    visible[..., :1] = True
    return visible


def adapted(case: AttentionCase, claims: Claims, keep_mask: bool = False) -> AttentionCase:
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
    if "grouped_query" not in claims.can:
        case = replace(case, kv_heads=case.heads)
    if "scale" not in claims.can:
        case = replace(case, scale=None)
    if "cross_length" not in claims.can:
        case = replace(case, kv_len=case.q_len)
    if "value_width" not in claims.can:
        case = replace(case, d_v=case.d_k)
    if case.causal and claims.dialect["alignment"] == "bottom_right" and case.q_len > case.kv_len:
        case = replace(case, q_len=case.kv_len, kv_len=case.q_len)
    if case.causal and case.pattern == "left":
        case = replace(case, pattern="right")
    return case


TYPICAL = AttentionCase(191, 2, 2, 5, 7, 3, 11, seed=1)
TRAPS = (
    TYPICAL,
    AttentionCase(2, 2, 2, 33, 130, 8, 5, mask="bool", seed=2),  # beyond two tiles of 64 keys
    AttentionCase(2, 1, 1, 65, 65, 4, 4, causal=True, seed=3),
    AttentionCase(4, 4, 4, 4, 4, 4, 4, mask="float", mask_axes="B1QK", seed=4),  # every size the same
    AttentionCase(5, 5, 5, 3, 7, 2, 3, mask="bool", mask_axes="B11K", pattern="left", seed=5),  # B == H
    AttentionCase(131, 6, 2, 9, 4, 16, 7, causal=True, mask="bool", mask_axes="11QK", scale=0.3, seed=6),
    AttentionCase(127, 8, 1, 8, 3, 5, 6, mask="float", mask_axes="1HQK", seed=7),  # Tq == H
    AttentionCase(1, 3, 1, 1, 6, 9, 2, mask="bool", pattern="right", seed=8),  # one entry, one query
    AttentionCase(2, 1, 1, 3, 5, 128, 65, seed=10),  # wide heads
    AttentionCase(2, 1, 1, 65, 130, 4, 4, causal=True, fill="rising", seed=11),
    AttentionCase(2, 1, 1, 130, 65, 4, 4, causal=True, seed=12),
    AttentionCase(16, 2, 2, 64, 3, 2, 2, fill="sharp", seed=10),  # the sum of the queries overflows in float16
    AttentionCase(3, 3, 3, 5, 4, 2, 3, mask="bool", mask_axes="HQK", seed=9),  # a mask per head, B == H
    AttentionCase(5, 2, 2, 5, 7, 2, 3, mask="bool", mask_axes="QK", seed=14),  # a mask [Tq,Tk], B == Tq
)
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9)
BORDERS = (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
GROUPS = ((1, 1), (2, 2), (3, 3), (4, 2), (6, 3), (6, 2), (8, 1), (8, 8))


def cases(traps: int = len(TRAPS), **fixed: Any) -> Cases:
    """Some traps and drawn cases, with some fields fixed; a tuple offers several values for a field."""

    keep_mask = fixed.get("mask", "none") != "none"

    def settle(case: AttentionCase, index: int) -> AttentionCase:
        chosen = {
            name: value[index % len(value)] if isinstance(value, tuple) else value for name, value in fixed.items()
        }
        if chosen.get("kv_heads") == "heads":
            chosen["kv_heads"] = case.heads
        return replace(case, **chosen)

    def always(claims: Claims) -> Iterable[AttentionCase]:
        seen: dict[AttentionCase, None] = {}
        for index, case in enumerate(TRAPS[:traps]):
            seen.setdefault(adapted(settle(case, index), claims, keep_mask))
        return seen

    def strategy(claims: Claims) -> SearchStrategy[AttentionCase]:
        return _drawn().map(lambda found: adapted(settle(*found), claims, keep_mask))

    return Cases(always, strategy)


def besides(cases: Cases, *more: AttentionCase) -> Cases:
    """The same cases, and after those that always run some more, as far as they are accepted."""

    def always(claims: Claims) -> Iterable[Any]:
        yield from cases.always(claims)
        yield from (adapted(case, claims, case.mask != "none") for case in more)

    return Cases(always, cases.strategy)


@cache
def _drawn() -> SearchStrategy[tuple[AttentionCase, int]]:
    """Any case, and the index of what a law fixes in it; made once, for Hypothesis reads its source each time."""
    from hypothesis import strategies as st

    one_of, length, index = st.sampled_from, st.sampled_from(SIZES + SIZES + BORDERS), st.integers(0, 7)
    # kinds, patterns and shapes of masks meet in every combination
    choice = st.integers(0, 2 * 3 * len(MASK_SHAPES) - 1)
    groups, widths, scales = (
        one_of(GROUPS),
        one_of((1, 2, 3, 5, 8, 13, 16, 24, 33, 65, 128)),
        one_of((None, 0.5, 1.0, 0.11)),
    )
    masks, mask_axes, patterns = one_of(("none", "bool", "float")), one_of(MASK_SHAPES), one_of(PATTERNS)
    flag, fills, seeds = st.booleans(), one_of(("mixed", *FILLS)), st.integers(0, 2**32 - 1)

    @st.composite
    def build(draw: Any) -> tuple[AttentionCase, int]:
        heads, kv_heads = draw(groups)
        q_len = draw(length)
        kv_len = q_len if draw(flag) and draw(flag) else draw(length)
        d_k = draw(widths)
        if d_k > 24:  # wide heads cost too much to be long as well
            q_len, kv_len = min(q_len, 9), min(kv_len, 9)
        drawn = AttentionCase(
            _affordable((1, heads, q_len, 128, 192, 256, 384, 512)[draw(index)], heads * q_len * kv_len * d_k),
            heads,
            kv_heads,
            q_len,
            kv_len,
            d_k,
            (d_k, 1, 4, 7)[draw(index) % 4],
            draw(masks),
            draw(mask_axes),
            draw(patterns),
            draw(flag),
            draw(scales),
            draw(fills),
            draw(seeds),
        )
        return drawn, draw(choice)

    return build()


def _affordable(batch: int, cost: int) -> int:
    """As many batch entries as may be had at a cost for each."""
    return max(1, min(batch, 300_000 // cost))
