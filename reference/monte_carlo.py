"""Rounding errors by simulation, for blocks so deep that a worst-case bound would allow anything.

Worst cases multiply: through two norms, attention and a feed-forward part they reach 10⁵ roundings, which in
a half type is more than any output. In Monte Carlo arithmetic (Parker 1997) every intermediate result is
moved at random, up or down, by as much as its roundings may move it, and the program is run a few times.
The spread of the outputs, times SPREADS, is the bound: under the model of independent roundings (Higham &
Mary 2019) an error is a sum of many small ones, each smaller than what was drawn for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seqlaws.reference import attention, multihead, norm
from seqlaws.reference.rounding import Array, Format, narrow, overflow_free, stored
from seqlaws.reference.softmax import log_softmax

COPIES = {"of few numbers": 16, "of many": 4}
FEW = 2000
SPREADS = 8.0
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

    def moved(self, value: Array, by: Array) -> Array:
        """A value moved up or down by some amount; what is not finite stays."""
        drawn = self.rng.standard_normal(value.shape)
        return np.asarray(np.where(np.isfinite(value), value + drawn * np.where(np.isfinite(by), by, 0.0), value))

    def kept(self, value: Array, times: float = 1.0) -> Array:
        """A result after so many roundings."""
        return self.moved(value, times * self.unit * np.abs(value) + self.scale * self.format.eta)

    def summed(self, value: Array, size: Array, terms: int) -> Array:
        """A sum of terms whose sizes add up to ``size``, in any order, and kept."""
        rounding = self.scale * self.format.accumulator * np.sqrt(terms + 4)
        return self.kept(self.moved(value, rounding * size))

    def linear(self, x: Array, matrix: Array, offset: Array) -> Array:
        """``x @ matrix.T + offset``, with the product perhaps kept before the offset is added."""
        size = np.abs(x) @ np.abs(matrix).T + np.abs(offset)
        return self.kept(self.summed(x @ matrix.T, size, matrix.shape[1]) + offset)

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
        return self.kept(self.moved(total, self.unit * np.sqrt(terms) * (walk + np.abs(total))), 2)

    def reach(self, moved: Array, exact: Array) -> Array:
        """How far roundings may move a row at most, for each copy: SPREADS times what they do on average."""
        off = np.where(
            np.isfinite(exact), moved.reshape(self.copies, *exact.shape) - np.where(np.isfinite(exact), exact, 0), 0
        )
        most = np.sqrt((off**2).mean(axis=0).max(axis=-1, keepdims=True, initial=0.0))
        return np.tile(SPREADS / self.scale * most, (self.copies, *[1] * (most.ndim - 1)))

    def norm(self, x: Array, gain: Array, shift: Array, exact: norm.Norm) -> Norm:
        """A layer norm, of which each step is kept; or folded, so that gain and mean meet before x does.

        A row that roundings may move by half of its own spread could lose it: of such a row nothing is said.
        """
        size = np.abs(x).mean(axis=-1, keepdims=True)
        mean = self.kept(self.summed(x.mean(axis=-1, keepdims=True), size, x.shape[-1]))
        d = self.moved(self.kept(x - mean), self.scale * self.format.accumulator * (np.abs(x) + size))
        v = (d * d).mean(axis=-1, keepdims=True)
        s = self.kept(np.sqrt(self.kept(self.summed(v, v, x.shape[-1]) + exact.eps, 2)), 2)
        lost = 2 * self.reach(d, narrow(exact.d)) > np.tile(narrow(exact.s), (self.copies, 1, 1))
        z = np.where(lost, np.nan, self.kept(d / s, 2))
        folded = 2 * self.scale * self.format.accumulator * (np.abs(x) + size) / s * np.abs(gain)
        return Norm(z, s, gain, self.moved(self.kept(self.kept(z * gain) + shift), folded))

    def norm_back(self, ran: Norm, arriving: Array) -> tuple[Array, Array, Array]:
        """What a layer norm sends back to x, to its gain and to its shift; the latter for each copy."""
        h, n = self.kept(arriving * ran.gain), ran.z.shape[-1]
        along, across = (h * ran.z).mean(axis=-1, keepdims=True), h.mean(axis=-1, keepdims=True)
        size = np.abs(h).mean(axis=-1, keepdims=True)
        along = self.summed(along, np.abs(h * ran.z).mean(axis=-1, keepdims=True), n)
        inner = h - self.kept(ran.z * along) - self.summed(across, size, n)
        inner = self.moved(inner, self.unit * (np.abs(h) + np.abs(ran.z * along) + size))
        ones, products = np.ones((*h.shape[:-1], 1)), self.kept(arriving * ran.z)
        d_gain, d_shift = self.over_tokens(products, ones), self.over_tokens(arriving, ones)
        return self.kept(inner / ran.s, 2), d_gain[..., 0], d_shift[..., 0]

    def attention(
        self, tokens: tuple[Array, Array, Array], exact: multihead.MultiHead, mask: Array | None, empty_row: str
    ) -> Attention:
        """Multi-head attention over query, key and value.

        Scores that roundings may move by a half could make another key the winner: of such a row nothing is said.
        """
        w, heads = exact.w, exact.inner.q.shape[1]
        q, k, v = (
            multihead.split(self.linear(x, narrow(matrix), narrow(offset)), heads)
            for x, matrix, offset in zip(tokens, (w.W_q, w.W_k, w.W_v), (w.b_q, w.b_k, w.b_v), strict=True)
        )
        a = attention.evaluate(q, k, v, mask=mask, empty_row=empty_row)
        size = abs(a.scale) * (np.abs(q) @ np.swapaxes(np.abs(k), -1, -2))
        scores = self.kept(self.summed(a.scores, size, q.shape[-1]), 2)
        empty = ~np.isfinite(a.scores).any(axis=-1, keepdims=True)
        log_p = np.where(empty, a.log_p, log_softmax(scores, -1))
        log_p = np.where(self.reach(scores, narrow(exact.inner.scores)) > 0.5, np.nan, log_p)
        distance = np.where(np.isfinite(log_p), np.abs(log_p), 0.0)
        # exp(s − l) with the logarithm l of the sum kept from the way there is off by the roundings of s and l
        top = np.where(np.isfinite(a.scores), np.abs(a.scores), 0.0).max(axis=-1, keepdims=True, initial=0)
        in_exp = self.scale * (self.format.exp_error + 2 * self.format.accumulator * top) + self.unit * (distance + 3)
        p = self.moved(np.exp(log_p), in_exp * np.exp(log_p))
        together = self.kept(np.ones_like(top), 2)
        kept = 2 * self.scale * self.format.accumulator * (top + np.log(p.shape[-1] + 1.0))
        p = self.moved(np.ones_like(top), kept) * p
        out = np.where(np.isnan(a.out), np.nan, self.summed(p @ v, p @ np.abs(v), p.shape[-1]) * together)
        merged = multihead.merge(self.kept(out))
        out = self.linear(merged, narrow(w.W_o), narrow(w.b_o))
        return Attention(tokens, q, k, v, np.where(np.isfinite(a.scores), p, 0.0), float(a.scale), merged, out)

    def attention_back(self, ran: Attention, w: multihead.Weights, arriving: Array) -> dict[str, Array]:
        """What multi-head attention sends back, by name; "scores" is what an additive mask receives."""
        heads, found = ran.q.shape[1], {}
        into_heads, found["W_o"], found["b_o"] = self.linear_back(ran.heads, narrow(w.W_o), arriving)
        c = multihead.split(into_heads, heads)
        d_p = self.summed(c @ np.swapaxes(ran.v, -1, -2), np.abs(c) @ np.swapaxes(np.abs(ran.v), -1, -2), c.shape[-1])
        mean = (ran.p * d_p).sum(axis=-1, keepdims=True)
        mean = self.summed(mean, (ran.p * np.abs(d_p)).sum(axis=-1, keepdims=True), ran.p.shape[-1])
        d_s = self.kept(ran.p * self.moved(d_p - mean, self.unit * (np.abs(d_p) + np.abs(mean))), 2)
        turned = np.swapaxes(d_s, -1, -2), np.swapaxes(ran.p, -1, -2)
        sums = (
            (ran.scale * d_s, ran.k),
            (ran.scale * turned[0], ran.q),
            (turned[1], c),
        )
        found["scores"] = d_s.reshape(self.copies, len(d_s) // self.copies, *d_s.shape[1:])
        for name, x, (left, right) in zip(("query", "key", "value"), ran.tokens, sums, strict=True):
            due = self.kept(self.summed(left @ right, np.abs(left) @ np.abs(right), left.shape[-1]), 2)
            matrix = narrow(getattr(w, f"W_{name[0]}"))
            d_x, found[f"W_{name[0]}"], found[f"b_{name[0]}"] = self.linear_back(x, matrix, multihead.merge(due))
            # half types may keep one summand for every head, and their partial sums
            summands = [np.abs(part @ matrix[rows]) for part, rows in self._by_head(multihead.merge(due), heads)]
            found[name] = self.moved(d_x, self.unit * np.sum(summands, axis=0))
        return found

    @staticmethod
    def _by_head(arriving: Array, heads: int) -> Iterator[tuple[Array, slice]]:
        width = arriving.shape[-1] // heads
        for head in range(heads):
            rows = slice(head * width, (head + 1) * width)
            yield arriving[..., rows], rows


@dataclass(frozen=True)
class Norm:
    """A layer norm that was run, with what its way back needs."""

    z: Array
    s: Array
    gain: Array
    y: Array


@dataclass(frozen=True)
class Attention:
    """A multi-head attention that was run, with what its way back needs; ``heads`` is what enters W_o."""

    tokens: tuple[Array, Array, Array]
    q: Array
    k: Array
    v: Array
    p: Array
    scale: float
    heads: Array
    out: Array


def spread(moved: Array, exact: Array, noise: Noise) -> Array:
    """The bound: SPREADS times what roundings moved the copies [copies, …], never less than in the rest of the row."""
    with np.errstate(invalid="ignore", over="ignore"):
        square = ((moved.reshape(noise.copies, *exact.shape) - narrow(exact)) ** 2).mean(axis=0)
    row = np.where(np.isfinite(square), square, 0.0)
    row = row.mean(axis=-1, keepdims=True) if row.shape[-1:] != (0,) else row
    bound = SPREADS / noise.scale * np.sqrt(np.maximum(square, row))
    unit, size = noise.format.unit, np.abs(np.nan_to_num(narrow(exact)))
    return overflow_free(bound + unit * (size + bound) + noise.format.eta)
