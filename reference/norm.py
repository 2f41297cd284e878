"""Layer normalisation, its gradients, and the rounding errors that a correct program may make.

y = z ⊙ gain + shift,   z = d / s,   s = √(v + ε),   v = mean(d²),   d = x − mean(x)      (Ba et al. 2016)
RMS normalisation is the same with d = x                              (Zhang & Sennrich 2019)

Shapes: x [..., D]; gain and shift [D]; means run over the last axis.

The bounds hold for two passes over a row as for Welford's updates, in any order and in blocks that
are merged (Chan, Golub & LeVeque 1983), for (x − mean)/s as for x·(1/s) − mean·(1/s), and, in half
types, for programs that store every intermediate result in the input's format. They do not hold for
the one-pass variance mean(x²) − mean(x)², whose error grows with the square of mean/√v and not with
its first power. They presume that the squares of a row can be summed without overflow, and those of
the gradients that 1/s³ is in range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqlaws.reference.monte_carlo import Noise
from seqlaws.reference.rounding import Array, Format, gamma, narrow, overflow_free, stored
from seqlaws.reference.softmax import stored_underflow


@dataclass(frozen=True)
class Norm:
    """One normalisation, computed step by step and kept, so that bounds and gradients can refer to it."""

    x: Array
    gain: Array
    shift: Array
    eps: float
    mean: Array
    d: Array
    v: Array
    s: Array
    z: Array
    y: Array
    centred: bool


def _mean(x: Array) -> Array:
    """The mean over the last axis, which is kept."""
    return np.asarray(x.sum(axis=-1, keepdims=True) / x.shape[-1])


def evaluate(x: Array, gain: Array, shift: Array, eps: float, *, kind: str = "layer") -> Norm:
    """A normalisation with everything it computes on the way; ``kind`` is "layer" or "rms"."""
    centred = kind == "layer"
    mean = _mean(x) if centred else np.zeros_like(x[..., :1])
    d = x - mean
    v = _mean(d * d)
    s = np.sqrt(v + x.dtype.type(eps))
    z = d / s
    return Norm(x, gain, shift, eps, mean, d, v, s, z, z * gain + shift, centred)


def norm(x: Array, gain: Array, shift: Array, eps: float, *, kind: str = "layer") -> Array:
    """The output, shaped like x."""
    return evaluate(x, gain, shift, eps, kind=kind).y


@dataclass(frozen=True)
class Errors:
    """How far the steps of a normalisation may be off: d and z per entry, 1/s per row and relative to itself.

    ``offset`` is the error of the mean, ``raw`` the size of x and mean before one is taken off the other.
    """

    offset: Array
    raw: Array
    inverse: Array
    z: Array


def errors(m: Norm, format: Format) -> Errors:
    """The errors of the steps.

    A mean by any order of summation, by running updates or by merged blocks is off by γ(n+16)·max|x|.
    The squares that are summed by Welford's updates are those of distances from running means, which
    are off by as much; merging blocks triples what rounding does to the variance.
    """
    n, ua, us = m.x.shape[-1], format.accumulator, stored(format)
    lost = format.tiny + (format.eta if format.half else 0.0)
    offset, d = np.zeros_like(m.mean), np.zeros_like(m.x)
    if m.centred:
        offset = gamma(n + 16, ua) * np.abs(m.x).max(axis=-1, keepdims=True) + 3 * lost
        offset = offset + 3 * us * (np.abs(m.mean) + offset)
    if m.centred or us:
        d = offset + (ua + us) * (np.abs(m.d) + offset) + lost
    raw = np.abs(m.x) + np.abs(m.mean) + offset
    spread = np.sqrt(_mean(d * d))
    # the root of the mean square is a norm: an error of d changes it by no more than its own norm; what
    # updates and merges do besides is 4 (√v + spread)·spread
    root = np.sqrt(m.v)
    most = (root + spread) ** 2
    rounding = 4 * spread * (root + spread) + (gamma(n + 16, ua) + 4 * us) * most + 4 * lost
    rounding = rounding + (ua + us) * (2 * m.eps + most + rounding) + 2 * lost
    # the denominator never falls below ε itself
    floor = np.maximum(m.eps * (1 - 4 * (ua + us)) - 3 * lost, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = np.maximum(np.maximum(root - spread, 0.0) ** 2 + m.eps - rounding, floor)
        inverse = np.sqrt((m.v + m.eps) / lowest)
    inverse = inverse * (1 + gamma(8, ua) + 2 * us) - 1
    z = (d + (np.abs(m.d) + d) * inverse + (4 * ua + 3 * us) * (1 + inverse) * raw) / m.s + 2 * lost
    return Errors(offset, raw, inverse, z)


def output_error(m: Norm, e: Errors, format: Format) -> Array:
    """The error of z ⊙ gain + shift; gain may be multiplied into 1/s before x is, and shift into the mean's share."""
    rounding = gamma(6, format.accumulator) + 3 * stored(format)
    product = np.abs(m.gain) * (
        e.z + rounding * (np.abs(m.z) + e.z + 2 * e.raw / m.s * (1 + e.inverse) * _folds(format))
    )
    # where no mean is taken off, a half type may hold gain/s, of which little is left where the gain is small
    folded = 0.0 if m.centred else np.abs(m.x)
    error = product + rounding * np.abs(m.shift) + 2 * format.tiny
    return np.asarray(error + format.unit * (np.abs(m.y) + error) + format.eta * (1 + 2 * np.abs(m.gain) + folded))


