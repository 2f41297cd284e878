"""Softmax: the subject, and the cases that its laws draw.

p_j = exp(x_j) / Σ_k exp(x_k) along one axis. x has any number of axes, called A B C … from the left;
p has the shape of x. A *row* is one line of numbers along the axis that sums to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.reference import softmax as reference
from seqlaws.subject import Cases, Claims, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LETTERS = "ABCDEF"
FILLS = ("normal", "grid", "wide", "huge", "ties", "far", "shifted")


@dataclass(frozen=True)
class SoftmaxCase:
    """Sizes of the axes, the axis that sums to 1, what the rows are filled with, and how much is hidden.

    ``fill`` is one of FILLS, or "mixed": every row its own. ``hidden`` is the share of −inf
    in a row where they are scattered; in others they are at one of its ends.
    """

    shape: tuple[int, ...]
    dim: int
    fill: str = "mixed"
    hidden: float = 0.0
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every row is a sub-case."""
        rng = np.random.default_rng(self.seed)
        width = self.shape[self.dim]
        rest = tuple(size for axis, size in enumerate(self.shape) if axis != self.dim % len(self.shape))
        count = math.prod(rest)
        rows = rng.standard_normal((count, width))
        for index, fill in enumerate(FILLS if self.fill == "mixed" else (self.fill,)):
            chosen = rows[index :: len(FILLS) if self.fill == "mixed" else 1]
            chosen[...] = _filled(fill, rng, chosen, format)
        if self.hidden:
            # scattered, from the left or from the right: a block of a row, its first one too, may be hidden as a whole
            away, place = rng.random(rows.shape) < self.hidden, np.arange(width)
            away[1::3] = place < rng.integers(0, width, (len(away[1::3]), 1))
            away[2::3] = place > rng.integers(0, width, (len(away[2::3]), 1))
            # one number of every row stays visible: rows without any are a law of their own
            away[np.arange(count), rng.integers(0, width, count)] &= np.arange(count) % 3 > 0
            rows[away] = -np.inf
        x = np.moveaxis(rows.reshape(*rest, width), -1, self.dim)
        return Inputs(
            "softmax", format, {"x": x}, {"dim": self.dim}, {"x": LETTERS[: x.ndim]}, self.seed, max(1, count)
        )


