"""The laws of embeddings. `embed` is the implementation and `x` a case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, GRADIENTS, STRUCTURE, VALUES, law
from seqlaws.reference import embedding as reference
from seqlaws.spec.embedding import cases, embedding, every_size, frequent, large_tables
from seqlaws.verdict import HOLDS, Output, Verdict, broken, every, identical, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


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
    """A table times a power of 2 gives vectors times that power, far up and far down.

    embed(ids, a·table) = a·embed(ids, table), bit by bit, for a = 2^k two thirds of the way to an end of the format

    Why: a lookup does not look at the numbers. A limit on the norm of the vectors, a normalisation, and
    a format of a shorter range on the way do.
    """
    tables = np.rint(16 * x.table) / 16  # so that nothing is rounded in any format
    plain = embed(x.but(table=tables)).value
    # two thirds of the way, so that no multiple or sum of them passes the end
    far = 2.0 ** (2 * np.log2(x.format.largest) // 3)
    return every(*(identical(embed(x.but(table=a * tables)), a * plain) for a in (far, 1 / far)))


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
    """Vectors of any width come back whole, at any number of places along any number of axes.

    embed(ids, table) = table[ids] for D = 31 … 4097, 31 … 66001 places, and ids of 0 to 4 axes

    Why: a row is copied in blocks of channels, and places are shared out among blocks of threads. What
    is left at the end of either is left as memory was. Choices and beams give ids more axes, one token none.
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

    ∂⟨y, g⟩/∂table_v = Σ_{p: ids_p = v} g_p for D = 31 … 4097, 31 … 66001 places, V = 66001, and an id at 2000 places

    Why: the way back sorts, counts and adds where the way there only reads. Its counters are shorter than
    the ids, and its sums are split between blocks that must not write over each other.
    """
    return within(_gradient(embed, x))


@law(
    embedding,
    GRADIENTS,
    needs=("gradient",),
    when={"sums": ("wide",)},
    cases=frequent(),
    after=("trains_only_what_it_looked_up", "sums_the_gradient_of_repeated_ids"),
    examples=0.1,
)
def sums_a_frequent_id_in_a_wider_type(embed: Run, x: Inputs) -> Verdict:
    """Where sums are declared wide, the gradient of an id is rounded to a half type once, however often it occurs.

    |∂⟨y, g⟩/∂table_v − Σ_{p: ids_p = v} g_p| ≤ the error of a sum in float32, and of one rounding, for g ≥ 0

    Why: in bfloat16 a sum that has come to 256 does not grow by ones any more. A batch holds the most frequent
    tokens thousands of times, and these are the ones that learn too little.
    """
    cotangent = np.abs(x.noise("gradient of the output", (*x.ids.shape, x.table.shape[1])))
    found = embed.gradient(x, cotangent, ("table",))["table"]
    allowed = reference.table_gradient_bound(x.ids, x.table, x.format.round(cotangent), x.format, wide=True)
    return within(Output(found.value, lambda: (found.reference, allowed, allowed)))


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
    return _refuses(embed, x, (len(x.table), len(x.table) + 100, 2**32))  # the last one is 0 in 32 bits


@law(embedding, EDGES, needs=("refusal",), when={"negative_ids": ("refused",)}, cases=cases(pattern="random"))
def refuses_negative_ids(embed: Run, x: Inputs) -> Verdict:
    """Where negative ids are declared as refused, they are refused with an exception.

    ids_p < 0  ⇒  an exception, never a vector

    Why: a negative id is a label that means "ignore me". Indexing counts it from the end, as Python
    does, and a row that nobody asked for goes into the model; programs that allow it declare nothing.
    """
    if not x.ids.size or not embed.survives_bad_indices:
        return vacuous()
    return _refuses(embed, x, (-1, -100, -len(x.table) - 1))


def _refuses(embed: Run, x: Inputs, wrong_ids: tuple[int, ...]) -> Verdict:
    for wrong in wrong_ids:
        ids = x.ids.copy()
        ids.reshape(-1)[int(x.rng("wrong place").integers(ids.size))] = wrong
        for how, mode in (("", ""), (", under no_grad", "no_grad")):
            if not embed.refuses(x.but(ids=ids), mode=mode):
                return broken(f"accepted the id {wrong} for a table of {len(x.table)} rows{how}")
    return HOLDS


def _gradient(embed: Run, x: Inputs) -> Any:
    # a third of the way to an end of the format, so that no sum of thousands passes it
    far = 2.0 ** (np.log2(x.format.largest) // 3)
    scale = (1.0, far, 1 / far)[x.seed % 3]
    cotangent = x.noise("gradient of the output", (*x.ids.shape, x.table.shape[1]), scale)
    return embed.gradient(x, cotangent, ("table",))["table"]
