"""Scaled dot-product attention and the rounding errors that a correct program may make.

o_i = Σ_j p_ij v_j,   p_i = softmax(s_i),   s_ij = scale·⟨q_i, k_j⟩ + m_ij      (Vaswani et al. 2017, eq. 1)

Shapes: q [B,H,Tq,D], k [B,Hkv,Tk,D], v [B,Hkv,Tk,Dv]; query head h reads key/value head
h // (H // Hkv); mask bool (True: visible) or additive, broadcastable to [B,H,Tq,Tk].

The bound holds for every order of summation, with or without a running maximum, for programs that
store scores or weights in the input's format, and for those that merge blocks of at least eight keys
as shares σ and 1 − σ of two outputs. It presumes at least one visible key per row and products ⟨q, k⟩
that do not overflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seqlaws.reference.rounding import Array, Format, gamma, magnitudes, narrow, overflow_free, stored, sums
from seqlaws.reference.softmax import log_softmax, stored_underflow, weight_error


def visibility(q_len: int, k_len: int, mask: Array | None, is_causal: bool, alignment: str = "top_left") -> Array:
    """Which keys each query may see, broadcastable to [B,H,Tq,Tk]."""
    seen = np.ones((q_len, k_len), dtype=bool)
    if is_causal:
        seen = np.tril(seen, 0 if alignment == "top_left" else k_len - q_len)
    if mask is None:
        return seen
    return seen & (mask if mask.dtype == bool else ~np.isneginf(mask))


@dataclass(frozen=True)
class Attention:
    """One attention, computed step by step and kept, so that bounds and gradients can refer to it."""

    q: Array
    k: Array
    v: Array
    groups: int
    scale: float
    scores: Array
    log_p: Array
    p: Array
    out: Array


def evaluate(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    empty_row: str = "zeros",
    alignment: str = "top_left",
) -> Attention:
    """Attention with everything it computes on the way, heads expanded.

    Where there are no keys at all, the sum over them is zero in every dialect.
    """
    groups = q.shape[1] // max(1, k.shape[1])
    k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
    factor = 1.0 / np.sqrt(q.dtype.type(max(1, q.shape[-1]))) if scale is None else scale
    seen = visibility(q.shape[2], k.shape[2], mask, is_causal, alignment)
    scores = factor * (q @ np.swapaxes(k, -1, -2))
    if mask is not None and mask.dtype != bool:
        scores = scores + mask
    scores = np.where(seen, scores, -np.inf)
    log_p = log_softmax(scores, -1)
    empty = ~seen.any(axis=-1, keepdims=True)
    if empty_row == "mean":
        log_p = np.where(empty, -np.log(q.dtype.type(max(1, k.shape[2]))), log_p)
    p = np.exp(log_p)
    out = np.where(empty, np.nan, p @ v) if empty_row == "nan" and k.shape[2] else p @ v
    return Attention(q, k, v, groups, factor, scores, log_p, p, out)


def attend(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    empty_row: str = "zeros",
    alignment: str = "top_left",
) -> Array:
    """The output [B,H,Tq,Dv]; a row without any visible key gives zeros, NaN or the mean, as ``empty_row`` says."""
    return evaluate(q, k, v, mask=mask, is_causal=is_causal, scale=scale, empty_row=empty_row, alignment=alignment).out


def narrowed(a: Attention) -> Attention:
    """An attention in float64, for bounds."""
    return Attention(
        narrow(a.q), narrow(a.k), narrow(a.v), a.groups, float(a.scale),
        narrow(a.scores), narrow(a.log_p), narrow(a.p), narrow(a.out),
    )  # fmt: skip


@dataclass(frozen=True)
class InputErrors:
    """How far the inputs of an attention may already be off, where they are results themselves."""

    q: Array | float = 0.0
    k: Array | float = 0.0
    v: Array | float = 0.0


MANY = 2**17
"""So many scores are bounded at a time, with four channels of the values each, or those of one query: more of them no
longer fit into a processor's cache."""


def blocks_of_queries(a: Attention) -> Iterator[slice]:
    """The queries in blocks: a bound treats each of them by itself."""
    batch, heads, queries, keys = a.scores.shape
    size = max(1, int(MANY / max(1, batch * heads * keys * max(1, a.v.shape[-1] / 4))))
    for start in range(0, max(1, queries), size):
        yield slice(start, start + size)