def _filled(fill: str, rng: np.random.Generator, normal: Array, format: Format) -> Array:
    """Rows of one kind, made from normal ones."""
    count, width = normal.shape
    filled: Array = normal
    match fill:
        case "grid":  # coarse enough for shifts to be exact in every format
            filled = rng.integers(-8, 9, (count, width)) / 4.0
        case "wide":
            filled = normal * 10.0 ** rng.uniform(-3, 2, (count, 1))
        case "huge":  # up to the largest finite number, of either sign
            filled = np.clip(normal * rng.choice([0.3, 3.0], (count, 1)), -1, 1) * format.largest
        case "ties":
            filled = np.repeat(rng.integers(-3, 4, (count, width // 2 + 1)), 2, axis=1)[:, :width] * 1.0
        case "far":  # most weights underflow, or come close to it
            filled = rng.integers(-200, 201, (count, width)) * rng.choice([0.0625, 0.25, 1.0], (count, 1))
        case "shifted":
            filled = normal + rng.choice([-1.0, 1.0], (count, 1)) * min(1e4, format.largest / 8)
    return filled


SIZES = tuple(range(1, 18))
BORDERS = (31, 32, 33, 63, 64, 65, 127, 128, 129, 257, 513)
OTHER_AXES = (
    (), (1,), (3,), (31,), (128,), (257,), (1, 37), (5, 29), (16, 16), (67, 2), (1, 1, 61), (4, 5, 7), (8, 8, 8)
)  # fmt: skip
SHAPES = tuple(
    ((*others[:place], width, *others[place:]), dim)
    for others in OTHER_AXES
    for width in SIZES + BORDERS + others
    if width * math.prod(others) <= 30_000
    for place in range(len(others) + 1)
    for dim in (place, place - len(others) - 1)
)
TRAPS = (
    SoftmaxCase((251, 7), 1, seed=1),
    SoftmaxCase((13, 11, 19), 1, seed=2),
    SoftmaxCase((67, 129), -1, seed=3),
    SoftmaxCase((8, 8, 8), 0, seed=4),  # every size the same
    SoftmaxCase((1, 1), -1, seed=5),
    SoftmaxCase((4, 9, 5, 17), -3, seed=6),
    SoftmaxCase((9,), 0, seed=7),
    SoftmaxCase((21, 513), -1, seed=8),
    SoftmaxCase((67, 67), 0, seed=9),  # square, and longer than a tile
    SoftmaxCase((5, 2049), -1, seed=10),
    SoftmaxCase((2, 3, 2, 1, 5, 4), 4, seed=11),  # more axes than batch, heads, queries and keys
    SoftmaxCase((2, 3, 4, 2, 5), 2, seed=12),
)


def cases(**fixed: Any) -> Cases:
    """The traps and drawn cases, with some fields fixed."""

    def always(claims: Claims) -> Iterable[SoftmaxCase]:
        return (replace(case, **fixed) for case in TRAPS)

    def strategy(claims: Claims) -> SearchStrategy[SoftmaxCase]:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> SoftmaxCase:
            shape, dim = draw(st.sampled_from(SHAPES))
            fill = draw(st.sampled_from(("mixed", "mixed", *FILLS)))
            return replace(SoftmaxCase(shape, dim, fill, seed=draw(st.integers(0, 2**32 - 1))), **fixed)

        return build()

    return Cases(always, strategy)


TILES = tuple(tile + beside for tile in (160, 192, 256, 320, 384, 512, 768, 1024) for beside in (-1, 0, 1))
LONG = (2047, 2048, 2049, 4097, 8192, 8193, 32_769, 65_537)


def every_width() -> Cases:
    """One case of every width about which a kernel may have ideas, and of every number of rows."""
    # as widths go up, numbers of rows go down: one sweep meets both
    swept = [SoftmaxCase((147 - width, width), 1, seed=width) for width in range(1, 131)]
    swept += [SoftmaxCase((16, width), 1, seed=width) for width in TILES]
    swept += [SoftmaxCase((3, width), 1, seed=width) for width in LONG]
    swept += [SoftmaxCase((rows, 3), 1, seed=rows) for rows in (1025, 65_537)]  # more than a grid may have blocks
    swept += [SoftmaxCase((131, 1031), 1, seed=1031)]  # many rows that are long too
    # the first blocks of a row are hidden as a whole, even where a block is wide
    late = SoftmaxCase((9, 8193), 1, hidden=0.4, seed=1)
    return Cases(lambda claims: [*swept, *([late] if "infinite" in claims.can else [])], cases().strategy)


def some_widths() -> Cases:
    """Cases of the widths at which tiles of most sizes end, and of many rows."""
    swept = [SoftmaxCase((147 - width, width), 1, seed=width) for width in range(1, 131) if width % 8 in (0, 1, 7)]
    swept += [SoftmaxCase((2, width), 1, seed=width) for width in TILES]
    swept += [SoftmaxCase((2, width), 1, seed=width) for width in (4097, 8193)]
    swept += [SoftmaxCase((rows, 3), 1, seed=rows) for rows in (1025, 4097, 65_537)]
    return Cases(lambda claims: swept, cases().strategy)


def row_axis(x: Inputs) -> str:
    """The letter of the axis that sums to 1."""
    return x.axes["x"][x.dim]


def some_rows(x: Inputs, purpose: str) -> Array:
    """About half of the rows, as a mask that broadcasts to x."""
    shape = tuple(1 if axis == x.dim % x.x.ndim else size for axis, size in enumerate(x.x.shape))
    return x.rng(purpose).random(shape) < 0.5


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if np.isinf(x.x).any():
        yield x.but(x=np.where(np.isinf(x.x), 0.0, x.x))


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    wide = x.x.astype(x.format.wide)
    value = reference.softmax(wide, x.dim, empty_row=dialect["empty_row"])
    return value, reference.softmax_bound(wide, x.dim, x.format)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    wide, direction = x.x.astype(x.format.wide), cotangent.astype(x.format.wide)
    value = reference.softmax_gradient(wide, x.dim, direction)
    return {"x": (value, reference.softmax_gradient_bound(wide, x.dim, direction, x.format))}


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """One NaN in about half of the rows: all of such a row depends on it."""
    rows = some_rows(x, "rows with NaN")
    place = np.zeros(x.x.shape, dtype=bool)
    where = x.rng("place of NaN").integers(0, x.x.shape[x.dim], rows.shape)
    np.put_along_axis(place, where, True, axis=x.dim)
    yield x.but(x=np.where(place & rows, np.nan, x.x)), rows


softmax = Subject(
    name="softmax",
    signature="softmax(x, dim) -> Tensor",
    capabilities={
        "infinite": "accepts −inf in its input",
        "gradient": "can be differentiated",
    },
    dialects={"empty_row": ("nan", "zeros", "mean")},
    arrange=lambda tensors, options: ((tensors["x"], options["dim"]), {}),
    shape=lambda x: x.x.shape,
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("x",),
    simpler=_simpler,
    slack=lambda x, bound: np.broadcast_to(bound.max(axis=x.dim, keepdims=True, initial=0.0), bound.shape),
    # a row without any number has no maximum to subtract: programs may refuse it
    valid=lambda x: x.x.shape[x.dim] > 0,
    free_axes=lambda claims: LETTERS,
    with_nan=_with_nan,
    malformed=lambda x: (x.but(dim=x.x.ndim), x.but(dim=-x.x.ndim - 1)),
)
