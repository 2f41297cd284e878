"""Attention's values: what the output is, and the convex combinations that it must be."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, VALUES, law
from seqlaws.spec.attention import alive, attention, besides, cases, visible
from seqlaws.spec.attention.drawing import AttentionCase
from seqlaws.verdict import Output, Verdict, between, consistent, equals, every, finite, vacuous, within

TILES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
BORDERS = (*range(1, 137), 255, 256, 257, 511, 512, 513)
MANY = tuple(tile + beside for tile in (160, 192, 320, 384, 768, 1024, 2048, 4096) for beside in (-1, 0, 1))


def _heads_of(x: Inputs, name: str) -> Array:
    return np.repeat(getattr(x, name), x.size("H") // x.size("G"), axis=1)


@law(
    attention,
    STRUCTURE,
    after=("keys_and_values_form_a_set", "queries_are_independent", "causality_and_a_mask_both_apply"),
)
def constant_values_come_back(attend: Any, x: Inputs) -> Verdict:
    """If every visible value is the same vector, the output is that vector.

    v_j = c for all j  ⇒  o_i = c      (Σ_j p_ij = 1)

    Why: the weights of a row sum to 1; a lost, doubled or smoothed denominator shows here in one number.
    """
    constant = np.broadcast_to(x.v[:, :, :1], x.v.shape).copy()
    x = x.but(v=constant)
    seen = alive(x, attend.dialect)
    return equals(attend(x).where(seen), np.where(seen[..., None], _heads_of(x, "v")[:, :, :1], 0.0))


@law(attention, STRUCTURE, after=("constant_values_come_back",))
def outputs_stay_in_the_hull_of_the_visible_values(attend: Any, x: Inputs) -> Verdict:
    """Every output lies between the smallest and the largest visible value, in every direction.

    min_j ⟨w, v_j⟩ ≤ ⟨w, o_i⟩ ≤ max_j ⟨w, v_j⟩ for every w, j visible

    Why: weights are non-negative and sum to 1; anything outside the hull was made up, or was hidden.
    """
    seen = visible(x, attend.dialect)
    rows = alive(x, attend.dialect)
    out, values = attend(x), _heads_of(x, "v").astype(x.format.wide)
    direction = np.concatenate([np.eye(x.size("V")), x.grid("directions", (x.size("V"), 3))], axis=1)
    shadow, projected = out.apply(direction), values @ direction
    low = np.where(seen[..., None], projected[:, :, None], np.inf).min(axis=3, initial=np.inf)
    high = np.where(seen[..., None], projected[:, :, None], -np.inf).max(axis=3, initial=-np.inf)
    rows = rows[..., None]
    return between(np.where(rows, low, -np.inf), shadow, np.where(rows, high, np.inf))


@law(attention, STRUCTURE, cases=cases(mask=("none", "bool")), after=("constant_values_come_back",))
def a_zero_query_gets_the_mean(attend: Any, x: Inputs) -> Verdict:
    """A query of zeros gets the mean of the visible values.

    q_i = 0  ⇒  o_i = (1/|M_i|) Σ_{j ∈ M_i} v_j

    Why: it takes the scores out of the picture; what remains is which keys are counted, and how often.
    """
    x = x.but(q=np.zeros_like(x.q))
    seen = visible(x, attend.dialect)
    rows = alive(x, attend.dialect)
    share = seen / np.maximum(seen.sum(axis=-1, keepdims=True), 1).astype(x.format.wide)
    return equals(attend(x).where(rows), share @ _heads_of(x, "v").astype(x.format.wide))


@law(
    attention,
    STRUCTURE,
    cases=cases(causal=False, fill="moderate"),
    needs=("cross_length",),
    after=("duplicating_all_keys_changes_nothing", "an_empty_row_follows_its_dialect"),
)
def blocks_of_keys_merge(attend: Any, x: Inputs) -> Verdict:
    """Two blocks of keys, attended one by one, merge into the whole by the weight that each block has there.

    o = w·o₁ + (1 − w)·o₂,   w = Σ_{j in block 1} p_j = σ(l₁ − l₂),   l = log Σ_j exp(s_j) of each block

    Why: it is the step on which every blockwise, ring and paged attention stands.

    Source: Milakov & Gimelshein 2018; Dao et al. 2022.
    """
    size = x.size("K")
    if size < 2:
        return vacuous()
    cut = int(x.rng("cut").integers(1, size))
    first, second = x.take("K", np.arange(cut)), x.take("K", np.arange(cut, size))
    seen = alive(first, attend.dialect) & alive(second, attend.dialect)
    if not seen.any():
        return vacuous()
    in_first = np.broadcast_to((np.arange(size) < cut).reshape(-1, 1), x.v.shape) * 1.0
    weight, whole = attend(x.but(v=in_first)), attend(x)
    return consistent(_mixed(weight, attend(first), attend(second)).where(seen), whole.where(seen))


def _mixed(w: Output, one: Output, two: Output) -> Output:
    """w·one + (1 − w)·two, with the errors of all three."""

    def exact() -> tuple[Array, Array]:
        # measured at what was returned: this compares ways of asking, before either is known to be right
        apart = np.abs(one.value - two.value) + one.slack + two.slack
        share = np.abs(w.value) + w.slack
        mixed = w.reference * one.reference + (1 - w.reference) * two.reference
        return mixed, w.slack * apart + share * one.slack + (np.abs(1 - w.value) + w.slack) * two.slack

    return Output(w.value * one.value + (1 - w.value) * two.value, exact)


@law(attention, STRUCTURE, cases=cases(fill="sharp"), after=("constant_values_come_back",))
def large_scores_stay_finite(attend: Any, x: Inputs) -> Verdict:
    """Scores as large as 1e5 give finite outputs.

    |s_ij| ≤ 1e5  ⇒  o_i finite

    Why: exp(89) overflows float32, exp(12) overflows float16; only subtracting the row's maximum helps.
    """
    return finite(attend(x).where(alive(x, attend.dialect)))


@law(attention, STRUCTURE, cases=cases(mask="none"), after=("large_scores_stay_finite",))
def the_winner_takes_all(attend: Any, x: Inputs) -> Verdict:
    """Where one score stands far above the rest, its value is the output.

    s_iw − s_ij ≥ 1024 for j ≠ w  ⇒  o_i = v_w

    Why: weights that cannot come arbitrarily close to 0 and 1 were clamped or smoothed on the way.
    """
    if x.causal:
        x = x.but(causal=False)
    place = x.rng("ranks").integers(1, 4, (x.size("B"), x.size("G"), x.size("K")))
    winner = x.rng("winner").integers(0, x.size("K"), (x.size("B"), x.size("G"), 1))
    np.put_along_axis(place, winner, 0, axis=2)
    q, k = np.zeros_like(x.q), np.zeros_like(x.k)
    q[..., 0], k[..., 0] = 2.0 ** np.ceil(np.log2(128 * np.sqrt(x.size("D")))), -8.0 * place
    x = x.but(q=q, k=k, scale=None)
    chosen = np.take_along_axis(x.v, winner[..., None], axis=2)
    expected = np.repeat(chosen, x.size("H") // x.size("G"), axis=1).repeat(x.size("Q"), axis=2)
    return equals(attend(x), expected)


# as large as values may be, and many of them
LOUD = AttentionCase(2, 1, 1, 3, 65, 2, 2, fill="loud", seed=13)
# masks that hide the future, and more than it
PUNCTURED = (
    AttentionCase(3, 2, 2, 6, 6, 4, 3, mask="bool", mask_axes="B1QK", pattern="punctured", seed=15),
    AttentionCase(2, 2, 2, 5, 9, 4, 3, mask="float", mask_axes="11QK", pattern="punctured", seed=16),
)


@law(attention, VALUES, cases=besides(cases(), LOUD, *PUNCTURED))
def agrees_with_its_definition(attend: Any, x: Inputs) -> Verdict:
    """The output is the softmax-weighted mean of the values.

    o_i = Σ_j p_ij v_j,  p_i = softmax_j(scale·⟨q_i, k_j⟩ + m_ij),  scale = 1/√D unless given

    Why: this is the equation itself, on whatever sizes and masks were drawn; it is the backstop for
    every fault that all ways of asking have in common.

    Source: Vaswani et al. 2017, eq. 1.
    """
    return within(attend(x))


@law(
    attention,
    VALUES,
    cases=cases(mask="float", fill="moderate", causal=False),
    needs=("float_mask",),
    after=("agrees_with_its_definition",),
    examples=0.5,
)
def a_large_negative_bias_hides(attend: Any, x: Inputs) -> Verdict:
    """A bias of −10,000, or the lowest number there is, hides a key as −∞ does, as long as others are visible.

    m_ij ∈ {−1e4, lowest}  ⇒  p_ij = 0

    Why: most code writes masks in this way. A bias that is clamped, or that overflows together with a
    score and meets an infinity of the other sign, lets padding in or turns the row into NaN.
    """
    hidden, seen = np.isneginf(x.mask), alive(x, attend.dialect)
    if not hidden.any() or not seen.any():
        return vacuous()
    low = np.where(x.rng("which number").random(x.mask.shape) < 0.5, -1e4, -x.format.largest)
    due, out = attend(x), attend(x.but(mask=np.where(hidden, low, x.mask)))
    return within(Output(out.value, lambda: (due.reference, due.bound)).where(seen))


@law(
    attention,
    VALUES,
    cases=cases(traps=4, batch=2, heads=(1, 2, 1, 2), kv_heads=1, q_len=(2, 1, 2, 1), kv_len=(513, 4097, 4097, 1025),
                d_k=4, d_v=4, fill="rising", mask=("none", "none", "bool", "float"), causal=False),
    needs=("cross_length",),
    after=("agrees_with_its_definition",),
    examples=0.1,
)  # fmt: skip
def agrees_at_every_number_of_keys(attend: Any, x: Inputs) -> Verdict:
    """The definition holds at every number of keys from 1 to 136, and around 160, 192, 256, … 4096, with masks too.

    Tk ∈ {1, …, 136, 159, 160, 161, …, 511, 512, 513, …, 4095, 4096, 4097}, for two queries and for one

    Why: kernels work in tiles of 8 to 256; the faults sit one before, at and one after a border. A mask
    has a pointer of its own, which may stay behind. And for a single query, as in decoding, the keys
    are dealt out to many and merged.
    """
    sizes = BORDERS if x.size("K") < 1025 else MANY
    return every(*[within(attend(x.take("K", np.arange(size)))) for size in sizes if size <= x.size("K")])


@law(
    attention,
    VALUES,
    cases=besides(
        cases(traps=1, batch=2, heads=1, kv_heads=1, q_len=513, kv_len=513, d_k=4, d_v=4, fill="normal", mask="none",
              causal=True, scale=None),
        AttentionCase(1, 1, 1, 1040, 1040, 2, 1, causal=True, fill="normal", seed=13),
    ),
    after=("agrees_with_its_definition",),
    examples=0.1,
)  # fmt: skip
def agrees_at_every_length(attend: Any, x: Inputs) -> Verdict:
    """The definition holds for self-attention of every length from 1 to 136, around 256 and 512, and beyond 1024.

    Tq = Tk ∈ {1, …, 136, 255, …, 513, 1040}, causal; without causality those around the borders of tiles

    Why: tiles of queries and of keys end together here, and the causal diagonal runs through each of them.
    """
    if not x.causal:
        return every(*[within(attend(_square(x, size))) for size in TILES])
    # a causal row knows nothing of the rows after it: one reference serves every length
    whole, verdicts = attend(x), []
    if x.size("Q") > BORDERS[-1]:
        return within(whole)
    for size in (size for size in BORDERS if size < x.size("Q")):
        verdicts.append(within(Output(attend(_square(x, size)).value, partial(_start, whole, size))))
    return every(within(whole), *verdicts)


def _start(whole: Output, size: int) -> tuple[Array, ...]:
    return whole.reference[:, :, :size], whole.bound[:, :, :size]


def _square(x: Inputs, size: int) -> Inputs:
    return x.take("Q", np.arange(size)).take("K", np.arange(size))
