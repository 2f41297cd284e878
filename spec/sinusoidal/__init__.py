"""Sinusoidal position encoding: the subject, and the cases that its laws draw.

Every position has a code of sines and cosines, from fast pairs to slow ones (Vaswani et al. 2017).

Axes: B batch, T time. Positions are integers, [T] or [B,T], in any order; fractional and negative
ones are claimed by name. The dtype of the codes is the implementation's own choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.reference import sinusoidal as reference
from seqlaws.spec.positions import FAR, PLACES, places
from seqlaws.subject import Cases, Claims, Subject
from seqlaws.verdict import Output

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from seqlaws.run import Run

VERY_FAR = (*FAR, 524_287, 999_983, 1_000_000)


@dataclass(frozen=True)
class SinusoidalCase:
    """How many positions (in how many rows, or in none), the width, and where the positions are.

    ``places`` is one of PLACES, or "far".
    """

    rows: int | None
    length: int
    width: int
    places: str = "near"
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every position is a sub-case."""
        rng = np.random.default_rng(self.seed)
        rows = [places(self.places, rng, self.length, VERY_FAR) for _ in range(self.rows or 1)]
        positions = np.array(rows, dtype=np.int64)
        return Inputs(
            "sinusoidal", format,
            {"positions": positions[0] if self.rows is None else positions}, {"d_model": self.width},
            {"positions": "T" if self.rows is None else "BT"}, self.seed, max(1, positions.size),
        )  # fmt: skip


TRAPS = (
    SinusoidalCase(None, 7, 8, seed=1),
    SinusoidalCase(3, 5, 10, "offset", seed=2),
    SinusoidalCase(None, 1, 2, "offset", seed=3),
    SinusoidalCase(4, 4, 4, seed=4),  # every size the same
    SinusoidalCase(None, 19, 64, "arange", seed=5),
    SinusoidalCase(2, 13, 6, "descending", seed=6),
    SinusoidalCase(None, 3, 512, seed=7),
)
SIZES = tuple(
    (rows, length, width)
    for rows in (None, None, 1, 2, 3, 5)
    for length in (1, 2, 3, 5, 8, 13, 37, 131)
    for width in (2, 4, 6, 8, 10, 14, 16, 30, 64, 128, 510)
    if (rows or 1) * length * width <= 4000
)


def cases(most: int | None = None, **fixed: Any) -> Cases:
    """The traps and drawn cases, with some fields fixed and widths of at most ``most``."""

    def fitted(case: SinusoidalCase, claims: Claims) -> SinusoidalCase:
        case = replace(case, **fixed)
        rows = case.rows if "batched" in claims.can else None
        return replace(case, rows=rows, width=case.width if most is None else min(case.width, most))

    def always(claims: Claims) -> Iterable[SinusoidalCase]:
        return (fitted(case, claims) for case in TRAPS)

    def strategy(claims: Claims) -> SearchStrategy[SinusoidalCase]:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> SinusoidalCase:
            rows, length, width = draw(st.sampled_from(SIZES))
            kind, seed = draw(st.sampled_from(PLACES)), draw(st.integers(0, 2**32 - 1))
            return fitted(SinusoidalCase(rows, length, width, kind, seed), claims)

        return build()

    return Cases(always, strategy)


def every_size() -> Cases:
    """One case of every number of positions and every width about which a program may have ideas."""
    borders = (31, 32, 33, 64, 65, 127, 128, 129, 255, 256, 257, 513, 1025, 2049, 4097, 5001)
    lengths = [SinusoidalCase(None, length, 4, "arange", length) for length in borders]
    very_long = [SinusoidalCase(None, length, 2, "arange", length) for length in (8193, 16_385)]
    widths = [SinusoidalCase(None, 3, width, "offset", width) for width in (*range(2, 66, 2), 100, 126, 128, 130)]
    very_wide = (256, 300, 384, 510, 512, 514, 768, 1024, 1026, 2050, 4098)
    wide = [SinusoidalCase(None, 2, width, "near", width) for width in very_wide]
    rows = [SinusoidalCase(count, 2, 4, "offset", count) for count in (7, 8, 9, 16, 17, 33, 65, 129)]
    both = [SinusoidalCase(3, 257, 6, "near", 1), SinusoidalCase(33, 33, 34, "offset", 2)]

    def swept(claims: Claims) -> list[SinusoidalCase]:
        return [*lengths, *very_long, *widths, *wide, *(rows + both if "batched" in claims.can else ())]

    return Cases(swept, cases().strategy)


def odd_widths() -> Cases:
    """Some odd widths, and others that are drawn."""
    some = [SinusoidalCase(None, 5, width, "near", width) for width in (3, 5, 7, 33, 65, 127, 513)]
    return Cases(
        lambda claims: some,
        lambda claims: cases(most=64).strategy(claims).map(lambda case: replace(case, width=case.width + 1)),
    )


def waves(f: Run, x: Inputs, codes: Output) -> tuple[Output, Output]:
    """The sines and the cosines of codes, [..., d/2] each."""
    sines, cosines = reference.channels(x.d_model, f.dialect["layout"])
    return codes[..., sines], codes[..., cosines]


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    positions = x.positions.astype(x.format.wide)
    value = reference.sinusoidal(positions, x.d_model, dialect["layout"])
    return value, reference.bound(positions, x.d_model, dialect["layout"], dialect["precision"], x.format)


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if x.d_model > 2:
        yield x.but(d_model=2)
        yield x.but(d_model=x.d_model - 2)
    if x.positions.any():
        yield x.but(positions=x.positions // 2)


def _others(x: Inputs) -> Iterator[Inputs]:
    """Other positions, as many twice, and another width."""
    yield x.but(positions=x.positions[..., ::-1].copy() + 3)
    yield x.but(positions=x.positions + 1)
    yield x.but(d_model=x.d_model + 2)


sinusoidal = Subject(
    name="sinusoidal",
    signature="sinusoidal(positions, d_model) -> [..., d_model]",
    capabilities={
        "batched": "takes positions [B,T]",
        "fractional": "takes positions between integers, in a floating dtype",
        "negative": "takes positions below 0",
    },
    dialects={
        # sines at even and cosines at odd channels, or all sines first; and whether single precision
        # is enough where the result is wider, as in many programs it is
        "layout": ("interleaved", "halves"),
        "precision": ("single", "full"),
    },
    arrange=lambda tensors, options: ((tensors["positions"], options["d_model"]), {}),
    shape=lambda x: (*x.positions.shape, x.d_model),
    exact=_exact,
    exact_gradient=lambda x, cotangent, dialect: {},
    cases=cases(),
    differentiable=(),
    simpler=_simpler,
    others=_others,
    takes="positions",
    valid=lambda x: x.d_model >= 2,
    # errors grow with the position: every one has its own
    slack=lambda x, bound: np.broadcast_to(bound.max(axis=-1, keepdims=True), bound.shape),
    free_axes=lambda claims: ("B", "T") if "batched" in claims.can else ("T",),
)