def _folds(format: Format) -> float:
    """Programs fold the gain into 1/s in the accumulator alone: in a half type that would lose the row."""
    return format.accumulator / (format.accumulator + stored(format))


def bound(m: Norm, format: Format) -> Array:
    """The error that a correct normalisation may show on these very numbers."""
    return overflow_free(output_error(m, errors(m, format), format))


def gradients(m: Norm, cotangent: Array) -> dict[str, Array]:
    """The gradients of ⟨y, cotangent⟩: dx = (h − mean(h) − z·mean(h ⊙ z))/s with h = cotangent ⊙ gain."""
    h = cotangent * m.gain
    inner = h - m.z * _mean(h * m.z)
    if m.centred:
        inner = inner - _mean(h)
    over = tuple(range(m.x.ndim - 1))
    return {"x": inner / m.s, "gain": (cotangent * m.z).sum(axis=over), "shift": cotangent.sum(axis=over)}


def gradient_bound(m: Norm, cotangent: Array, format: Format) -> dict[str, Array]:
    """The error that correct gradients may show.

    A backward pass may take Σ h ⊙ x and Σ h instead of Σ h ⊙ z, which costs the size of x and mean;
    one through every step of the definition adds the mean of a d that does not quite sum to 0.
    """
    n, ua, us = m.x.shape[-1], format.accumulator, stored(format)
    e = errors(m, format)
    lost = format.tiny + (format.eta if format.half else 0.0)
    h = cotangent * m.gain
    h_error = 2 * (ua + us) * np.abs(h) + 2 * lost
    most, z = np.abs(h) + h_error, np.abs(m.z) + e.z
    sums = gamma(n + 16, ua) + 4 * us
    grown = 1 + e.inverse
    raw = e.raw / m.s * grown

    along = _mean(h * m.z)
    along_error = _mean(h_error * z + np.abs(h) * e.z) + sums * _mean(most * z) + gamma(n + 16, ua) * _mean(most * raw)
    along_error = along_error + 4 * lost
    most_along = np.abs(along) + along_error
    radial = np.abs(m.z) * along_error + e.z * most_along + (6 * ua + 8 * us) * z * most_along
    radial = radial + (e.offset / m.s * grown + 6 * ua * raw) * most_along
    inner = h - m.z * along
    terms = most + z * most_along
    error = h_error + radial
    if m.centred:
        mean = _mean(h)
        inner = inner - mean
        mean_error = _mean(h_error) + sums * _mean(most) + 2 * lost
        # composed step by step, the mean is taken over both other terms
        mean_error = mean_error + sums * _mean(terms) + 2 * us * _mean(terms)
        error = error + mean_error
        terms = terms + np.abs(mean) + mean_error
    error = error + (4 * ua + 6 * us) * terms
    dx = (error + (np.abs(inner) + error) * e.inverse + (8 * ua + 2 * us) * grown * terms) / m.s
    # what reaches the variance may underflow before it is multiplied by 2 d
    dx = dx + 4 * lost * (1 + 1 / m.s + 2 * e.raw)
    found = {"x": dx + format.unit * (np.abs(inner) / m.s + dx) + format.eta}

    over = tuple(range(m.x.ndim - 1))
    rows = int(np.prod(m.x.shape[:-1]))
    tokens = gamma(rows + 16, ua) + 4 * us
    sent = np.abs(cotangent)
    for name, value, off in (("gain", z, sent * e.z), ("shift", np.ones_like(z), np.zeros_like(z))):
        size = (sent * value).sum(axis=over)
        total = off.sum(axis=over) + tokens * size + (rows + 4) * lost
        found[name] = total + format.unit * (size + total) + format.eta
    return {name: overflow_free(array) for name, array in found.items()}