def at_queries(a: Attention, some: slice) -> Attention:
    """An attention at some of its queries."""

    def cut(array: Array) -> Array:
        return array[:, :, some]

    return Attention(cut(a.q), a.k, a.v, a.groups, a.scale, cut(a.scores), cut(a.log_p), cut(a.p), cut(a.out))


def exponent_error(a: Attention, format: Format, given: InputErrors) -> Array:
    """How far each exponent s_ij − max_j s_ij may be off, with the error of exp itself counted as one."""
    q, k = np.abs(a.q), np.swapaxes(np.abs(a.k), -1, -2)
    dq, dk = given.q, np.swapaxes(np.broadcast_to(given.k, a.k.shape), -1, -2)
    width, factor = a.q.shape[-1], abs(a.scale)
    size, inherited = factor * magnitudes(q, k), np.zeros(1)
    if np.any(given.q) or np.any(given.k):
        inherited = factor * (magnitudes(np.broadcast_to(dq, q.shape), k) + magnitudes(q + dq, dk))
    seen = np.isfinite(a.scores)
    s = np.where(seen, np.abs(a.scores), 0.0)
    error = sums(format, width) * (size + inherited) + inherited + (width + 8) * format.tiny
    error = error + (factor * width + 3) * stored_underflow(format)
    if format.half:
        raw = np.abs(factor * magnitudes(a.q, np.swapaxes(a.k, -1, -2)))
        error = error + stored(format) * 2.01 * (raw + error)
    error = error + (format.accumulator + stored(format)) * s
    error = np.where(seen, error, 0.0)
    worst, top = error.max(axis=-1, keepdims=True, initial=0), s.max(axis=-1, keepdims=True, initial=0)
    distance = np.where(seen, a.scores.max(axis=-1, keepdims=True, initial=-np.inf) - a.scores, 0.0)
    rounding = (format.accumulator + stored(format)) * (distance + 2 * worst) + 2 * format.accumulator * (top + worst)
    rescaling = 4 * a.k.shape[2] * format.accumulator
    constant = rescaling - np.log1p(-format.exp_error) + 2 * stored(format)
    return np.where(seen, error + rounding + constant, 0.0)


def common_error(a: Attention, format: Format) -> Array:
    """How far all weights of a row may be off together, as exp(s_j − l) with a rounded l = log Σ exp s."""
    top = np.where(np.isfinite(a.scores), np.abs(a.scores), 0.0).max(axis=-1, keepdims=True, initial=0)
    return np.asarray(np.expm1(2 * format.accumulator * (top + np.log(a.k.shape[2] + 1.0))))


