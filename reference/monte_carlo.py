"""Rounding errors by simulation, for blocks so deep that a worst-case bound would allow anything.

Worst cases multiply: through two norms, attention and a feed-forward part they reach 10⁵ roundings, which in
a half type is more than any output. In Monte Carlo arithmetic (Parker 1997) every intermediate result is
moved at random, up or down, by as much as its roundings may move it, and the program is run a few times.
The spread of the outputs, times SPREADS, is the bound: under the model of independent roundings (Higham &
Mary 2019) an error is a sum of many small ones, each smaller than what was drawn for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqlaws.reference.rounding import Array, Format, narrow, overflow_free, stored

COPIES = {"of few numbers": 16, "of many": 4}
FEW = 2000
# of a billion sums of many roundings hardly one is off by six times its spread; and what four copies show of
# that spread is hardly ever less than half
LIKELY = 6.0
SPREADS = 2 * LIKELY
# float64 cannot show its own roundings: larger ones are drawn, and the spread is scaled down
LEAST = 2.0**-30


@dataclass(frozen=True)
class Noise:
    """Random roundings of one format, enlarged by ``scale``, in so many copies of a program."""

    rng: np.random.Generator
    format: Format
    scale: float
    copies: int

    @classmethod
    def of(cls, x: Array, format: Format) -> Noise:
        """Roundings for a program on x, always the same ones; few numbers need many copies to show their spread."""
        copies = COPIES["of few numbers" if x.size <= FEW else "of many"]
        return cls(np.random.default_rng(0), format, max(1.0, LEAST / format.unit), copies)

    def copied(self, x: Array) -> Array:
        """The copies of a batch."""
        return np.tile(narrow(x), (self.copies, *[1] * (x.ndim - 1)))

    def copied_mask(self, mask: Array | None, batch: int) -> Array | None:
        """A mask for the copies of a batch."""
        if mask is None or mask.ndim < 4 or mask.shape[0] != batch or batch == 1:
            return mask
        return np.tile(mask, (self.copies, 1, 1, 1))

    @property
    def unit(self) -> float:
        """The roundoff of a result that is kept in the input's format, as half types may."""
        return self.scale * max(self.format.accumulator, stored(self.format))

    def moved(self, value: Array, *by: Array) -> Array:
        """A value moved up or down by some amounts, each with a root mean square of its own; infinity stays."""
        spread = by[0] if len(by) == 1 else np.sqrt(sum(each * each for each in by))
        if not np.isfinite(spread).all():
            spread = np.where(np.isfinite(spread), spread, 0.0)
        drawn = self.rng.random(np.broadcast_shapes(value.shape, spread.shape))
        drawn -= 0.5
        drawn *= np.sqrt(12.0) * spread
        drawn += value
        return drawn

    def together(self, by: Array, turn: int) -> Array:
        """Factors near 1 [B,…], off row by row, and as much by something that all rows of a copy have in common.

        Its sign changes from copy to copy, or in every second one: those of different turns are independent.
        """
        signs = np.where(np.arange(self.copies) // turn % 2, -1.0, 1.0).repeat(len(by) // self.copies)
        return self.moved(1 + signs.reshape(-1, *[1] * (by.ndim - 1)) * by, by)

    def kept(self, value: Array, times: float = 1.0) -> Array:
        """A result after so many roundings."""
        return self.moved(value, self.rounding(value, times))

    def rounding(self, value: Array, times: float = 1.0) -> Array:
        """What so many roundings do to a value that is kept.

        What is below the smallest normal number of the accumulator may be lost: vectorised exponentials of fused
        kernels give 0 there.
        """
        lost = max(self.format.eta, self.format.tiny)
        return np.asarray(times * self.unit * np.abs(value) + self.scale * lost)

    def summed(self, value: Array, size: Array, terms: int) -> Array:
        """A sum of terms whose sizes add up to ``size``, in any order, and kept."""
        return self.moved(value, self.summing(size, terms), self.rounding(value))

    def summing(self, size: Array, terms: int) -> Array:
        """What the roundings of a sum of terms do whose sizes add up to ``size``."""
        return np.asarray(self.scale * self.format.accumulator * np.sqrt(terms + 4) * size)

    def linear(self, x: Array, matrix: Array, offset: Array) -> Array:
        """``x @ matrix.T + offset``, with the product perhaps kept before the offset is added."""
        size, product = np.abs(x) @ np.abs(matrix).T + np.abs(offset), x @ matrix.T
        value = product + offset
        return self.moved(value, self.summing(size, matrix.shape[1]), self.rounding(product), self.rounding(value))

    def linear_back(self, x: Array, matrix: Array, arriving: Array) -> tuple[Array, Array, Array]:
        """What a linear map sends back to x, to its matrix and to its offset; the latter for each copy."""
        size = np.abs(arriving) @ np.abs(matrix)
        d_x = self.summed(arriving @ matrix, size, matrix.shape[0])
        return d_x, self.over_tokens(arriving, x), self.over_tokens(arriving, np.ones_like(x[..., :1]))[..., 0]

    def over_tokens(self, left: Array, right: Array) -> Array:
        """Σ over batch and time of left ⊗ right for each copy, in any order, each partial sum perhaps kept."""
        terms = len(left) // self.copies * left.shape[1]
        left, right = (each.reshape(self.copies, terms, each.shape[-1]) for each in (left, right))
        total = np.swapaxes(left, 1, 2) @ right
        walk = np.sqrt(np.swapaxes(left**2, 1, 2) @ right**2)
        return self.moved(total, self.unit * np.sqrt(terms) * (walk + np.abs(total)), self.rounding(total, 2))

    def reach(self, moved: Array, exact: Array) -> Array:
        """How far roundings are likely to move a row at most, for each copy: LIKELY times what they do on average."""
        off = np.where(
            np.isfinite(exact), moved.reshape(self.copies, *exact.shape) - np.where(np.isfinite(exact), exact, 0), 0
        )
        most = np.sqrt((off**2).mean(axis=0).max(axis=-1, keepdims=True, initial=0.0))
        return np.tile(LIKELY / self.scale * most, (self.copies, *[1] * (most.ndim - 1)))


def spread(moved: Array, exact: Array, noise: Noise) -> Array:
    """The bound: SPREADS times what roundings moved the copies [copies, …], never less than in the rest of the row."""
    with np.errstate(invalid="ignore", over="ignore"):
        square = ((moved.reshape(noise.copies, *exact.shape) - narrow(exact)) ** 2).mean(axis=0)
    row = np.where(np.isfinite(square), square, 0.0)
    row = row.mean(axis=-1, keepdims=True) if row.shape[-1:] != (0,) else row
    bound = SPREADS / noise.scale * np.sqrt(np.maximum(square, row))
    unit, size = noise.format.unit, np.abs(np.nan_to_num(narrow(exact)))
    return overflow_free(bound + unit * (size + bound) + noise.format.eta)
