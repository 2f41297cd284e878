"""Normalisation: the subject, and the cases that its laws draw.

y = (x − mean(x)) / √(mean((x − mean(x))²) + ε) ⊙ gain + shift, over the last axis      (Ba et al. 2016)

In the dialect kind="rms" no mean is taken off. x has any number of axes, A B C from the left and D
for the one that is normalised; gain and shift are [D]. A *row* is one line of numbers along D.
Under kind="rms" the shift handed over is zero, since most programs have none; kind="rms_shifted"
says that it is added. sums="wide" says that what a half type's gradients of gain and shift sum over the rows is
summed in a wider type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.reference import norm as reference
from seqlaws.subject import Cases, Claims, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FILLS = ("normal", "grid", "faint", "strong", "level", "uneven", "constant")
SMOOTH = ("normal", "grid", "strong", "uneven", "level")
SHIFTED = ("layer", "rms_shifted")


@dataclass(frozen=True)
class NormCase:
    """Sizes of the axes, what the rows are filled with, ε, and whether there is a shift.

    ``fill`` is one of FILLS, "mixed" (every row another one of them), "smooth" (of SMOOTH),
    "loud" (as large as the squares of a row can be summed), "offset" (rows whose common part is
    thousands of times what they differ by), "quiet" (where a usual ε would show), or "slanted"
    (rows that rise from the first channel to the last). No row is louder than "loud".
    """

    shape: tuple[int, ...]
    fill: str = "mixed"
    eps: float = 1e-5
    shifted: bool = True
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every row is a sub-case."""
        rng = np.random.default_rng(self.seed)
        count, width = math.prod(self.shape[:-1]), self.shape[-1]
        # where every step is kept in a format that has no such ε, there is none
        eps = self.eps if not self.eps or format.round(np.array([self.eps])).all() else max(EPSILONS)
        fills = {"mixed": FILLS, "smooth": SMOOTH}.get(self.fill, (self.fill,))
        rows = rng.standard_normal((count, width))
        for index, fill in enumerate(fills):
            chosen = rows[index :: len(fills)]
            chosen[...] = _filled(fill, rng, chosen, eps, format)
        rows = summable(rows, format)
        # gradients are asked of smooth rows
        level = self.fill == "smooth" and rows.var(axis=1).min(initial=1.0) < 0.01
        arrays = {
            "x": rows.reshape(self.shape),
            "gain": rng.choice([-1.0, 1.0], width) * rng.uniform(0.5, 2.0, width),
            "shift": rng.standard_normal(width) * self.shifted,
        }
        if width > 3:  # gains begin at 0 in some models, and some stay near it
            off, faint = rng.choice(width, 2, replace=False)
            # what layers that keep gain − 1 can keep as well
            arrays["gain"][off] = 0.0
            arrays["gain"][faint] = np.copysign(max(2.0**-20, 2 * format.unit), arrays["gain"][faint])
        axes = {"x": "ABCEF"[: len(self.shape) - 1] + "D", "gain": "D", "shift": "D"}
        options = {"eps": max(eps, least_epsilon(format)) if level else eps}
        return Inputs("norm", format, arrays, options, axes, self.seed, max(1, count))


def least_epsilon(format: Format) -> float:
    """The ε from which on the derivative of 1/s, which is 1/s³, is in range whatever the row is."""
    return float((16.0 / format.largest) ** (2 / 3))


def gentle(x: Inputs) -> Inputs:
    """The same inputs with an ε under which every row has a gradient that is in range."""
    return x.but(eps=max(x.eps, least_epsilon(x.format)))


def most_of_squares(format: Format) -> float:
    """What the squares of a row may add up to, that they can be summed in the format itself too."""
    return format.largest / 16


def summable(rows: Array, format: Format, factor: float = 1.0) -> Array:
    """Rows of which the squares can be summed, after a factor too: those that are too loud halved until they can be."""
    squares = (factor * rows) ** 2
    excess = squares.sum(axis=-1, keepdims=True) / most_of_squares(format)
    return np.asarray(rows * 0.5 ** np.ceil(np.log2(np.maximum(excess, 1.0)) / 2))


