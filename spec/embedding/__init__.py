"""Embedding: the subject, and the cases that its laws draw.

y_p = table[ids_p]: every place of ids, which has any shape, gets the row of the table [V,D] that its id
names. In the dialect padding="first", row 0 stands for padding: it is looked up like any other, and
is never trained. sums="wide" says that the gradients of an id in a half type are summed in a wider one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.reference import embedding as reference
from seqlaws.subject import Cases, Claims, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

PATTERNS = ("random", "few", "all", "rising")


@dataclass(frozen=True)
class EmbeddingCase:
    """The shape of the ids, the size of the table, and which ids there are.

    ``pattern`` is one of PATTERNS: any ids, only a few different ones, every id at least once as far
    as there is room, or ids in their order.
    """

    shape: tuple[int, ...]
    rows: int
    width: int
    pattern: str = "random"
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every place is a sub-case."""
        rng = np.random.default_rng(self.seed)
        count = math.prod(self.shape)
        match self.pattern:
            case "few":
                ids = rng.choice(rng.integers(0, self.rows, 3), count)
            case "all":
                ids = rng.permutation(np.arange(count) % self.rows)
            case "rising":
                ids = np.arange(count) % self.rows
            case _:
                ids = rng.integers(0, self.rows, count)
        if count > 1:  # the borders of the table, where mistakes by one show
            ids[rng.permutation(count)[:2]] = 0, self.rows - 1
        arrays = {"ids": ids.reshape(self.shape), "table": 2.0 * rng.standard_normal((self.rows, self.width))}
        axes = {"ids": "NBST"[4 - len(self.shape) :], "table": "VD"}
        return Inputs("embedding", format, arrays, {}, axes, self.seed, max(1, count))


TRAPS = (
    EmbeddingCase((5, 31), 13, 7, seed=1),
    EmbeddingCase((3, 29), 37, 5, "few", seed=2),
    EmbeddingCase((4, 4), 4, 4, "all", seed=3),  # every size the same
    EmbeddingCase((17,), 257, 3, "rising", seed=4),
    EmbeddingCase((2, 3, 11), 19, 33, "all", seed=5),
    EmbeddingCase((1, 1), 1, 1, seed=6),
    EmbeddingCase((2, 67), 1031, 6, seed=7),
)


def cases(**fixed: Any) -> Cases:
    """The traps and drawn cases, with some fields fixed."""

    def always(claims: Claims) -> Iterable[EmbeddingCase]:
        return (replace(case, **fixed) for case in TRAPS)

    def strategy(claims: Claims) -> SearchStrategy[EmbeddingCase]:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> EmbeddingCase:
            shape = draw(st.sampled_from(((1,), (9,), (128,), (1, 16), (3, 41), (8, 8), (33, 2), (2, 3, 5))))
            rows = draw(st.sampled_from((1, 2, 3, 7, 8, 16, 41, 64, 127, 256, 257, 513)))
            width = draw(st.sampled_from((1, 2, 3, 5, 8, 16, 33, 64)))
            pattern, seed = draw(st.sampled_from(PATTERNS)), draw(st.integers(0, 2**32 - 1))
            return replace(EmbeddingCase(shape, rows, width, pattern, seed), **fixed)

        return build()

    return Cases(always, strategy)


def large_tables() -> Cases:
    """Tables beyond what 8, 15 and 16 bits can count, and half types too."""
    sizes = (300, 2_500, 33_001, 66_001)
    tables = [EmbeddingCase((3, 101), rows, 2, seed=rows) for rows in sizes]
    return Cases(lambda claims: tables, cases().strategy)


def frequent() -> Cases:
    """Ids that stand at hundreds of places, and at thousands."""
    common = [EmbeddingCase((4097,), 2, 2, seed=3), EmbeddingCase((3, 301), 5, 3, "few", seed=4)]
    return Cases(lambda claims: common, cases(pattern="few").strategy)


def every_size() -> Cases:
    """One case of every width and every number of places about which a program may have ideas; and large tables,
    frequent ids, and ids without an axis and with many."""
    borders = (31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025)
    # 37 places: whole tiles of 4 to 32, and a rest
    widths = [EmbeddingCase((37,), 7, width, seed=width) for width in (*borders, 2049, 4097)]
    places = [EmbeddingCase((count,), 11, 2, seed=count) for count in (*borders, 4097, 66_001)]
    both = [EmbeddingCase((3, 101), 66_001, 2, seed=1), EmbeddingCase((9, 33), 5, 129, "few", seed=2)]
    both += [EmbeddingCase((1030,), 5, 129, seed=6)]
    frequent = [EmbeddingCase((4097,), 2, 2, seed=3)]
    axes = [EmbeddingCase((), 7, 3, seed=4), EmbeddingCase((2, 3, 5, 7), 7, 3, seed=5)]
    return Cases(lambda claims: [*widths, *places, *both, *frequent, *axes], cases().strategy)


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    value = reference.embed(x.ids, x.table.astype(x.format.wide))
    return value, np.zeros(value.shape)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    direction = cotangent.astype(x.format.wide)
    value = reference.table_gradient(x.ids, x.table, direction)
    error = reference.table_gradient_bound(x.ids, x.table, direction, x.format)
    if dialect["padding"] == "first":
        value[:1], error[:1] = 0.0, 0.0
    return {"table": (value, error)}


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """One row of the table is NaN: so is every place that holds its id."""
    chosen = x.ids.reshape(-1)[int(x.rng("row with NaN").integers(x.ids.size))] if x.ids.size else 0
    yield (
        x.but(table=np.where(np.arange(len(x.table))[:, None] == chosen, np.nan, x.table)),
        (x.ids == chosen)[..., None],
    )


embedding = Subject(
    name="embedding",
    signature="embed(ids, table) -> Tensor",
    capabilities={
        "refusal": "refuses ids outside of the table with an exception",
        "gradient": "can be differentiated",
    },
    dialects={"padding": ("none", "first"), "negative_ids": ("any", "refused"), "sums": ("own", "wide")},
    arrange=lambda tensors, options: ((tensors["ids"], tensors["table"]), {}),
    shape=lambda x: (*x.ids.shape, x.table.shape[1]),
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("table",),
    simpler=lambda x: (),
    valid=lambda x: x.table.size > 0 and bool(((x.ids >= 0) & (x.ids < len(x.table))).all()),
    free_axes=lambda claims: "NBST",
    with_nan=_with_nan,
)
