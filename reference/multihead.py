"""Multi-head attention and the rounding errors that a correct program may make.

out = W_o·(o_1 ‖ … ‖ o_H) + b_o,   o_h = attention(q_h, k_h, v_h)          (Vaswani et al. 2017, section 3.2.2)
q = W_q·query + b_q,   k = W_k·key + b_k,   v = W_v·value + b_v

Shapes: query [B,Tq,E], key and value [B,Tk,E]; weights [E,E] and biases [E], y = x @ W.T + b; head h
owns the columns h·d … (h+1)·d of q, k and v, with d = E / H and scores divided by √d.

The bound carries the rounding of the projections through attention and through the output
projection. It presumes what the bound of attention presumes. That of the gradients is simulated
(`monte_carlo`): worst cases multiplied through five sums allow more than there is in a half type.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seqlaws.reference import attention
from seqlaws.reference.monte_carlo import Noise, spread
from seqlaws.reference.rounding import Array, Format, gamma, magnitudes, narrow, overflow_free, stored
from seqlaws.reference.softmax import log_softmax, stored_underflow

# up to here twelve times what an average rounding does to a weight, 12 (e^(r/6) − 1), still covers what six
# times that rounding does: e^r − 1
WINNING = 1.0


class Weights(Protocol):
    """The four projections."""

    W_q: Array
    W_k: Array
    W_v: Array
    W_o: Array
    b_q: Array
    b_k: Array
    b_v: Array
    b_o: Array


@dataclass(frozen=True)
class MultiHead:
    """One multi-head attention, computed step by step and kept, so that bounds and gradients can refer to it.

    ``hiding`` is the mask with causality in it.
    """

    query: Array
    key: Array
    value: Array
    w: Weights
    hiding: Array | None
    empty_row: str
    inner: attention.Attention
    heads: Array
    out: Array


def split(x: Array, num_heads: int) -> Array:
    """[B,T,E] as [B,H,T,d]: the columns of head h become an axis of their own."""
    batch, length, width = x.shape
    return x.reshape(batch, length, num_heads, width // num_heads).swapaxes(1, 2)


def merge(x: Array) -> Array:
    """[B,H,T,d] as [B,T,E]: the heads side by side."""
    batch, heads, length, width = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * width)


def evaluate(
    query: Array,
    key: Array,
    value: Array,
    w: Weights,
    *,
    num_heads: int,
    mask: Array | None = None,
    is_causal: bool = False,
    empty_row: str = "zeros",
    alignment: str = "top_left",
) -> MultiHead:
    """Multi-head attention with everything it computes on the way."""
    if is_causal:
        seen = attention.visibility(query.shape[1], key.shape[1], mask, True, alignment)
        mask = seen if mask is None or mask.dtype == bool else np.where(seen, mask, -np.inf)
    inner = attention.evaluate(
        split(query @ w.W_q.T + w.b_q, num_heads),
        split(key @ w.W_k.T + w.b_k, num_heads),
        split(value @ w.W_v.T + w.b_v, num_heads),
        mask=mask, empty_row=empty_row,
    )  # fmt: skip
    heads = merge(inner.out)
    return MultiHead(query, key, value, w, mask, empty_row, inner, heads, heads @ w.W_o.T + w.b_o)


def mha(
    query: Array,
    key: Array,
    value: Array,
    w: Weights,
    *,
    num_heads: int,
    mask: Array | None = None,
    is_causal: bool = False,
    empty_row: str = "zeros",
    alignment: str = "top_left",
) -> Array:
    """The output [B,Tq,E]; where a query sees no key, ``empty_row`` says what its heads hold."""
    return evaluate(
        query, key, value, w, num_heads=num_heads, mask=mask, is_causal=is_causal, empty_row=empty_row,
        alignment=alignment,
    ).out  # fmt: skip


def linear_error(x: Array, x_error: Array | float, matrix: Array, offset: Array, format: Format) -> Array:
    """The error of ``x @ matrix.T + offset`` if x is off by ``x_error``.

    Half types store the product before the offset is added and after.
    """
    weights, offset = np.abs(matrix).T, narrow(offset)
    inherited = magnitudes(np.broadcast_to(x_error, x.shape), weights) if np.any(x_error) else np.zeros(1)
    size, products = magnitudes(np.abs(x), weights) + inherited, magnitudes(x, matrix.T)
    terms = matrix.shape[1]
    error = inherited + gamma(terms + 8, format.accumulator) * (size + np.abs(offset)) + terms * format.tiny
    error = error + stored(format) * (np.abs(products) + error)
    total: Array = error + stored(format) * (np.abs(products + offset) + error) + 2 * format.eta
    return total


def projection_errors(m: MultiHead, format: Format) -> attention.InputErrors:
    """How far queries, keys and values may be off when they enter attention."""
    num_heads = m.inner.q.shape[1]
    return attention.InputErrors(
        q=split(linear_error(m.query, 0.0, m.w.W_q, m.w.b_q, format), num_heads),
        k=split(linear_error(m.key, 0.0, m.w.W_k, m.w.b_k, format), num_heads),
        v=split(linear_error(m.value, 0.0, m.w.W_v, m.w.b_v, format), num_heads),
    )


def bound(m: MultiHead, format: Format) -> Array:
    """The error that a correct multi-head attention may show on these very numbers."""
    heads_error = merge(attention.bound(m.inner, format, projection_errors(m, format)))
    return overflow_free(linear_error(np.nan_to_num(m.heads), heads_error, m.w.W_o, m.w.b_o, format))


def gradients(m: MultiHead, cotangent: Array) -> dict[str, Array]:
    """The gradients of ⟨out, cotangent⟩ by name; "scores" is what an additive mask receives."""
    inner = attention.gradients(m.inner, split(cotangent @ m.w.W_o, m.inner.q.shape[1]))
    found = {"W_o": over_tokens(cotangent, m.heads), "b_o": cotangent.sum(axis=(0, 1)), "scores": inner.scores}
    for name, letter in (("query", "q"), ("key", "k"), ("value", "v")):
        arriving = merge(getattr(inner, letter))
        found[name] = arriving @ getattr(m.w, f"W_{letter}")
        found[f"W_{letter}"] = over_tokens(arriving, getattr(m, name))
        found[f"b_{letter}"] = arriving.sum(axis=(0, 1))
    return found


@dataclass(frozen=True)
class Rounded:
    """A multi-head attention that was run with simulated roundings, with what its way back needs.

    ``again`` is what weights may be off by, row by row, that are computed anew; ``heads`` is what enters W_o.
    """

    tokens: tuple[Array, Array, Array]
    q: Array
    k: Array
    v: Array
    p: Array
    again: Array
    scale: float
    heads: Array
    out: Array


def rounded(noise: Noise, tokens: tuple[Array, Array, Array], exact: MultiHead) -> Rounded:
    """Multi-head attention over the copies of query, key and value.

    Of a row whose scores roundings may move by more than WINNING nothing is said: another key could win.
    """
    w, heads = exact.w, exact.inner.q.shape[1]
    q, k, v = (
        split(noise.linear(x, narrow(matrix), narrow(offset)), heads)
        for x, matrix, offset in zip(tokens, (w.W_q, w.W_k, w.W_v), (w.b_q, w.b_k, w.b_v), strict=True)
    )
    mask = noise.copied_mask(exact.hiding, len(exact.query))
    a = attention.evaluate(q, k, v, mask=mask, empty_row=exact.empty_row)
    size = abs(a.scale) * (np.abs(q) @ np.swapaxes(np.abs(k), -1, -2))
    scores = noise.kept(noise.summed(a.scores, size, q.shape[-1]), 2)
    empty = ~np.isfinite(a.scores).any(axis=-1, keepdims=True)
    log_p = np.where(empty, a.log_p, log_softmax(scores, -1))
    log_p = np.where(noise.reach(scores, narrow(exact.inner.scores)) > WINNING, np.nan, log_p)
    distance = np.where(np.isfinite(log_p), np.abs(log_p), 0.0)
    # exp(s − l) with the logarithm l of the sum kept from the way there is off by the roundings of s and l
    top = np.where(np.isfinite(a.scores), np.abs(a.scores), 0.0).max(axis=-1, keepdims=True, initial=0)
    accumulator = noise.scale * noise.format.accumulator
    in_exp = noise.scale * noise.format.exp_error + 2 * accumulator * top + noise.unit * (distance + 3)
    p = noise.moved(np.exp(log_p), in_exp * np.exp(log_p) + noise.scale * stored_underflow(noise.format))
    together = noise.kept(np.ones_like(top), 2)
    # where scores are computed anew after l, their roundings stay, as those of l do
    again = noise.summing(
        np.where(np.isfinite(a.scores), size, 0.0).max(axis=-1, keepdims=True, initial=0), q.shape[-1]
    )
    again = again + 2 * accumulator * (top + np.log(p.shape[-1] + 1.0))
    p = noise.together(again, 1) * p
    out = np.where(np.isnan(a.out), np.nan, noise.summed(p @ v, p @ np.abs(v), p.shape[-1]) * together)
    merged = merge(noise.kept(out))
    out = noise.linear(merged, narrow(w.W_o), narrow(w.b_o))
    return Rounded(tokens, q, k, v, np.where(np.isfinite(a.scores), p, 0.0), again, float(a.scale), merged, out)


def rounded_back(noise: Noise, ran: Rounded, w: Weights, arriving: Array) -> dict[str, Array]:
    """What multi-head attention sends back, by name; "scores" is what an additive mask receives."""
    heads, found = ran.q.shape[1], {}
    into_heads, found["W_o"], found["b_o"] = noise.linear_back(ran.heads, narrow(w.W_o), arriving)
    c, p = split(into_heads, heads), noise.together(ran.again, 2) * ran.p
    d_p = noise.summed(c @ np.swapaxes(ran.v, -1, -2), np.abs(c) @ np.swapaxes(np.abs(ran.v), -1, -2), c.shape[-1])
    mean = (p * d_p).sum(axis=-1, keepdims=True)
    size, terms = (p * np.abs(d_p)).sum(axis=-1, keepdims=True), np.abs(c * split(ran.heads, heads))
    # a fused backward pass takes ⟨c, o⟩ for the mean: where one weight is nearly 1, nothing cancels then
    fused = noise.summing(terms.sum(axis=-1, keepdims=True), terms.shape[-1])
    kept = noise.unit * np.sqrt((terms * terms).sum(axis=-1, keepdims=True))
    mean = noise.moved(mean, noise.summing(size, p.shape[-1]), noise.rounding(mean), fused, kept)
    d_s = noise.kept(p * noise.moved(d_p - mean, noise.unit * (np.abs(d_p) + np.abs(mean))), 2)
    turned = np.swapaxes(d_s, -1, -2), np.swapaxes(p, -1, -2)
    sums = ((ran.scale * d_s, ran.k), (ran.scale * turned[0], ran.q), (turned[1], c))
    found["scores"] = d_s.reshape(noise.copies, len(d_s) // noise.copies, *d_s.shape[1:])
    for name, x, (left, right) in zip(("query", "key", "value"), ran.tokens, sums, strict=True):
        due = noise.kept(noise.summed(left @ right, np.abs(left) @ np.abs(right), left.shape[-1]), 2)
        matrix = narrow(getattr(w, f"W_{name[0]}"))
        d_x, found[f"W_{name[0]}"], found[f"b_{name[0]}"] = noise.linear_back(x, matrix, merge(due))
        # half types may keep one summand for every head, and their partial sums
        summands = [np.abs(part @ matrix[rows]) for part, rows in _by_head(merge(due), heads)]
        found[name] = noise.moved(d_x, noise.unit * np.sum(summands, axis=0))
    return found


def _by_head(arriving: Array, heads: int) -> Iterator[tuple[Array, slice]]:
    width = arriving.shape[-1] // heads
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        yield arriving[..., rows], rows


def gradient_bound(m: MultiHead, cotangent: Array, format: Format) -> dict[str, Array]:
    """The error that correct gradients may show, by simulated roundings there and back."""
    noise = Noise.of(m.query, format)
    ran = rounded(noise, (noise.copied(m.query), noise.copied(m.key), noise.copied(m.value)), m)
    found = rounded_back(noise, ran, m.w, noise.kept(noise.copied(cotangent)))
    return {name: spread(found[name], exact, noise) for name, exact in gradients(m, cotangent).items()}


def sum_error(parts: list[Array], errors: list[Array], format: Format) -> Array:
    """The error of a sum of results, as where one tensor is query, key and value at once."""
    size = np.sum([np.abs(part) + error for part, error in zip(parts, errors, strict=True)], axis=0)
    rounding = gamma(3 * size.shape[-1] + 8, format.accumulator) + len(parts) * stored(format)
    return overflow_free(np.sum(errors, axis=0) + rounding * size + len(parts) * format.eta)


def over_tokens(left: Array, right: Array) -> Array:
    """Σ over batch and time of left ⊗ right: [B,T,N] and [B,T,M] give [N,M]."""
    total: Array = (left.swapaxes(1, 2) @ right).sum(axis=0)
    return total
