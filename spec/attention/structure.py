"""Attention's symmetries: sets of keys, independent queries, heads and batch entries, linearity in the values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, STRUCTURE, law
from seqlaws.spec.attention import BASICS, GROUPS, alive, attention, cases
from seqlaws.verdict import Verdict, consistent, every, identical, joined, vacuous

ACAUSAL = cases(causal=False, fill="moderate")
PAIRS = tuple(pair for pair in GROUPS if pair[0] != pair[1])


@law(attention, STRUCTURE, cases=cases(fill="moderate"))
def batch_entries_do_not_mix(attend: Any, x: Inputs) -> Verdict:
    """A batch of n is n batches of one: what else is in the batch changes nothing.

    attend(x)_b = attend(x_b)

    Why: a request must not depend on its neighbours; caches, maxima and masks taken over the wrong
    axis, or for row 0 alone, mix them.
    """
    if x.size("B") < 2:
        return vacuous()
    out = attend(x)
    rows = {0, x.size("B") - 1, int(x.rng("row").integers(x.size("B")))}
    order = x.permutation("B")
    alone = [consistent(attend(x.take("B", [row])), out[row : row + 1]) for row in sorted(rows)]
    return every(*alone, consistent(attend(x.take("B", order)), out[order]))


@law(attention, EDGES, cases=cases(fill="normal"))
def nan_stays_in_its_batch_entry(attend: Any, x: Inputs) -> Verdict:
    """NaN in one batch entry does not reach another, not by a single bit.

    x_a is NaN  ⇒  o_b unchanged for b ≠ a

    Why: one bad request must not spoil the others that happen to share its batch.
    """
    if x.size("B") < 2:
        return vacuous()
    bad = int(x.rng("bad row").integers(x.size("B")))
    good = np.arange(x.size("B")) != bad
    spoilt = {name: np.where(good.reshape(-1, 1, 1, 1), getattr(x, name), np.nan) for name in ("q", "k", "v")}
    return identical(attend(x.but(**spoilt)).where(good), attend(x).where(good))


@law(attention, STRUCTURE, cases=cases(mask=("none", "bool"), kv_heads="heads"), after=("batch_entries_do_not_mix",))
def heads_do_not_mix(attend: Any, x: Inputs) -> Verdict:
    """The output of a head depends on that head's queries, keys and values alone.

    ∂o_h/∂(q, k, v)_g = 0 for g ≠ h

    Why: heads are laid side by side in memory; a wrong stride, view or block reads a neighbour.
    """
    if x.size("H") < 2:
        return vacuous()
    head = int(x.rng("head").integers(x.size("H")))
    others = np.arange(x.size("H")) != head
    changed = {name: getattr(x, name).copy() for name in ("q", "k", "v")}
    for name, array in changed.items():
        array[:, head] = x.noise("other " + name, array[:, head].shape)
    return identical(attend(x.but(**changed)).value[:, others], attend(x).value[:, others])


@law(
    attention,
    STRUCTURE,
    cases=cases(heads=tuple(h for h, _ in PAIRS), kv_heads=tuple(g for _, g in PAIRS), fill="moderate"),
    needs=("grouped_query",),
    after=("heads_do_not_mix",),
)
def grouped_heads_equal_repeated_heads(attend: Any, x: Inputs) -> Verdict:
    """Fewer key/value heads give what the same heads written out for every query head give.

    query head h reads key/value head h // (H // Hkv)

    Why: repeat and tile give the same shape and another pairing; only (H, Hkv) with 1 < Hkv < H tell.
    """
    groups = x.size("H") // x.size("G")
    written_out = x.but(k=np.repeat(x.k, groups, axis=1), v=np.repeat(x.v, groups, axis=1))
    return consistent(attend(x), attend(written_out))


@law(attention, STRUCTURE, cases=ACAUSAL, after=(*BASICS, "a_hidden_key_is_a_removed_key"))
def keys_and_values_form_a_set(attend: Any, x: Inputs) -> Verdict:
    """Permuting keys, values and mask columns together changes nothing.

    attend(q, Πk, Πv, mask Πᵀ) = attend(q, k, v, mask)

    Why: attention without positions has no order; one that depends on it sums in the wrong place,
    drops a tail, or never rescales a running sum.
    """
    return consistent(attend(x.take("K", x.permutation("K"))), attend(x))


@law(attention, STRUCTURE, cases=ACAUSAL, after=BASICS)
def queries_are_independent(attend: Any, x: Inputs) -> Verdict:
    """Permuting queries and mask rows permutes the outputs; a query asked alone gets the same answer.

    attend(Πq, k, v, Π mask) = Π attend(q, k, v, mask)

    Why: normalising over queries instead of keys is the classic mistake, and it trains.
    """
    out, order = attend(x), x.permutation("Q")
    permuted = consistent(attend(x.take("Q", order)), out.take(order, 2))
    if not attend.can("cross_length"):
        return permuted
    one = int(x.rng("query").integers(x.size("Q")))
    return every(permuted, consistent(attend(x.take("Q", [one])), out[:, :, one : one + 1]))


@law(attention, STRUCTURE, cases=ACAUSAL, needs=("cross_length",), after=("queries_are_independent",))
def chunks_of_queries_equal_one_call(attend: Any, x: Inputs) -> Verdict:
    """Asking in chunks of queries gives what asking at once gives.

    attend(q_A ∪ q_B) = attend(q_A) ∪ attend(q_B)

    Why: kernels work in tiles of queries; the last tile, and the one after 64, are where they err.
    """
    size = x.size("Q")
    cuts = sorted({0, size, *x.rng("cuts").integers(0, size + 1, 2).tolist()})
    parts = [attend(x.take("Q", np.arange(start, stop))) for start, stop in pairwise(cuts)]
    return consistent(joined(parts, axis=2), attend(x))


@law(attention, STRUCTURE, cases=cases(fill=("grid", "normal")), after=("constant_values_come_back",))
def affine_maps_of_the_values_commute(attend: Any, x: Inputs) -> Verdict:
    """The output is linear in the values, and a constant added to them comes back.

    attend(q, k, v M + 1 tᵀ) = attend(q, k, v) M + 1 tᵀ

    Why: the weights must depend on queries and keys alone and sum to 1.
    """
    if (~np.isfinite(attend(x).reference)).any() or not _no_empty_rows(attend, x):
        return vacuous()
    width = x.size("V")
    matrix = x.rng("matrix").integers(-1, 2, (width, width)) * 1.0
    offset = x.grid("offset", (width,))
    mapped = x.but(v=x.v @ matrix + offset)
    if not np.array_equal(mapped.v, x.v @ matrix + offset):
        return vacuous()
    return consistent(attend(mapped), attend(x).apply(matrix, offset))


def _no_empty_rows(attend: Any, x: Inputs) -> bool:
    return bool(alive(x, attend.dialect).all())


@law(attention, STRUCTURE, cases=cases(fill="grid"), after=("constant_values_come_back",))
def one_vector_added_to_all_keys_changes_nothing(attend: Any, x: Inputs) -> Verdict:
    """Adding the same vector to every key changes nothing.

    ⟨q_i, k_j + c⟩ = ⟨q_i, k_j⟩ + ⟨q_i, c⟩: a constant in the row, which softmax forgets

    Why: it is why a bias on the keys is useless; keys that are normalised or compared by distance break it.
    """
    shift = x.grid("shift", (x.size("B"), x.size("G"), 1, x.size("D")))
    return consistent(attend(x.but(k=x.k + shift)), attend(x))


@law(attention, STRUCTURE, cases=ACAUSAL, needs=("cross_length",), after=("constant_values_come_back",))
def duplicating_all_keys_changes_nothing(attend: Any, x: Inputs) -> Verdict:
    """Every key and value twice, with its mask, gives the same output.

    attend(q, [k; k], [v; v]) = attend(q, k, v)

    Why: weights are relative; anything added to the denominator, and any limit on the number of keys, shows.
    """
    return consistent(attend(x.join("K", x)), attend(x))


@law(
    attention,
    STRUCTURE,
    cases=cases(scale=(0.5, 1.0), fill="moderate"),
    needs=("scale",),
    after=("constant_values_come_back",),
)
def scaling_queries_undoes_scaling_the_scale(attend: Any, x: Inputs) -> Verdict:
    """Queries divided by 4 and the scale times 4 give the same output.

    (c·scale)·⟨q/c, k⟩ = scale·⟨q, k⟩

    Why: a scale that is ignored, applied twice or applied to a copy shows, whatever its default is.
    """
    return consistent(attend(x.but(q=x.q * 0.25, scale=x.scale * 4.0)), attend(x))
