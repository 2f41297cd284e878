"""Rotary position encoding: the subject, and the cases that its laws draw.

Pairs of channels of a query or key are turned by angles that grow with the position, so that the
product of a query and a key depends on how far apart they stand (Su et al. 2021).

Axes: B batch, H heads, T time, D width. Positions are integers, [T] or [B,T], in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.reference import rotary as reference
from seqlaws.reference.rotary import Convention
from seqlaws.spec.positions import PLACES, places
from seqlaws.subject import Cases, Claims, Subject
from seqlaws.verdict import Output

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

BASE = 10_000.0
FILLS = ("normal", "grid", "mixed", "extreme")


@dataclass(frozen=True)
class RotaryCase:
    """Sizes, where the tokens stand, whether every batch entry has positions of its own, and the base.

    ``places`` is one of PLACES, or "far"; ``fill`` one of FILLS: "mixed" gives every batch entry a
    scale of its own, "extreme" one that other formats could not hold.
    """

    batch: int
    heads: int
    length: int
    width: int
    places: str = "near"
    per_row: bool = False
    base: float | None = None
    fill: str = "mixed"
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every token of every batch entry is a sub-case."""
        rng = np.random.default_rng(self.seed)
        shape = (self.batch, self.heads, self.length, self.width)
        x = rng.integers(-8, 9, shape) / 4.0 if self.fill == "grid" else rng.standard_normal(shape)
        if self.fill == "mixed":
            x = x * 10.0 ** rng.uniform(-2, 2, (self.batch, 1, 1, 1))
        if self.fill == "extreme":
            reach = min(40.0, math.log2(format.largest) - 5)
            x = x * 2.0 ** (reach * rng.permutation(np.linspace(-1, 1, self.batch))).reshape(-1, 1, 1, 1)
        rows = [places(self.places, rng, self.length) for _ in range(self.batch if self.per_row else 1)]
        positions = np.array(rows, dtype=np.int64).reshape(len(rows), self.length)
        return Inputs(
            "rotary", format,
            {"x": x, "positions": positions if self.per_row else positions[0]}, {"base": self.base},
            {"x": "BHTD", "positions": "BT" if self.per_row else "T"},
            self.seed, max(1, self.batch * self.length),
        )  # fmt: skip


TRAPS = (
    RotaryCase(2, 3, 7, 8, seed=1),
    RotaryCase(3, 2, 5, 10, "offset", True, seed=2),
    RotaryCase(1, 1, 1, 2, "offset", seed=3),
    RotaryCase(4, 4, 4, 4, "near", True, seed=4),  # every size the same
    RotaryCase(1, 5, 11, 16, "arange", seed=5),
    RotaryCase(2, 1, 13, 6, "descending", True, seed=6),
    RotaryCase(3, 2, 3, 64, fill="extreme", seed=7),
    RotaryCase(5, 2, 7, 6, "restarting", True, seed=8),
)
SIZES = tuple(
    (batch, heads, length, width)
    for batch in (1, 2, 3, 5)
    for heads in (1, 2, 3, 7)
    for length in (1, 2, 3, 5, 8, 13, 19)
    for width in (2, 4, 6, 8, 10, 14, 16, 24, 32)
    if batch * heads * length * width <= 4000
)