def _filled(fill: str, rng: np.random.Generator, normal: Array, eps: float, format: Format) -> Array:
    """Rows of one kind, made from normal ones."""
    count, width = normal.shape
    filled: Array = normal
    match fill:
        case "grid":
            filled = rng.integers(-8, 9, (count, width)) / 4.0
        case "faint":  # as small as the root of ε, where ε decides
            filled = normal * math.sqrt(eps) * 10.0 ** rng.uniform(-0.5, 1.0, (count, 1))
        case "strong":
            filled = 3.0 * normal
        case "level":  # a common part, such as every row has
            filled = normal + rng.choice([-4.0, 4.0], (count, 1))
        case "uneven":  # one channel far out, as trained models have them
            filled = normal.copy()
            filled[:, 0] += 20.0
        case "constant":
            filled = np.broadcast_to(rng.choice([-1.0, 0.0, 0.5, 2.0], (count, 1)), normal.shape)
        case "loud":
            loudest = math.sqrt(most_of_squares(format) / width)
            filled = normal / np.abs(normal).max(axis=1, keepdims=True, initial=1e-9) * loudest
        case "offset":
            # a half type cannot hold more of both
            filled = normal + rng.choice([-1.0, 1.0], (count, 1)) * min(4096.0, 0.05 / format.unit)
        case "quiet":
            filled = normal / 64.0
        case "slanted":
            filled = normal + np.linspace(-4.0, 4.0, width)
    return filled


WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257)
OTHER_AXES = ((1,), (3,), (31,), (128,), (1, 37), (5, 29), (16, 16), (67, 2), (1, 1, 61), (4, 5, 7), (8, 8, 8))
EPSILONS = (1e-5, 1e-6, 1e-3, 0.25)
TRAPS = (
    NormCase((31, 7, 5), seed=1),
    NormCase((13, 17), seed=2, eps=1e-6),
    NormCase((8, 8, 8), seed=3),  # every size the same
    NormCase((67, 65), seed=4, eps=1e-3),
    NormCase((4, 5, 7, 33), seed=5),
    NormCase((9, 1), seed=6),  # a row of one number has no spread
    NormCase((24, 257), seed=7, eps=0.25),
    NormCase((1, 1, 2), "normal", seed=8),
    NormCase((13, 16), "faint", seed=9, eps=1e-12),  # rows so faint that even this ε decides
)


WITHOUT_EPSILON = NormCase((13, 17), "quiet", seed=10, eps=0.0)  # rows that vary need none


def cases(*more: NormCase, **fixed: Any) -> Cases:
    """The traps and drawn cases, with some fields fixed; and more traps as they are."""

    def settle(case: NormCase, claims: Claims) -> NormCase:
        return replace(case, **{"shifted": claims.dialect["kind"] in SHIFTED, **fixed})

    def always(claims: Claims) -> Iterable[NormCase]:
        return (settle(case, claims) for case in (*TRAPS, *more))

    def strategy(claims: Claims) -> SearchStrategy[NormCase]:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> NormCase:
            others = draw(st.sampled_from(OTHER_AXES))
            width = draw(st.sampled_from(WIDTHS + others))
            fill, eps = draw(st.sampled_from(("mixed", "mixed", *FILLS))), draw(st.sampled_from(EPSILONS))
            return settle(NormCase((*others, width), fill, eps, seed=draw(st.integers(0, 2**32 - 1))), claims)

        return build()

    return Cases(always, strategy)


EVERY_WIDTH = (*range(1, 131), 255, 256, 257, 511, 512, 513, 1023, 1024, 1025)
VERY_WIDE = (2047, 2048, 2049, 4097, 8193)
WIDER_STILL = (12_288, 16_385)
MANY_WIDE_ROWS = ((33, 513), (65, 769), (130, 1030), (257, 513))
MANY_ROWS = ((255, 3), (256, 3), (257, 3), (1025, 5), (4099, 2), (65_537, 2))
UNUSUAL = ((5,), (33,), (2, 3, 2, 5, 7), (2, 1, 3, 2, 3, 4))  # one axis, and more than any layer has


def every_width(fill: str = "mixed") -> Cases:
    """One case of every width and number of rows about which a kernel may have ideas, and of every number of axes."""
    shapes = [*((16, width) for width in EVERY_WIDTH), *((3, width) for width in VERY_WIDE)]
    filled = [(shape, fill) for shape in (*shapes, *MANY_WIDE_ROWS, *MANY_ROWS, *UNUSUAL)]
    # where rounding may be as large as what a part of a normal row lacks, the part must lack more
    filled += [((2, width), "slanted") for width in WIDER_STILL]

    def swept(claims: Claims) -> Iterable[NormCase]:
        shifted = claims.dialect["kind"] in SHIFTED
        return (NormCase(shape, kind, shifted=shifted, seed=sum(shape)) for shape, kind in filled)

    return Cases(swept, cases(fill=fill).strategy)