def merging_error(keys: int, format: Format) -> float:
    """What is lost where blocks of keys are merged by out ← out − σ (out − block), as a share of the largest visible
    number: each time a rounding of both, of which 1 − σ knows nothing."""
    return 3 * ((keys - 1) // 8) * format.accumulator if keys > 8 else 0.0


def largest_visible(per_key: Array, seen: Array) -> Array:
    """The largest of some non-negative numbers [B,H,Tk,V] that each query sees, [B,H,Tq,V]."""
    if seen.all():
        return per_key.max(axis=-2, keepdims=True, initial=0.0)
    columns = (
        np.where(seen, per_key[:, :, None, :, each], 0.0).max(-1, initial=0.0) for each in range(per_key.shape[-1])
    )
    return np.stack(list(columns), axis=-1) if per_key.shape[-1] else np.zeros((*seen.shape[:-1], 0))


def bound(a: Attention, format: Format, given: InputErrors | None = None) -> Array:
    """The error that a correct attention may show on these very numbers, shaped like its output.

    The error of the weights acts on v_j − o alone, because Σ_j p_j (v_j − o) = 0: constant values
    come back with nothing but the rounding of sums. However wrong they are, weights are shares of 1,
    so the visible values farthest away limit what they can do.
    """
    a, given = narrowed(a), given or InputErrors()
    parts = []
    for some in blocks_of_queries(a):
        dq = given.q[:, :, some] if isinstance(given.q, np.ndarray) else given.q
        here, of_here = at_queries(a, some), InputErrors(dq, given.k, given.v)
        parts.append(_bound(here, format, of_here, exponent_error(here, format, of_here)))
    return np.concatenate(parts, axis=2)


def _bound(a: Attention, format: Format, given: InputErrors, eps: Array) -> Array:
    keys = a.k.shape[2]
    raised = np.exp(a.log_p + eps)
    total = np.exp(a.log_p - eps).sum(axis=-1, keepdims=True)
    total = np.where(np.isneginf(a.log_p).all(axis=-1, keepdims=True), 1.0, total)
    extra = np.exp(a.log_p) * np.expm1(eps)
    size = np.abs(a.v) + given.v
    # keys come last, where sums over them are fast
    apart = np.ascontiguousarray(np.swapaxes(a.v, -1, -2))[:, :, None] - a.out[..., None]
    np.abs(apart, out=apart)
    centred = magnitudes(apart, extra[..., None])[..., 0]
    seen = np.isfinite(a.log_p)[..., None, :]

    # where exponents are off by less than 0.4, the quotients stay below what the farthest values allow
    wild = eps.max(axis=(1, 2, 3), initial=0.0) >= 0.4

    def limited(quotient: Array, per_key: Array) -> Array:
        """The quotient, or the largest visible value where an exponent is wrong by hundreds and it overflows."""
        if wild.any():
            largest = np.where(seen[wild], per_key[wild], 0.0).max(axis=-1, initial=0.0)
            quotient[wild] = np.fmin(quotient[wild], largest)
        return quotient

    def to_each_query(per_key: Array) -> Array:
        return np.swapaxes(per_key, -1, -2)[:, :, None]

    spread = np.nan_to_num(limited(centred / total, apart))
    given_v = np.broadcast_to(given.v, a.v.shape)
    inherited = limited(magnitudes(raised, given_v) / total, to_each_query(given_v)) if np.any(given.v) else 0.0
    mass = limited(magnitudes(raised, size) / total, to_each_query(size))
    g = gamma(2 * keys + 2, format.accumulator)
    stores, lost = 3 * stored(format), stored_underflow(format)
    noise = ((1 + stores) * (1 + g) - 1) * mass
    noise = noise + (2 * lost + format.tiny) * size.sum(axis=-2, keepdims=True) + keys * lost
    if merged := merging_error(keys, format):
        noise = noise + merged * largest_visible(size, np.isfinite(a.log_p))
    out = np.abs(np.nan_to_num(a.out))
    before = (spread + inherited + noise + (g + stores + common_error(a, format)) * out) / (1 - g)
    return overflow_free(before + format.unit * (out + before) + format.eta)


@dataclass(frozen=True)
class Gradients:
    """The gradients of ⟨out, cotangent⟩, or the errors allowed to them; k and v summed over their groups."""

    q: Array
    k: Array
    v: Array
    scores: Array


def gradients(a: Attention, cotangent: Array) -> Gradients:
    """dV = PᵀC, dS = P ⊙ (CVᵀ − ⟨C, O⟩), dQ = scale·dS K, dK = scale·dSᵀQ."""
    p = np.exp(a.log_p)
    d_p = cotangent @ np.swapaxes(a.v, -1, -2)
    d_scores = np.where(np.isfinite(a.scores), p * (d_p - (p * d_p).sum(axis=-1, keepdims=True)), 0.0)
    return Gradients(
        q=a.scale * (d_scores @ a.k),
        k=_over_groups(a.scale * (np.swapaxes(d_scores, -1, -2) @ a.q), a.groups),
        v=_over_groups(np.swapaxes(p, -1, -2) @ cotangent, a.groups),
        scores=d_scores,
    )


def gradient_bound(a: Attention, cotangent: Array, format: Format) -> Gradients:
    """The error that correct gradients may show, by running error analysis through the same steps."""
    u, half = format.unit, stored(format)
    a, cotangent = narrowed(a), narrow(cotangent)
    of_blocks = [_errors(at_queries(a, some), cotangent[:, :, some], format) for some in blocks_of_queries(a)]
    most, p_error, most_scores, scores = (np.concatenate(blocks, axis=2) for blocks in zip(*of_blocks, strict=True))
    q, c = np.abs(a.q), np.abs(cotangent)

    def through(weights: Array, weights_error: Array, other: Array, factor: float) -> Array:
        size = magnitudes(weights, other)
        error = magnitudes(weights_error, other)
        error = factor * (error + (sums(format, other.shape[-2]) + 3 * half) * size)
        return error + u * (factor * size + error) + (other.shape[-2] + 2) * (format.eta + format.tiny)

    transposed = np.swapaxes(scores, -1, -2), np.swapaxes(most_scores, -1, -2)
    factor = abs(a.scale)
    group_sum = gamma(a.groups + 2, format.accumulator) + half + u
    d_k, d_v = magnitudes(transposed[1], q) * factor, magnitudes(np.swapaxes(most, -1, -2), c)
    k_error = through(transposed[1], transposed[0], q, factor) + group_sum * d_k
    p_most, p_off = np.swapaxes(most, -1, -2), np.swapaxes(p_error, -1, -2)
    v_error = through(p_most, p_off, c, 1.0) + group_sum * d_v
    return Gradients(
        q=overflow_free(through(most_scores, scores, np.abs(a.k), factor)),
        k=overflow_free(_over_groups(k_error, a.groups)),
        v=overflow_free(_over_groups(v_error, a.groups)),
        scores=overflow_free(scores + format.unit * most_scores),
    )


def _errors(a: Attention, cotangent: Array, format: Format) -> tuple[Array, Array, Array, Array]:
    """How large weights and the gradients of scores may be, and how far off each: weights, their errors, gradients,
    their errors."""
    p, c = np.exp(a.log_p), np.abs(cotangent)
    v, half = np.abs(a.v), stored(format)
    eps = exponent_error(a, format, InputErrors())
    # a weight lies between 0 and 1, however wrong its exponent is (fmin: the error may overflow to NaN)
    p_error = np.fmin(weight_error(a.log_p, eps, -1), 1.0)
    merged = merging_error(a.k.shape[2], format)
    p_error = p_error + (gamma(a.k.shape[2] + 4, format.accumulator) + 3 * half) * (p + p_error) + merged
    underflow = 2 * stored_underflow(format) + format.tiny
    p_error = np.where(np.isfinite(a.log_p), p_error + underflow, 0.0)
    most = p + p_error

    d_p = magnitudes(cotangent, np.swapaxes(a.v, -1, -2))
    d_p_error = (sums(format, a.v.shape[-1]) + half) * magnitudes(c, np.swapaxes(v, -1, -2))
    mean = (p * d_p).sum(axis=-1, keepdims=True)
    out_size = magnitudes(most, v)
    via_out = (c * (_bound(a, format, InputErrors(), eps) + sums(format, a.v.shape[-1]) * out_size)).sum(
        axis=-1, keepdims=True
    )
    via_p = (p_error * np.abs(d_p) + most * d_p_error + sums(format, a.k.shape[2]) * most * np.abs(d_p)).sum(
        axis=-1, keepdims=True
    )
    mean_error = np.maximum(via_out, via_p) + half * np.abs(mean)
    centred = np.abs(d_p - mean)
    centred_error = d_p_error + mean_error
    centred_error = centred_error + (format.accumulator + half) * (np.abs(d_p) + np.abs(mean) + centred_error)
    scores = p * centred_error + p_error * (centred + centred_error)
    scores = scores + (2 * half + 4 * format.accumulator) * (p * centred + scores) + 2 * format.eta + format.tiny
    # the share of a block has the slope σ (1 − σ)
    scores = scores + merged * np.where(np.isfinite(a.scores), np.abs(d_p), 0.0).max(axis=-1, keepdims=True, initial=0)
    scores = np.where(np.isfinite(a.scores), scores, 0.0)
    return most, p_error, p * centred + scores, scores


def mask_gradient(d_scores: Array, mask: Array) -> Array:
    """What reaches an additive mask: the sum over the axes along which it was broadcast."""
    extra = d_scores.ndim - mask.ndim
    summed = d_scores.sum(axis=tuple(range(extra)))
    narrow = tuple(axis for axis in range(mask.ndim) if mask.shape[axis] == 1 and summed.shape[axis] != 1)
    return summed.sum(axis=narrow, keepdims=True)


def mask_gradient_bound(errors: Array, d_scores: Array, mask: Array, format: Format) -> Array:
    """The error allowed to the gradient of an additive mask."""
    terms = d_scores.size / max(1, mask.size)
    size = mask_gradient(np.abs(d_scores) + errors, mask)
    total = mask_gradient(errors, mask) + (gamma(terms + 4, format.accumulator) + 2 * stored(format)) * size
    return overflow_free(total + format.unit * size + format.eta)


def _over_groups(per_head: Array, groups: int) -> Array:
    batch, heads, *rest = per_head.shape
    return per_head.reshape(batch, heads // max(1, groups), groups, *rest).sum(axis=2)
