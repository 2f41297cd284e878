"""Embedding: the subject, its cases and its laws.

y_p = table[ids_p]: every place of ids, which has any shape, gets the row of the table [V,D] that its id
names. In the dialect padding="first", row 0 stands for padding: it is looked up like any other, and
is never trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, GRADIENTS, STRUCTURE, VALUES, law
from seqlaws.reference import embedding as reference
from seqlaws.subject import Cases, Claims, Subject
from seqlaws.verdict import HOLDS, Verdict, broken, every, identical, vacuous, within

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from seqlaws.run import Run

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
        axes = {"ids": "BST"[-len(self.shape) :], "table": "VD"}
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


def every_size() -> Cases:
    """One case of every width and every number of places about which a program may have ideas, and large tables."""
    borders = (31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025)
    widths = [EmbeddingCase((5,), 7, width, seed=width) for width in (*borders, 2049, 4097)]
    places = [EmbeddingCase((count,), 11, 2, seed=count) for count in (*borders, 4097)]
    both = [EmbeddingCase((3, 101), 66_001, 2, seed=1), EmbeddingCase((9, 33), 5, 129, "few", seed=2)]
    return Cases(lambda claims: [*widths, *places, *both], cases().strategy)


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
    dialects={"padding": ("none", "first"), "negative_ids": ("any", "refused")},
    arrange=lambda tensors, options: ((tensors["ids"], tensors["table"]), {}),
    shape=lambda x: (*x.ids.shape, x.table.shape[1]),
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("table",),
    simpler=lambda x: (),
    valid=lambda x: x.table.size > 0 and bool(((x.ids >= 0) & (x.ids < len(x.table))).all()),
    free_axes=lambda claims: "BST",
    with_nan=_with_nan,
    # what is no integer names no row
    malformed=lambda x: (x.but(ids=x.ids + 0.5),),
)


@law(embedding, STRUCTURE)
def equal_ids_give_equal_vectors(embed: Run, x: Inputs) -> Verdict:
    """Wherever an id stands, it gets the same vector.

    ids_p = ids_q  ⇒  y_p = y_q, bit by bit

    Why: a word means itself. What else is to depend on the place, a position or a segment, is added
    by layers that say so.
    """
    ids = x.ids.reshape(-1)
    if not ids.size:
        return vacuous()
    vectors = embed(x).value.reshape(ids.size, -1)
    _, first, which = np.unique(ids, return_index=True, return_inverse=True)
    return identical(vectors, vectors[first][which.reshape(-1)])


@law(embedding, STRUCTURE, after=("equal_ids_give_equal_vectors",))
def places_do_not_mix(embed: Run, x: Inputs) -> Verdict:
    """What a place gets does not depend on which other ids there are.

    embed(ids)_p = embed(ids_p), bit by bit, and whatever the others are replaced by

    Why: counts, sorted copies and sets of ids that are made for speed belong to the whole batch; if
    one of them reaches the result, a sentence changes with its neighbours.
    """
    if not x.ids.size:
        return vacuous()
    whole = embed(x)
    kept = x.rng("places that are kept").random(x.ids.shape) < 0.5
    others = x.rng("other ids").integers(0, len(x.table), x.ids.shape)
    changed = embed(x.but(ids=np.where(kept, x.ids, others)))
    verdicts = [identical(np.where(kept[..., None], whole.value, 0.0), np.where(kept[..., None], changed.value, 0.0))]
    for axis, letter in enumerate(x.axes["ids"]):
        chosen = [int(x.rng("place " + letter).integers(x.size(letter)))]
        verdicts.append(identical(embed(x.take(letter, chosen)), whole.take(chosen, axis)))
    return every(*verdicts)


@law(embedding, STRUCTURE, after=("places_do_not_mix",))
def ids_are_only_names(embed: Run, x: Inputs) -> Verdict:
    """Giving the rows of the table other numbers, and the ids with them, changes nothing.

    embed(π(ids), table with row v moved to π(v)) = embed(ids, table), bit by bit

    Why: no id is special unless it is declared to be. A row 0 that is taken for padding, an id that
    is taken for "unknown", and a count from 1 break this.
    """
    order = x.permutation("V")
    place = np.argsort(order)
    return identical(embed(x.but(ids=place[x.ids], table=x.table[order])), embed(x))


@law(embedding, STRUCTURE, after=("places_do_not_mix",))
def follows_the_scale_of_its_table(embed: Run, x: Inputs) -> Verdict:
    """A table times 1024, or an eighth, gives vectors times 1024, or an eighth.

    embed(ids, a·table) = a·embed(ids, table), bit by bit for powers of 2

    Why: a lookup does not look at the numbers. A limit on the norm of the vectors, or a normalisation,
    does.
    """
    tables = np.rint(16 * x.table) / 16  # so that nothing is rounded in any format
    plain = embed(x.but(table=tables)).value
    return every(*(identical(embed(x.but(table=a * tables)).value, a * plain) for a in (1024.0, 0.125)))


@law(embedding, VALUES)
def equals_a_product_with_one_hot_rows(embed: Run, x: Inputs) -> Verdict:
    """The result is the table, multiplied from the left by rows with a single 1.

    embed(ids, table) = onehot(ids) @ table, bit by bit

    Why: it is what an embedding means: a linear layer on a choice. There is nothing to round, so there
    is nothing to allow.
    """
    return within(embed(x))


@law(embedding, VALUES, cases=large_tables(), after=("equals_a_product_with_one_hot_rows",), examples=0.1)
def finds_every_row_of_a_large_table(embed: Run, x: Inputs) -> Verdict:
    """Ids beyond 2^8, 2^11, 2^15 and 2^16 find their own rows.

    embed(ids, table) = table[ids] for V = 300, 2500, 33001, 66001

    Why: vocabularies are larger than short integers and than what half types can count; ids that pass
    through one of them collide, and rare words turn into their neighbours.
    """
    return within(embed(x))


@law(
    embedding,
    VALUES,
    cases=every_size(),
    after=("equals_a_product_with_one_hot_rows", "finds_every_row_of_a_large_table"),
    examples=0.1,
)
def finds_whole_rows_at_every_size(embed: Run, x: Inputs) -> Verdict:
    """Vectors of any width come back whole, at any number of places.

    embed(ids, table) = table[ids] for D = 31 … 4097 and 31 … 4097 places

    Why: a row is copied in blocks of channels, and places are shared out among blocks of threads. What
    is left at the end of either is left as memory was.
    """
    return within(embed(x))


@law(embedding, GRADIENTS, needs=("gradient",))
def trains_only_what_it_looked_up(embed: Run, x: Inputs) -> Verdict:
    """A row that no id names gets a gradient of exactly 0.

    v ∉ ids  ⇒  ∂⟨y, g⟩/∂table_v = 0

    Why: a step of training must leave words alone that were not read. Gradient for all rows also makes
    every step as expensive as the whole vocabulary.
    """
    unused = ~np.isin(np.arange(len(x.table)), x.ids)
    if not unused.any():
        return vacuous()
    found = _gradient(embed, x).value[unused]
    return identical(found, np.zeros(found.shape))


@law(embedding, GRADIENTS, needs=("gradient",), after=("trains_only_what_it_looked_up",))
def sums_the_gradient_of_repeated_ids(embed: Run, x: Inputs) -> Verdict:
    """The gradient of a row is the sum of what comes back to all the places that hold its id.

    ∂⟨y, g⟩/∂table_v = Σ_{p: ids_p = v} g_p

    Why: frequent words stand at many places at once. If the last one wins instead of being added, or
    the sum is divided by the count, they learn too little.
    """
    found, used = _gradient(embed, x), np.arange(len(x.table)) > (0 if embed.dialect["padding"] == "first" else -1)
    return within(found.where(used) if used.all() else found[used])


@law(
    embedding,
    GRADIENTS,
    needs=("gradient",),
    cases=every_size(),
    after=("trains_only_what_it_looked_up", "sums_the_gradient_of_repeated_ids"),
    examples=0.1,
)
def sums_its_gradient_at_every_size(embed: Run, x: Inputs) -> Verdict:
    """The gradient of the table is whole for vectors of any width, any number of places and large tables.

    ∂⟨y, g⟩/∂table_v = Σ_{p: ids_p = v} g_p for D and places = 31 … 4097, and V = 66 001

    Why: the way back sorts, counts and adds where the way there only reads. Its counters are shorter than
    the ids, and its sums are split between blocks that must not write over each other.
    """
    return within(_gradient(embed, x))


@law(embedding, GRADIENTS, needs=("gradient",), when={"padding": ("first",)})
def never_trains_the_padding_row(embed: Run, x: Inputs) -> Verdict:
    """Where row 0 is declared as padding, it gets a gradient of exactly 0, however often it is read.

    ∂⟨y, g⟩/∂table_0 = 0

    Why: padding is everywhere. A padding vector that learns becomes a feature of the length of a batch.
    """
    found = _gradient(embed, x.but(ids=np.where(x.rng("padding").random(x.ids.shape) < 0.5, 0, x.ids))).value[:1]
    return identical(found, np.zeros(found.shape))


@law(embedding, EDGES, needs=("refusal",), cases=cases(pattern="random"))
def refuses_ids_beyond_the_table(embed: Run, x: Inputs) -> Verdict:
    """An id that is not below the number of rows is refused with an exception.

    ids_p ≥ V  ⇒  an exception, never a vector

    Why: such an id comes from another tokenizer. One that is cut down to the last row, or wraps around,
    hides that for ever.
    """
    if not x.ids.size or not embed.survives_bad_indices:
        return vacuous()
    return _refuses(embed, x, (len(x.table), len(x.table) + 100))


@law(embedding, EDGES, needs=("refusal",), when={"negative_ids": ("refused",)}, cases=cases(pattern="random"))
def refuses_negative_ids(embed: Run, x: Inputs) -> Verdict:
    """Where negative ids are declared as refused, they are refused with an exception.

    ids_p < 0  ⇒  an exception, never a vector

    Why: a negative id is a label that means "ignore me". Indexing counts it from the end, as Python
    does, and a row that nobody asked for goes into the model; programs that allow it declare nothing.
    """
    if not x.ids.size or not embed.survives_bad_indices:
        return vacuous()
    return _refuses(embed, x, (-1, -len(x.table) - 1))


def _refuses(embed: Run, x: Inputs, wrong_ids: tuple[int, ...]) -> Verdict:
    for wrong in wrong_ids:
        ids = x.ids.copy()
        ids.reshape(-1)[int(x.rng("wrong place").integers(ids.size))] = wrong
        if not embed.refuses(x.but(ids=ids)):
            return broken(f"accepted the id {wrong} for a table of {len(x.table)} rows")
    return HOLDS


def _gradient(embed: Run, x: Inputs) -> Any:
    cotangent = x.noise("gradient of the output", (*x.ids.shape, x.table.shape[1]))
    return embed.gradient(x, cotangent, ("table",))["table"]
