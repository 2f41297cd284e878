"""Softmax's structure: what holds whatever the numbers are, and needs no reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.softmax import cases, row_axis, softmax, some_rows
from seqlaws.verdict import Output, Verdict, below, between, consistent, equals, every, finite, identical, vacuous

SOUND = ("treats_every_axis_alike", "keeps_rows_apart", "stays_finite")
PROBABILITIES = (*SOUND, "stays_between_zero_and_one", "sums_to_one")
SYMMETRIC = (*PROBABILITIES, "ignores_a_shift", "follows_permutations")


@law(softmax, STRUCTURE, cases=cases(fill="normal"))
def treats_every_axis_alike(softmax: Any, x: Inputs) -> Verdict:
    """Softmax along an axis is softmax along the last one, after that axis has been moved there.

    softmax(x, dim=a) = move(softmax(move(x, a → −1), dim=−1), −1 → a)

    Why: the last axis is the one that everybody tests. A fixed axis or a flattened view is right
    there and normalises over tokens, heads or the batch elsewhere.
    """
    verdicts = []
    for axis in range(x.x.ndim):
        last = softmax(x.but(x=np.moveaxis(x.x, axis, -1), dim=-1))
        moved = last.map(lambda array, axis=axis: np.moveaxis(array, -1, axis))
        verdicts += [consistent(softmax(x.but(dim=each)), moved) for each in (axis, axis - x.x.ndim)]
    return every(*verdicts)


@law(softmax, STRUCTURE, cases=cases(fill="wide"), after=("treats_every_axis_alike",))
def keeps_rows_apart(softmax: Any, x: Inputs) -> Verdict:
    """The result for a row depends on that row alone.

    p_r is bit by bit the same whatever the other rows hold, NaN included; p_r = softmax(x_r)

    Why: rows are different sentences and different users. A maximum shared between them is
    invisible until one row is far from the others, and its weights all vanish.
    """
    kept = some_rows(x, "rows that are kept")
    noise = x.noise("other rows", x.x.shape, 100.0)
    noise = np.where(some_rows(x, "rows with NaN"), noise, np.nan)
    whole, other = softmax(x), softmax(x.but(x=np.where(kept, x.x, noise)))
    verdicts = [identical(np.where(kept, whole.value, 0.0), np.where(kept, other.value, 0.0))]
    for axis, letter in enumerate(x.axes["x"]):
        if letter != row_axis(x):
            chosen = [int(x.rng("row " + letter).integers(x.size(letter)))]
            verdicts.append(consistent(softmax(x.take(letter, chosen)), whole.take(chosen, axis)))
    return every(*verdicts)


@law(softmax, STRUCTURE, cases=cases(fill="huge"), after=("treats_every_axis_alike", "keeps_rows_apart"))
def stays_finite(softmax: Any, x: Inputs) -> Verdict:
    """Every finite input has a finite result, up to the largest number of the format.

    |x_j| ≤ largest  ⇒  |p_j| < ∞

    Why: exp overflows at 89 in float32 and at 11 in float16. Without the maximum taken off first,
    one confident logit turns the whole row into NaN.
    """
    return finite(softmax(x))


@law(softmax, STRUCTURE, after=SOUND)
def stays_between_zero_and_one(softmax: Any, x: Inputs) -> Verdict:
    """Every output lies between 0 and 1.

    0 ≤ p_j ≤ 1

    Why: logarithms, square roots and samplers take these numbers for probabilities; a small
    negative one is NaN in the next line.
    """
    p = softmax(x)
    return every(below(-p.value, 0.0), between(0.0, p, 1.0))


@law(softmax, STRUCTURE, after=SOUND)
def sums_to_one(softmax: Any, x: Inputs) -> Verdict:
    """The outputs along the chosen axis sum to 1.

    Σ_j p_j = 1

    Why: they are probabilities; a missing or doubled share silently rescales everything that is
    averaged with them.
    """
    total = softmax(x).sum(axis=x.dim)
    return equals(total, np.ones(total.shape))


@law(softmax, STRUCTURE, cases=cases(fill="grid"), after=SOUND)
def ignores_a_shift(softmax: Any, x: Inputs) -> Verdict:
    """A constant added to a row changes nothing.

    softmax(x + c) = softmax(x), with c as large as x + c stays exact

    Why: only differences of logits mean anything. A program that reads their absolute size, in a
    threshold, a clamp or a logarithm, changes its answer when a bias is added to all of them.
    """
    # x holds multiples of 1/4 up to 2: this is the largest shift that rounds none of them
    limit = np.floor(0.25 / x.format.unit) - 2
    shape = tuple(1 if axis == x.dim % x.x.ndim else size for axis, size in enumerate(x.x.shape))
    shift = x.rng("shift").choice([-limit, -1.0, 1.0, np.rint(limit / 3), limit], shape)
    return consistent(softmax(x), softmax(x.but(x=x.x + shift)))


@law(softmax, STRUCTURE, after=SOUND)
def follows_permutations(softmax: Any, x: Inputs) -> Verdict:
    """Permuting the entries, or the rows, permutes the result.

    softmax(x_π) = softmax(x)_π

    Why: there is no first entry. Ties that go to one side, and kernels that drop the end of a row,
    depend on where an entry stands.
    """
    whole = softmax(x)
    verdicts = []
    for axis, letter in enumerate(x.axes["x"]):
        order = x.permutation(letter)
        verdicts.append(consistent(softmax(x.take(letter, order)), whole.take(order, axis)))
    return every(*verdicts)


@law(softmax, STRUCTURE, after=SYMMETRIC)
def preserves_order(softmax: Any, x: Inputs) -> Verdict:
    """A larger logit never gets a smaller weight, and equal logits get equal weights.

    x_i ≤ x_j  ⇒  p_i ≤ p_j

    Why: whoever takes the largest weight, or the k largest, relies on it.
    """
    order = np.argsort(x.x, axis=x.dim)
    rising = softmax(x).map(lambda array: np.take_along_axis(array, order, axis=x.dim))
    count = x.x.shape[x.dim]
    if count < 2:
        return vacuous()
    step = rising.take(np.arange(1, count), x.dim) + rising.take(np.arange(count - 1), x.dim) * -1.0
    tied = np.diff(np.take_along_axis(x.x, order, axis=x.dim), axis=x.dim) == 0
    return between(0.0, step, np.where(tied, 0.0, np.inf))


@law(softmax, STRUCTURE, cases=cases(fill="grid"), after=(*SYMMETRIC, "preserves_order"))
def is_half_lipschitz(softmax: Any, x: Inputs) -> Verdict:
    """A change of the logits moves the result at most half as far, in Euclidean length.

    ‖softmax(x) − softmax(y)‖₂ ≤ ½ ‖x − y‖₂, with equality in the limit at p = (½, ½)

    Why: the Jacobian diag(p) − p pᵀ is a covariance matrix, and ½ is its largest norm. A softmax
    that moves faster was sharpened: its logits were scaled once too often.
    """
    verdicts = []
    for one, other in _pairs(x, (0.125, 0.5)):
        allowed = np.sqrt(np.square(one.x - other.x).sum(axis=x.dim)) / 2
        verdicts.append(between(0.0, _distance(softmax(one), softmax(other), x.dim, 2), allowed))
    return every(*verdicts)


@law(softmax, STRUCTURE, cases=cases(fill="grid"), after=(*SYMMETRIC, "preserves_order", "is_half_lipschitz"))
def bounds_the_total_variation(softmax: Any, x: Inputs) -> Verdict:
    """How much probability can move depends on how far the change of the logits spreads.

    ½ Σ_j |softmax(x)_j − softmax(x + e)_j| ≤ tanh((max e − min e) / 4), with equality for two entries

    Why: unlike a Lipschitz bound, this one is sharp at every distance. It catches weights that are
    rounded away, and saturation that comes too early.
    """
    verdicts = []
    for one, other in _pairs(x, (0.5, 1.0, 4.0)):
        change = other.x - one.x
        spread = change.max(axis=x.dim) - change.min(axis=x.dim)
        moved = _distance(softmax(one), softmax(other), x.dim, 1) * 0.5
        verdicts.append(between(0.0, moved, np.tanh(spread / 4)))
    return every(*verdicts)


@law(softmax, STRUCTURE, needs=("infinite",), cases=cases(hidden=0.4), after=PROBABILITIES)
def gives_nothing_to_minus_infinity(softmax: Any, x: Inputs) -> Verdict:
    """An entry of −inf gets exactly 0.

    x_j = −∞  ⇒  p_j = 0

    Why: −inf is how a mask says "not this one". Any finite stand-in leaks as soon as the visible
    logits are low enough themselves.
    """
    hidden = np.isneginf(x.x)
    if not hidden.any():
        return vacuous()
    return identical(np.where(hidden, softmax(x).value, 0.0), np.zeros(x.x.shape))


@law(softmax, STRUCTURE, needs=("infinite",), after=(*SYMMETRIC, "gives_nothing_to_minus_infinity"))
def takes_minus_infinity_for_absence(softmax: Any, x: Inputs) -> Verdict:
    """Hiding entries behind −inf is the same as leaving them out.

    softmax(x with x_j = −∞) without entry j = softmax(x without entry j)

    Why: padding relies on it. Entries that are hidden but still counted, in a mean, a maximum or
    the number of columns, make the result depend on the amount of padding.
    """
    letter, count = row_axis(x), x.x.shape[x.dim]
    seen = x.rng("seen").random(count) < 0.6
    seen[int(x.rng("always seen").integers(count))] = True
    if x.seed % 3:  # or one end of the row, which may be longer than a block
        ahead = np.arange(count) < x.rng("end").integers(1, count + 1)
        seen = ahead if x.seed % 3 == 1 else ahead[::-1]
    if seen.all():
        return vacuous()
    along = seen.reshape([-1 if axis == x.dim % x.x.ndim else 1 for axis in range(x.x.ndim)])
    kept = np.flatnonzero(seen)
    hidden = softmax(x.but(x=np.where(along, x.x, -np.inf)))
    return consistent(hidden.take(kept, x.dim), softmax(x.take(letter, kept)))


def _pairs(x: Inputs, scales: tuple[float, ...]) -> list[tuple[Inputs, Inputs]]:
    """Rows with noise added; and two entries with the same two swapped, where both bounds are sharp."""
    pairs = [(x, x.but(x=x.x + x.noise("step", x.x.shape)))]
    if x.x.shape[x.dim] > 1:
        two = x.take(row_axis(x), [0, 1])
        for scale in scales:
            pairs.append((two.but(x=two.x * scale), two.but(x=np.flip(two.x, x.dim) * scale)))
    return pairs


def _distance(one: Output, other: Output, axis: int, order: int) -> Output:
    """The distance of two results along an axis; its bound is that of both together."""

    def length(array: Array) -> Array:
        return np.asarray(np.linalg.norm(array.astype(np.float64), ord=order, axis=axis))

    return Output(
        length(one.value - other.value),
        lambda: (length(one.reference - other.reference), length(one.bound) + length(other.bound)),
    )
