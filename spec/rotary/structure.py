"""Rotary encoding's structure: which number may depend on which, and on which position."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.rotary import cases, pairs, rotary
from seqlaws.verdict import Verdict, consistent, equals, every, identical, joined, vacuous

APART = ("keeps_tokens_apart",)
PLACED = (
    *APART,
    "turns_pairs_of_channels",
    "treats_heads_and_entries_alike",
    "follows_its_positions",
    "reads_a_row_of_positions_for_every_entry",
)
SOUND = (*PLACED, "does_not_depend_on_the_length")


@law(rotary, STRUCTURE)
def keeps_tokens_apart(rotary: Any, x: Inputs) -> Verdict:
    """The output of a token depends on that token alone, not on its neighbours, other heads or entries.

    y_bht is bit by bit the same whatever x holds elsewhere

    Why: rotation happens before attention; a token that already holds something of the next one
    tells the past about the future, and one user about another.
    """
    kept = x.rng("tokens that are kept").random((*x.x.shape[:3], 1)) < 0.5
    whole, other = rotary(x), rotary(x.but(x=np.where(kept, x.x, x.noise("other tokens", x.x.shape, 100.0))))
    return identical(np.where(kept, whole.value, 0.0), np.where(kept, other.value, 0.0))


@law(rotary, STRUCTURE, cases=cases(fill="normal"), after=APART)
def turns_pairs_of_channels(rotary: Any, x: Inputs) -> Verdict:
    """A channel reaches itself and its partner alone: i + D/2, or its neighbour, as the dialect says.

    x = e_i  ⇒  y_j = 0 for every j other than i and its partner

    Why: the two pairings are the same up to a permutation of the channels, so each trains; but weights
    trained with one mean nothing to the other, and a mixture of both is no rotation.
    """
    first, second = pairs(rotary, x)
    group = np.arange(x.size("D")) + x.size("D")  # a channel that is not rotated is alone
    group[first] = group[second] = np.arange(len(first))
    chosen = x.rng("channel").integers(x.size("D"), size=(*x.x.shape[:3], 1))
    foreign = group != group[chosen]
    value = rotary(x.but(x=np.where(np.arange(x.size("D")) == chosen, 1.0 + np.abs(x.x), 0.0))).value
    return identical(np.where(foreign, value, 0.0), np.zeros(value.shape))


@law(rotary, STRUCTURE, when={"rotated": ("half", "quarter")}, after=APART)
def lets_the_rest_pass(rotary: Any, x: Inputs) -> Verdict:
    """The channels behind the rotated part come out as they went in.

    y_j = x_j for j ≥ r, bit by bit (or rounded to single precision, where the dialect says that it is enough)

    Why: they carry what does not depend on the position, and models that rotate a part of the width
    have learned to put it there.
    """
    rest = np.setdiff1d(np.arange(x.size("D")), np.concatenate(pairs(rotary, x)))
    return equals(rotary(x)[..., rest], x.x[..., rest])


@law(rotary, STRUCTURE, after=APART)
def treats_heads_and_entries_alike(rotary: Any, x: Inputs) -> Verdict:
    """The same tokens at the same positions come out the same in every head and every batch entry.

    x_bh = x_00 and p_b = p_0  ⇒  y_bh = y_00

    Why: a kernel that counts rows itself turns the second head, or the second user, as if it stood
    behind the first.
    """
    if x.size("B") * x.size("H") < 2:
        return vacuous()
    one = x.take("H", [0]).take("B", [0])
    many = x.but(
        x=np.broadcast_to(one.x, x.x.shape), positions=np.broadcast_to(one.positions, x.positions.shape).copy()
    )
    alone = rotary(one)
    return consistent(
        rotary(many), alone.take(np.zeros(x.size("B"), dtype=int), 0).take(np.zeros(x.size("H"), dtype=int), 1)
    )


@law(rotary, STRUCTURE, after=(*APART, "treats_heads_and_entries_alike"))
def follows_its_positions(rotary: Any, x: Inputs) -> Verdict:
    """Tokens that change places together with their positions change places in the result.

    f(x_π, p_π) = f(x, p)_π

    Why: a token's position is what it is said to be, not its place in memory. Left padding, packed
    documents and cached decoding all have positions that do not count from 0.
    """
    if x.size("T") < 2:
        return vacuous()
    order = x.permutation("T")
    return consistent(rotary(x.take("T", order)), rotary(x).take(order, 2))


@law(
    rotary,
    STRUCTURE,
    needs=("per_row",),
    cases=cases(per_row=True),
    after=(*APART, "treats_heads_and_entries_alike", "follows_its_positions"),
)
def reads_a_row_of_positions_for_every_entry(rotary: Any, x: Inputs) -> Verdict:
    """With positions [B,T], every batch entry is turned by its own row.

    f(x, P)_b = f(x_b, P_b)

    Why: prompts of unequal lengths stand at unequal positions. Reading the first row for all of them
    is right in every test with one prompt.
    """
    if x.size("B") < 2:
        return vacuous()
    alone = []
    for entry in range(x.size("B")):
        one = x.take("B", [entry])
        alone.append(rotary(one.spelled(positions="T").but(positions=one.positions[0])))
    return consistent(rotary(x), joined(alone, 0))


@law(rotary, STRUCTURE, after=PLACED)
def does_not_depend_on_the_length(rotary: Any, x: Inputs) -> Verdict:
    """A token is turned alike in a long sequence, in a short one and alone.

    f(x, p)_{≤n} = f(x_{≤n}, p_{≤n}),   f(x, p)_t = f(x_t, p_t)

    Why: a cached decoder turns one token at a time and compares it with keys that were turned all at
    once. A rate that changes with the length makes them incomparable.
    """
    whole, length = rotary(x), x.size("T")
    if not length:
        return vacuous()
    some = [np.arange(length // 2 + 1), *(np.array([t]) for t in {0, length // 2, length - 1})]
    return every(*(consistent(rotary(x.take("T", index)), whole.take(index, 2)) for index in some))