def _fitted(case: RotaryCase, claims: Claims) -> RotaryCase:
    """The case as far as it is claimed, with a width of which the rotated part is even."""
    parts = 2 * reference.PARTS[claims.dialect["rotated"]]
    width = case.width if parts == 2 else -(-case.width // parts) * parts
    base = case.base if "base" in claims.can else None
    return replace(case, width=width, per_row=case.per_row and "per_row" in claims.can, base=base)


def cases(**fixed: Any) -> Cases:
    """The traps and drawn cases, with some fields fixed."""

    def always(claims: Claims) -> Iterable[RotaryCase]:
        return (_fitted(replace(case, **fixed), claims) for case in TRAPS)

    def strategy(claims: Claims) -> SearchStrategy[RotaryCase]:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> RotaryCase:
            batch, heads, length, width = draw(st.sampled_from(SIZES))
            kind, fill = draw(st.sampled_from(PLACES)), draw(st.sampled_from(FILLS))
            per_row, seed = draw(st.booleans()), draw(st.integers(0, 2**32 - 1))
            case = RotaryCase(batch, heads, length, width, kind, per_row, fill=fill, seed=seed)
            return _fitted(replace(case, **fixed), claims)

        return build()

    return Cases(always, strategy)


def every_size() -> Cases:
    """One case of every size about which a kernel may have ideas: lengths, widths, heads and batches."""
    borders = (31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
    lengths = [RotaryCase(1, 1, length, 4, "arange", seed=length) for length in (*borders, 513, 1025, 2049, 4097)]
    widths = [RotaryCase(1, 1, 3, width, "offset", seed=width) for width in (*range(2, 34, 2), 48, 64, 80, 96, 128)]
    heads = [RotaryCase(1, count, 2, 4, "offset", seed=count) for count in (*range(4, 18), 31, 32, 33, 64, 71)]
    batches = [RotaryCase(count, 1, 2, 4, "offset", True, seed=count) for count in (*range(4, 18), 31, 32, 33, 65)]
    wide = [RotaryCase(1, 1, 2, width, "near", seed=width) for width in (160, 192, 256, 258, 512, 576, 1024)]
    together = [
        RotaryCase(2, 2, 65, 64, "arange", seed=1),
        RotaryCase(2, 3, 257, 8, "offset", True, seed=2),
        RotaryCase(3, 33, 33, 6, "near", True, seed=3),
        RotaryCase(2, 65, 2, 4, "near", True, seed=4),
        RotaryCase(1, 2, 129, 80, "descending", seed=5),
        RotaryCase(5, 9, 129, 8, "offset", True, seed=6),
        RotaryCase(3, 2, 1, 6, "near", True, 500_000.0, seed=8),  # one new token for each sequence
        RotaryCase(2, 2, 5, 8, "near", base=100.0, seed=9),
        RotaryCase(1, 1, 8200, 4, "arange", seed=10),
        RotaryCase(2, 8, 4097, 2, "arange", seed=7),  # more than 65 536 tokens in all heads and entries
    ]
    swept = [*lengths, *widths, *wide, *heads, *batches, *together]
    return Cases(lambda claims: [_fitted(case, claims) for case in swept], cases().strategy)


def convention(dialect: Mapping[str, str]) -> Convention:
    """The declared conventions, as the reference takes them."""
    return Convention(dialect["pairing"], dialect["rotated"], dialect["precision"])


def pairs(rotary: Any, x: Inputs) -> tuple[Array, Array]:
    """The first and the second channel of every pair."""
    return reference.pairs(x.size("D"), convention(rotary.dialect))


def after(first: Output, second: Output) -> Output:
    """A second rotation, with the error of the first that it turned: at most both of a pair in each channel."""
    return Output(
        second.value,
        lambda: (second.reference, second.bound + 2 * first.slack, second.slack + 2 * first.slack),
    )


def _wide(x: Inputs) -> tuple[Array, Array, float]:
    wide = x.format.wide
    return x.x.astype(wide), x.positions.astype(wide), BASE if x.base is None else x.base


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    numbers, positions, base = _wide(x)
    way = convention(dialect)
    value = reference.rotary(numbers, positions, base, way)
    return value, reference.bound(numbers, positions, base, way, x.format)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    _, positions, base = _wide(x)
    g, way = cotangent.astype(x.format.wide), convention(dialect)
    value = reference.rotary(g, positions, base, way, turn=-1)
    return {"x": (value, reference.bound(g, positions, base, way, x.format))}


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if x.base is not None:
        yield x.but(base=None)
    least = x.positions.min(initial=x.positions.max(initial=0))
    if least > 0:
        yield x.but(positions=x.positions - least)
    if x.positions.any():
        yield x.but(positions=x.positions // 2)


def _others(x: Inputs) -> Iterator[Inputs]:
    """Other positions for as many tokens."""
    yield x.but(positions=x.positions[..., ::-1].copy() + 3)


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """NaN throughout about half of the tokens."""
    reached = x.rng("tokens with NaN").random((*x.x.shape[:3], 1)) < 0.5
    yield x.but(x=np.where(reached, np.nan, x.x)), reached


def _malformed(x: Inputs) -> Iterator[Inputs]:
    """A row of positions too many or too few: never a single one, nor where there is one entry: it would be
    broadcast."""
    entries = x.size("B")
    if x.positions.ndim > 1 and entries > 1:
        for count in sorted({entries - 1, entries + 1} - {1}):
            yield x.spelled(positions="XT").but(positions=_as_many(x.positions, count, 0))


def _misfits(x: Inputs) -> Iterator[Inputs]:
    """A position too many or too few, or one for every head."""
    tokens, heads = x.size("T"), x.size("H")
    if tokens > 1:
        for count in sorted({tokens - 1, tokens + 1, heads} - {1, tokens}):
            yield x.spelled(positions=x.axes["positions"][:-1] + "X").but(positions=_as_many(x.positions, count, -1))


def _as_many(positions: Array, count: int, axis: int) -> Array:
    """The first positions along an axis, and behind the last one some more that follow it."""
    there = np.arange(count)
    last = positions.shape[axis] - 1
    beyond = np.maximum(there - last, 0)
    return np.take(positions, np.minimum(there, last), axis=axis) + (beyond if axis else beyond[:, None])


rotary = Subject(
    name="rotary",
    signature="rotary(x, positions, base=10000.0) -> Tensor",
    capabilities={
        "per_row": "takes positions [B,T], a row for every batch entry",
        "base": "takes another base than 10000",
        "gradient": "can be differentiated",
    },
    dialects={
        # which two channels turn together; which part of the channels, from the first, is rotated at all; and
        # whether single precision is enough where the input is wider, as in many programs it is
        "pairing": ("halves", "interleaved"),
        "rotated": ("all", "half", "quarter"),
        "precision": ("single", "full"),
        "misfits": ("undefined", "refused"),
    },
    arrange=lambda tensors, options: (
        (tensors["x"], tensors["positions"]),
        {} if options["base"] is None else {"base": options["base"]},
    ),
    shape=lambda x: x.x.shape,
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("x",),
    simpler=_simpler,
    others=_others,
    valid=lambda x: x.size("D") % 2 == 0,
    free_axes=lambda claims: "BHT",
    with_nan=_with_nan,
    malformed=_malformed,
    misfits=_misfits,
)
