"""Multi-head attention's heads and weights: which numbers belong to which head, and what each of them does."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.multihead import multihead, visible
from seqlaws.spec.multihead.drawing import MATRICES, cases
from seqlaws.verdict import Output, Verdict, consistent, differs, every, vacuous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqlaws.run import Run

PLAIN = cases(mask="none", causal=False, fill=("normal", "grid"), gain=1.0)


def features(x: Inputs, head: int) -> slice:
    """The features that belong to a head."""
    width = x.size("F") // x.num_heads
    return slice(head * width, (head + 1) * width)


def only(x: Inputs, name: str, head: int, factor: float = 1.0) -> Array:
    """A weight with the shares of all other heads set to zero."""
    weight: Array = getattr(x, name)
    kept = np.zeros_like(weight)
    own = (..., features(x, head)) if name == "W_o" else features(x, head)
    kept[own] = factor * weight[own]
    return kept


@law(multihead, STRUCTURE, after=("batch_entries_do_not_mix",))
def heads_permute_with_their_weights(mha: Run, x: Inputs) -> Verdict:
    """Putting the heads in another order, with all that belongs to them, changes nothing.

    W_q, W_k, W_v, b_q, b_k, b_v ↦ Π·,  W_o ↦ W_o Πᵀ,  mask_h ↦ mask_π(h):  the same output

    Why: head h owns the columns h·d … (h+1)·d, before attention and after it. A view without a
    transpose, an interleaved split or a merge in another order still gives the right shape.
    """
    if x.num_heads < 2:
        return vacuous()
    order = x.rng("heads").permutation(x.num_heads)
    order = np.roll(order, 1) if (order == np.arange(x.num_heads)).all() else order
    moved = x.take("F", np.concatenate([np.arange(x.size("F"))[features(x, head)] for head in order]))
    if x.mask is not None and "H" in x.letters:
        moved = moved.take("H", order) if x.size("H") > 1 else moved
    return consistent(mha(moved), mha(x))


@law(multihead, STRUCTURE, after=("batch_entries_do_not_mix",))
def heads_add_up(mha: Run, x: Inputs) -> Verdict:
    """The output is the sum of what each head contributes alone, and the output bias, once.

    out = Σ_h W_o[:, head h]·o_h + b_o

    Why: laying heads side by side and multiplying by W_o is this sum. A bias added once per head, a
    head that is dropped, or anything nonlinear after the merge breaks it.
    """
    parts = [mha(x.but(W_o=only(x, "W_o", head), b_o=np.zeros_like(x.b_o))) for head in range(x.num_heads)]
    total: Output = reduce(add, parts)
    return consistent(mha(x), total.apply(np.eye(x.size("E")), x.b_o))


@law(multihead, STRUCTURE, cases=cases(heads=4), after=("heads_add_up",))
def each_head_is_an_attention_of_its_own(mha: Run, x: Inputs) -> Verdict:
    """One of four heads contributes what a single head does in which the rows of the others are zero.

    contribution_h = mha(num_heads = 1, 2·W_q[head h], 2·b_q[head h], W_o[:, head h]);  2/√E = 1/√(E/4)

    Why: it asks for several heads by asking for one. A number of heads that is ignored, heads that
    mix, or a scale of 1/√E instead of 1/√d cannot answer both alike.
    """
    if x.num_heads != 4:
        return vacuous()
    verdicts = []
    for head in range(4):
        alone = x.but(W_o=only(x, "W_o", head))
        single = alone.but(W_q=only(x, "W_q", head, 2.0), b_q=only(x, "b_q", head, 2.0), num_heads=1)
        if x.mask is not None and "H" in x.letters and x.size("H") > 1:
            single = single.take("H", [head])
        verdicts.append(consistent(mha(single), mha(alone)))
    return every(*verdicts)


@law(multihead, STRUCTURE, after=("batch_entries_do_not_mix",))
def the_key_bias_has_no_influence(mha: Run, x: Inputs) -> Verdict:
    """Whatever is added to the key bias changes nothing.

    ⟨q_i, k_j + c⟩ = ⟨q_i, k_j⟩ + ⟨q_i, c⟩: a constant in the row of scores, which softmax forgets

    Why: it is the one weight without effect, and libraries differ on whether they have it. If it acts,
    it was added to something else, or a key without it (a zero, a cache) takes part.
    """
    return consistent(mha(x.but(b_k=x.b_k + x.grid("key bias", x.b_k.shape))), mha(x))


@law(multihead, STRUCTURE, cases=PLAIN, examples=0.5)
def every_weight_has_influence(mha: Run, x: Inputs) -> Verdict:
    """Each weight but the key bias acts on the output, and so does the share of each head in it.

    W_q, W_k, W_v, W_o, b_q, b_v, b_o:  another slice for head h  ⇒  another output

    Why: a bias that starts at zero and is never added, or a projection that reads the weights of
    another, goes unnoticed until trained weights are loaded.
    """
    if x.query.size < 24 or visible(x, mha.dialect).shape[3] < 4:
        return vacuous()
    plain = mha(x).value.reshape(1, -1)
    verdicts = []
    for name, own in shares(x):
        changed = getattr(x, name).copy()
        changed[own] = x.noise(
            "other " + name, changed[own].shape, 1.0 / np.sqrt(x.size("E")) if name in MATRICES else 1.0
        )
        verdicts.append(differs(mha(x.but(**{name: changed})).value.reshape(1, -1), plain).called(name))
    return every(*verdicts)


def shares(x: Inputs) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The weights that act, each with the slices of its first head, its last and another one."""
    heads = sorted({0, x.num_heads - 1, int(x.rng("head").integers(x.num_heads))})
    for name in ("W_q", "W_k", "W_v", "b_q", "b_v"):
        yield from ((name, (features(x, head),)) for head in heads)
    yield from (("W_o", (slice(None), features(x, head))) for head in heads)
    yield "b_o", (slice(None),)
