"""Normalisation's structure: what a row does to others, and what shifts, scales, gains and order do to a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.norm import bare, cases, evaluated, norm, some_rows, summable
from seqlaws.verdict import Output, Verdict, consistent, equals, every, finite, identical

if TYPE_CHECKING:
    from seqlaws.run import Run

SOUND = ("rows_do_not_mix", "a_row_of_zeros_gives_the_shift", "channels_permute")


@law(norm, STRUCTURE, cases=cases(fill="normal"))
def rows_do_not_mix(norm: Run, x: Inputs) -> Verdict:
    """The result for a row depends on that row alone.

    y_r is bit by bit the same whatever the other rows hold;  y_r = norm(x_r)

    Why: rows are tokens, and users. Statistics that are taken over time or over the batch let the
    future into the past and the neighbours into the result, and no shape shows it.
    """
    kept = some_rows(x, "rows that are kept")
    whole = norm(x)
    other = norm(x.but(x=np.where(kept, x.x, 8.0 * x.noise("other rows", x.x.shape))))
    verdicts = [identical(np.where(kept, whole.value, 0.0), np.where(kept, other.value, 0.0))]
    for axis, letter in enumerate(x.axes["x"][:-1]):
        chosen = [int(x.rng("row " + letter).integers(x.size(letter)))]
        verdicts.append(consistent(norm(x.take(letter, chosen)), whole.take(chosen, axis)))
    return every(*verdicts)


@law(norm, STRUCTURE, after=("rows_do_not_mix",))
def a_row_of_zeros_gives_the_shift(norm: Run, x: Inputs) -> Verdict:
    """A row of zeros comes out as the shift, and is finite.

    x_i = 0 for all i  ⇒  norm(x; 1, shift) = shift

    Why: padding is a row of zeros, and 0/0 is NaN. ε is there for this row.
    """
    out = norm(x.but(x=np.zeros_like(x.x), gain=np.ones_like(x.gain)))
    return every(finite(out), equals(out, np.broadcast_to(x.shift, x.x.shape)))


@law(norm, STRUCTURE, after=("rows_do_not_mix", "a_row_of_zeros_gives_the_shift"))
def channels_permute(norm: Run, x: Inputs) -> Verdict:
    """Permuting the channels, with their gain and shift, permutes the result.

    norm(Π x; Π gain, Π shift) = Π norm(x; gain, shift)

    Why: the statistics of a row do not know an order. What depends on one has dropped the end of the
    row, or normalises it in groups.
    """
    order = x.permutation("D")
    return consistent(norm(x.take("D", order)), norm(x).take(order, -1))


@law(norm, STRUCTURE, cases=cases(fill="grid"), when={"kind": ("layer",)}, after=SOUND)
def ignores_a_common_shift(norm: Run, x: Inputs) -> Verdict:
    """A constant added to all channels of a row changes nothing.

    norm(x + c; 1, 0) = norm(x; 1, 0), for a row of zeros too

    Why: this is what the mean is taken off for. Without it, a bias that drifts in an earlier layer
    drowns what the channels differ by.
    """
    # exact in every format: multiples of 1/4 up to 34
    shift = x.rng("shift").choice([-32.0, -3.0, 1.0, 32.0], (*x.x.shape[:-1], 1))
    rows = bare(x.but(x=np.where(some_rows(x, "rows of zeros"), x.x, 0.0)))
    return consistent(norm(rows), norm(rows.but(x=rows.x + shift)))


@law(norm, STRUCTURE, after=SOUND)
def scales_cancel(norm: Run, x: Inputs) -> Verdict:
    """A row and the root of ε multiplied by the same number give the same result, or its negative.

    norm(a x; a² ε) = sign(a)·norm(x; ε), without gain and shift

    Why: it separates ε as a part of the variance from an ε that is added to the root, or that is a
    constant of the program; those are right for rows of the usual size.
    """
    factors = (-1.0, 2.0, 0.5, -4.0)
    plain = bare(x.but(x=summable(x.x, x.format, max(map(abs, factors)))))
    due = norm(plain)
    verdicts = []
    for factor in factors:
        found = norm(plain.but(x=factor * plain.x, eps=factor**2 * plain.eps))
        verdicts.append(consistent(found, due * np.sign(factor)).called(f"a = {factor:g}"))
    return every(*verdicts)


@law(norm, STRUCTURE, when={"kind": ("layer",)}, after=(*SOUND, "ignores_a_common_shift"))
def has_mean_zero(norm: Run, x: Inputs) -> Verdict:
    """Without gain and shift, every row has the mean 0.

    Σ_i norm(x; 1, 0)_i = 0

    Why: half of the name. What is taken off is the mean of this very row: not a running one, not that
    of the channels that are positive.
    """
    total = norm(bare(x)).sum(axis=-1)
    return equals(total, np.zeros(total.shape))


@law(norm, STRUCTURE, after=(*SOUND, "scales_cancel"))
def has_the_variance_that_epsilon_leaves(norm: Run, x: Inputs) -> Verdict:
    """Without gain and shift, the mean square of every row is its variance, as a share of itself and ε.

    mean(norm(x; 1, 0)²) = v / (v + ε),  v = mean((x − mean)²), or mean(x²) without a mean

    Why: one number per row that depends on n or n − 1, and on ε inside or outside the root. A wrong
    one scales the stream by a constant, and everything still trains.
    """
    done, z = evaluated(bare(x), norm.dialect), norm(bare(x))
    n = x.x.shape[-1]

    def mean_square(array: Array) -> Array:
        return np.asarray((array * array).sum(axis=-1) / n)

    def exact() -> tuple[Array, Array]:
        error = ((2 * np.abs(z.reference) + z.bound) * z.bound).sum(axis=-1) / n
        return mean_square(z.reference), error

    return equals(Output(mean_square(z.value), exact), done.v[..., 0] / (done.v[..., 0] + x.eps))


@law(
    norm,
    STRUCTURE,
    cases=cases(fill="smooth"),
    after=(*SOUND, "scales_cancel", "has_the_variance_that_epsilon_leaves"),
)
def gain_and_shift_act_last(norm: Run, x: Inputs) -> Verdict:
    """Gain and shift act on the normalised row, channel by channel: gain first, then shift.

    norm(x; gain, shift) = norm(x; 1, 0) ⊙ gain + shift

    Why: they are the part that is learnt. A gain that is applied before the statistics, or a shift
    before the gain, is another function of the same weights: loaded weights mean something else.
    """
    return consistent(norm(x), norm(bare(x)).apply(np.diag(x.gain), x.shift))