@dataclass(frozen=True)
class Rounded:
    """A layer norm that was run with simulated roundings, with what its way back needs."""

    z: Array
    s: Array
    gain: Array
    y: Array


def rounded(noise: Noise, x: Array, gain: Array, shift: Array, exact: Norm) -> Rounded:
    """A layer norm, of which each step is kept; or folded, so that gain and mean meet before x does.

    A row that roundings may move by half of its own spread could lose it: of such a row nothing is said.
    """
    size, accumulator = np.abs(x).mean(axis=-1, keepdims=True), noise.scale * noise.format.accumulator
    mean = noise.kept(noise.summed(x.mean(axis=-1, keepdims=True), size, x.shape[-1]))
    d = noise.moved(noise.kept(x - mean), accumulator * (np.abs(x) + size))
    v = (d * d).mean(axis=-1, keepdims=True)
    s = noise.kept(np.sqrt(noise.kept(noise.summed(v, v, x.shape[-1]) + exact.eps, 2)), 2)
    lost = 2 * noise.reach(d, narrow(exact.d)) > np.tile(narrow(exact.s), (noise.copies, 1, 1))
    z = np.where(lost, np.nan, noise.kept(d / s, 2))
    folded = 2 * accumulator * (np.abs(x) + size) / s * np.abs(gain)
    return Rounded(z, s, gain, noise.moved(noise.kept(noise.kept(z * gain) + shift), folded))


def rounded_back(noise: Noise, ran: Rounded, arriving: Array) -> tuple[Array, Array, Array]:
    """What a layer norm sends back to x, to its gain and to its shift; the latter for each copy."""
    h, n = noise.kept(arriving * ran.gain), ran.z.shape[-1]
    along, across = (h * ran.z).mean(axis=-1, keepdims=True), h.mean(axis=-1, keepdims=True)
    size = np.abs(h).mean(axis=-1, keepdims=True)
    along = noise.summed(along, np.abs(h * ran.z).mean(axis=-1, keepdims=True), n)
    inner = h - noise.kept(ran.z * along) - noise.summed(across, size, n)
    inner = noise.moved(inner, noise.unit * (np.abs(h) + np.abs(ran.z * along) + size))
    ones, products = np.ones((*h.shape[:-1], 1)), noise.kept(arriving * ran.z)
    d_gain, d_shift = noise.over_tokens(products, ones), noise.over_tokens(arriving, ones)
    # what reaches the variance may underflow before it is multiplied by 2 d
    underflow = noise.scale * stored_underflow(noise.format) * (1 / ran.s + 2 * np.abs(ran.z) * ran.s)
    d_x = inner / ran.s
    return noise.moved(d_x, noise.rounding(d_x, 2), underflow), d_gain[..., 0], d_shift[..., 0]