def many_rows(fill: str) -> Cases:
    """One case of every number of rows about which a kernel may have ideas."""

    def swept(claims: Claims) -> Iterable[NormCase]:
        shifted = claims.dialect["kind"] in SHIFTED
        return (NormCase(shape, fill, shifted=shifted, seed=sum(shape)) for shape in MANY_ROWS)

    return Cases(swept, cases(fill=fill).strategy)


def some_rows(x: Inputs, purpose: str) -> Array:
    """About half of the rows, as a mask that broadcasts to x."""
    return x.rng(purpose).random((*x.x.shape[:-1], 1)) < 0.5


def bare(x: Inputs) -> Inputs:
    """The same rows with a gain of 1 and a shift of 0."""
    return x.but(gain=np.ones_like(x.gain), shift=np.zeros_like(x.shift))


def evaluated(x: Inputs, dialect: Mapping[str, str]) -> reference.Norm:
    """What the definition makes of these inputs, step by step."""
    wide = x.format.wide
    kind = "layer" if dialect["kind"] == "layer" else "rms"
    return reference.evaluate(x.x.astype(wide), x.gain.astype(wide), x.shift.astype(wide), x.eps, kind=kind)


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    done = evaluated(x, dialect)
    return done.y, reference.bound(done, x.format)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    done, direction = evaluated(x, dialect), cotangent.astype(x.format.wide)
    value, error = reference.gradients(done, direction), reference.gradient_bound(done, direction, x.format)
    return {name: (value[name], error[name]) for name in value}


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if (x.gain != 1).any():
        yield x.but(gain=np.ones_like(x.gain))
    if x.shift.any():
        yield x.but(shift=np.zeros_like(x.shift))


def _valid(x: Inputs) -> bool:
    """Weights for every channel, and where there is no ε, rows that vary."""
    fits = x.x.shape[-1] > 0 and x.gain.shape == x.shift.shape == x.x.shape[-1:]
    return fits and (x.eps > 0 or bool(np.ptp(x.x, axis=-1).all()))


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """NaN or infinity in one place of about half of the rows, all of which depends on it; NaN in the gain or shift.

    Without a mean, an infinity leaves zeros around itself, and ∞/∞ where it was.
    """
    rows = some_rows(x, "rows with NaN")
    place = np.zeros(x.x.shape, dtype=bool)
    where = x.rng("place of NaN").integers(0, x.x.shape[-1], rows.shape)
    np.put_along_axis(place, where, True, axis=-1)
    yield x.but(x=np.where(place & rows, np.nan, x.x)), rows
    yield x.but(x=np.where(place & rows, np.inf, x.x)), rows if dialect["kind"] == "layer" else place & rows
    channel = np.arange(x.x.shape[-1]) == int(x.rng("channel with NaN").integers(x.x.shape[-1]))
    yield x.but(gain=np.where(channel, np.nan, x.gain)), channel
    if dialect["kind"] in SHIFTED:
        yield x.but(shift=np.where(channel, np.nan, x.shift)), channel


def _malformed(x: Inputs) -> Iterator[Inputs]:
    if x.x.shape[-1] > 1:  # a single one would be broadcast
        yield x.spelled(gain="X").but(gain=np.append(x.gain, 1.0))


norm = Subject(
    name="norm",
    signature="norm(x, gain, shift, eps) -> Tensor",
    capabilities={"gradient": "can be differentiated"},
    dialects={"kind": ("layer", "rms", "rms_shifted"), "sums": ("own", "wide")},
    arrange=lambda t, o: ((t["x"], t["gain"], t["shift"], o["eps"]), {}),
    shape=lambda x: x.x.shape,
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("x", "gain", "shift"),
    simpler=_simpler,
    slack=lambda x, bound: np.broadcast_to(bound.max(axis=-1, keepdims=True, initial=0.0), bound.shape),
    valid=_valid,
    free_axes=lambda claims: "ABC",
    with_nan=_with_nan,
    malformed=_malformed,
)
