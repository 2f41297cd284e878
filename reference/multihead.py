"""Multi-head attention and the rounding errors that a correct program may make.

out = W_o·(o_1 ‖ … ‖ o_H) + b_o,   o_h = attention(q_h, k_h, v_h)          (Vaswani et al. 2017, section 3.2.2)
q = W_q·query + b_q,   k = W_k·key + b_k,   v = W_v·value + b_v

Shapes: query [B,Tq,E], key and value [B,Tk,E]; weights [E,E] and biases [E], y = x @ W.T + b; head h
owns the columns h·d … (h+1)·d of q, k and v, with d = E / H and scores divided by √d.

The bound carries the rounding of the projections through attention and through the output
projection. It presumes what the bound of attention presumes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from seqlaws.reference import attention
from seqlaws.reference.rounding import Array, Format, gamma, magnitudes, narrow, overflow_free, stored


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
    """One multi-head attention, computed step by step and kept, so that bounds and gradients can refer to it."""

    query: Array
    key: Array
    value: Array
    w: Weights
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
    inner = attention.evaluate(
        split(query @ w.W_q.T + w.b_q, num_heads),
        split(key @ w.W_k.T + w.b_k, num_heads),
        split(value @ w.W_v.T + w.b_v, num_heads),
        mask=mask, is_causal=is_causal, empty_row=empty_row, alignment=alignment,
    )  # fmt: skip
    heads = merge(inner.out)
    return MultiHead(query, key, value, w, inner, heads, heads @ w.W_o.T + w.b_o)


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


def linear_error(x: Array, x_error: Array | float, matrix: Array, offset: Array | float, format: Format) -> Array:
    """The error of ``x @ matrix.T + offset`` if x is off by ``x_error``."""
    weights = np.abs(matrix).T
    inherited = magnitudes(np.broadcast_to(x_error, x.shape), weights) if np.any(x_error) else np.zeros(1)
    size = magnitudes(np.abs(x), weights) + inherited
    return _sum_error(magnitudes(x, matrix.T), inherited, size, offset, matrix.shape[1], format)


def _sum_error(
    products: Array, inherited: Array, size: Array, offset: Array | float, terms: int, format: Format
) -> Array:
    """The error of a sum of products and an offset; half types store it before the offset is added and after."""
    offset = narrow(offset)
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


def gradient_bound(m: MultiHead, cotangent: Array, format: Format) -> dict[str, Array]:
    """The error that correct gradients may show, by running error analysis through the same steps."""
    num_heads = m.inner.q.shape[1]
    errors = projection_errors(m, format)
    heads_error = merge(attention.bound(m.inner, format, errors))
    arriving = cotangent @ m.w.W_o
    arriving_error = linear_error(cotangent, 0.0, m.w.W_o.T, 0.0, format)
    inner = replace(errors, cotangent=split(arriving_error, num_heads))
    value = attention.gradients(m.inner, split(arriving, num_heads))
    error = attention.gradient_bound(m.inner, split(arriving, num_heads), format, inner)

    found = {"scores": error.scores}
    found["W_o"], found["b_o"] = weight_errors(
        cotangent, np.zeros_like(cotangent), np.nan_to_num(m.heads), heads_error, format
    )
    for name, letter in (("query", "q"), ("key", "k"), ("value", "v")):
        came, off = merge(getattr(value, letter)), merge(getattr(error, letter))
        matrix, x = getattr(m.w, f"W_{letter}"), getattr(m, name)
        found[f"W_{letter}"], found[f"b_{letter}"] = weight_errors(came, off, x, np.zeros_like(x), format)
        # half types may also store one summand for every head, and their partial sums
        partial = (num_heads + 1) * stored(format) * magnitudes(np.abs(came) + off, np.abs(matrix))
        found[name] = linear_error(came, off, matrix.T, 0.0, format) + partial
    return {name: overflow_free(array) for name, array in found.items()}


def sum_error(parts: list[Array], errors: list[Array], format: Format) -> Array:
    """The error of a sum of results, as where one tensor is query, key and value at once."""
    size = np.sum([np.abs(part) + error for part, error in zip(parts, errors, strict=True)], axis=0)
    rounding = gamma(3 * size.shape[-1] + 8, format.accumulator) + len(parts) * stored(format)
    return overflow_free(np.sum(errors, axis=0) + rounding * size + len(parts) * format.eta)


def over_tokens(left: Array, right: Array) -> Array:
    """Σ over batch and time of left ⊗ right: [B,T,N] and [B,T,M] give [N,M]."""
    total: Array = (left.swapaxes(1, 2) @ right).sum(axis=0)
    return total


def weight_errors(
    arriving: Array, arriving_error: Array, x: Array, x_error: Array, format: Format
) -> tuple[Array, Array]:
    """The errors of a linear map's weight and bias gradients, which are sums over all tokens."""
    tokens, most = arriving.shape[0] * arriving.shape[1], np.abs(arriving) + arriving_error

    def summed(left: Array, right: Array) -> Array:
        return over_tokens(narrow(left), narrow(right))

    inherited = summed(arriving_error, np.abs(x)) + summed(most, x_error)
    size = summed(most, np.abs(x) + x_error)
    matrix = _sum_error(summed(arriving, x), inherited, size, 0.0, tokens, format)
    over = (0, 1)
    offset = _sum_error(arriving.sum(over), arriving_error.sum(over), most.sum(over), 0.0, tokens, format)
    return matrix, offset
