"""One encoder block, its gradients, and the rounding errors that a correct program may make.

pre-norm:   a = x + mha(norm₁(x)),   y = a + ffn(norm₂(a))                      (Xiong et al. 2020)
post-norm:  a = norm₁(x + mha(x)),   y = norm₂(a + ffn(a))                      (Vaswani et al. 2017)
ffn(z) = W_2·relu(W_1·z + b_1) + b_2

Shapes: x [B,T,E]; the weights of multi-head attention; W_1 [F,E], b_1 [F], W_2 [E,F], b_2 [E]; gains
g_1, g_2 and shifts s_1, s_2 [E] of the two layer normalisations.

The bound is that of the parts, each of which takes over the error of the one before it. It presumes
what the bounds of attention and of normalisation presume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from seqlaws.reference import multihead, norm
from seqlaws.reference.multihead import linear_error, over_tokens, weight_errors
from seqlaws.reference.rounding import Array, Format, overflow_free, stored

EPS = 1e-5


class Weights(multihead.Weights, Protocol):
    """The weights of attention, of the feed-forward part and of both normalisations."""

    W_1: Array
    b_1: Array
    W_2: Array
    b_2: Array
    g_1: Array
    s_1: Array
    g_2: Array
    s_2: Array


@dataclass(frozen=True)
class Encoder:
    """One block, computed step by step and kept, so that bounds and gradients can refer to it."""

    x: Array
    w: Weights
    norm_first: bool
    norm_1: norm.Norm
    attention: multihead.MultiHead
    between: Array
    norm_2: norm.Norm
    inner: Array
    hidden: Array
    y: Array

    @property
    def fed(self) -> Array:
        """What the feed-forward part reads."""
        return self.norm_2.y if self.norm_first else self.between


def evaluate(
    x: Array, w: Weights, *, num_heads: int, norm_first: bool, mask: Array | None = None, empty_row: str = "zeros"
) -> Encoder:
    """A block with everything it computes on the way; ``between`` is the stream after attention."""

    def attend(tokens: Array) -> multihead.MultiHead:
        return multihead.evaluate(tokens, tokens, tokens, w, num_heads=num_heads, mask=mask, empty_row=empty_row)

    def feed(tokens: Array) -> tuple[Array, Array]:
        inner = tokens @ w.W_1.T + w.b_1
        return inner, np.maximum(inner, 0.0)

    if norm_first:
        norm_1 = norm.evaluate(x, w.g_1, w.s_1, EPS)
        attention = attend(norm_1.y)
        between = x + attention.out
        norm_2 = norm.evaluate(between, w.g_2, w.s_2, EPS)
        inner, hidden = feed(norm_2.y)
        y = between + hidden @ w.W_2.T + w.b_2
    else:
        attention = attend(x)
        norm_1 = norm.evaluate(x + attention.out, w.g_1, w.s_1, EPS)
        between = norm_1.y
        inner, hidden = feed(between)
        norm_2 = norm.evaluate(between + hidden @ w.W_2.T + w.b_2, w.g_2, w.s_2, EPS)
        y = norm_2.y
    return Encoder(x, w, norm_first, norm_1, attention, between, norm_2, inner, hidden, y)


def encoder_layer(
    x: Array, w: Weights, *, num_heads: int, norm_first: bool, mask: Array | None = None, empty_row: str = "zeros"
) -> Array:
    """The output [B,T,E]."""
    return evaluate(x, w, num_heads=num_heads, norm_first=norm_first, mask=mask, empty_row=empty_row).y


@dataclass(frozen=True)
class Errors:
    """How far the steps of a block may be off; ``normed`` is what reaches attention in a pre-norm block."""

    normed: Array
    into_norm_1: Array
    between: Array
    into_norm_2: Array
    fed: Array
    inner: Array
    y: Array


def _added(total: Array, error: Array, one: Array, format: Format) -> Array:
    """The error of a sum of ``one`` and other terms, whose errors together are ``error``, in any order."""
    rounding = (format.accumulator + stored(format)) * (np.abs(total) + np.abs(one) + error)
    return np.asarray(error + rounding + 2 * format.eta)


def errors(m: Encoder, format: Format) -> Errors:
    """The errors of the steps."""
    none = np.zeros_like(m.x)

    def through_the_feed_forward_part(fed: Array) -> tuple[Array, Array]:
        inner = linear_error(m.fed, fed, m.w.W_1, m.w.b_1, format)
        return inner, linear_error(m.hidden, inner, m.w.W_2, m.w.b_2, format)

    if m.norm_first:
        normed = norm.bound(m.norm_1, format)
        attention = multihead.bound(m.attention, format, normed)
        between = _added(m.between, attention, m.x, format)
        fed = norm.bound(m.norm_2, format, between)
        inner, off = through_the_feed_forward_part(fed)
        return Errors(normed, none, between, between, fed, inner, _added(m.y, between + off, m.between, format))
    into_1 = _added(m.norm_1.x, multihead.bound(m.attention, format), m.x, format)
    between = norm.bound(m.norm_1, format, into_1)
    inner, off = through_the_feed_forward_part(between)
    into_2 = _added(m.norm_2.x, between + off, m.between, format)
    return Errors(none, into_1, between, into_2, between, inner, norm.bound(m.norm_2, format, into_2))


def bound(m: Encoder, format: Format) -> Array:
    """The error that a correct block may show on these very numbers."""
    y = errors(m, format).y
    return overflow_free(y + format.unit * (np.abs(np.nan_to_num(m.y)) + y) + format.eta)


def gradients(m: Encoder, cotangent: Array) -> dict[str, Array]:
    """The gradients of ⟨y, cotangent⟩ by name; "scores" is what an additive mask receives."""
    found: dict[str, Array] = {}

    def back(part: norm.Norm, arriving: Array, number: int) -> Array:
        each = norm.gradients(part, arriving)
        found[f"g_{number}"], found[f"s_{number}"] = each["gain"], each["shift"]
        return each["x"]

    def feed_back(arriving: Array) -> Array:
        d_inner = np.where(m.inner > 0, arriving @ m.w.W_2, 0.0)
        found["W_2"], found["b_2"] = over_tokens(arriving, m.hidden), arriving.sum(axis=(0, 1))
        found["W_1"], found["b_1"] = over_tokens(d_inner, m.fed), d_inner.sum(axis=(0, 1))
        return np.asarray(d_inner @ m.w.W_1)

    def attend_back(arriving: Array) -> Array:
        each = multihead.gradients(m.attention, arriving)
        tokens = each.pop("query") + each.pop("key") + each.pop("value")
        found.update(each)
        return np.asarray(tokens)

    if m.norm_first:
        d_between = cotangent + back(m.norm_2, feed_back(cotangent), 2)
        found["x"] = d_between + back(m.norm_1, attend_back(d_between), 1)
    else:
        d_into_2 = back(m.norm_2, cotangent, 2)
        d_into_1 = back(m.norm_1, d_into_2 + feed_back(d_into_2), 1)
        found["x"] = d_into_1 + attend_back(d_into_1)
    return found


def gradient_bound(m: Encoder, cotangent: Array, format: Format) -> dict[str, Array]:
    """The error that correct gradients may show, by running error analysis through the same steps.

    Where a hidden unit is as close to 0 as its own error, its gradient may be there or not.
    """
    e = errors(m, format)
    found: dict[str, Array] = {}

    def back(part: norm.Norm, off: Array, arriving: Array, sent: Array, number: int) -> tuple[Array, Array]:
        each = norm.gradient_bound(part, arriving, format, off, sent)
        found[f"g_{number}"], found[f"s_{number}"] = each["gain"], each["shift"]
        return norm.gradients(part, arriving)["x"], each["x"]

    def feed_back(arriving: Array, sent: Array) -> tuple[Array, Array]:
        d_hidden = arriving @ m.w.W_2
        off = linear_error(arriving, sent, m.w.W_2.T, 0.0, format)
        open_, unsure = m.inner > 0, np.abs(m.inner) <= e.inner
        d_inner = np.where(open_, d_hidden, 0.0)
        off = np.where(unsure, np.abs(d_hidden) + off, np.where(open_, off, 0.0))
        found["W_2"], found["b_2"] = weight_errors(arriving, sent, m.hidden, e.inner, format)
        found["W_1"], found["b_1"] = weight_errors(d_inner, off, m.fed, e.fed, format)
        return d_inner @ m.w.W_1, linear_error(d_inner, off, m.w.W_1.T, 0.0, format)

    def attend_back(arriving: Array, sent: Array) -> tuple[Array, Array]:
        value = multihead.gradients(m.attention, arriving)
        each = multihead.gradient_bound(m.attention, arriving, format, e.normed, sent)
        names = ("query", "key", "value")
        off = multihead.sum_error([value[name] for name in names], [each.pop(name) for name in names], format)
        found.update(each)
        return np.sum([value[name] for name in names], axis=0), off

    def sum_of(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        total = one[0] + other[0]
        return total, _added(total, one[1] + other[1], one[0], format)

    none = np.zeros_like(m.x)
    if m.norm_first:
        start = (cotangent, none)
        d_between = sum_of(start, back(m.norm_2, e.between, *feed_back(*start), 2))
        d_x = sum_of(d_between, back(m.norm_1, none, *attend_back(*d_between), 1))
    else:
        d_into_2 = back(m.norm_2, e.into_norm_2, cotangent, none, 2)
        d_into_1 = back(m.norm_1, e.into_norm_1, *sum_of(d_into_2, feed_back(*d_into_2)), 1)
        d_x = sum_of(d_into_1, attend_back(*d_into_1))
    found["x"] = d_x[1] + format.unit * (np.abs(d_x[0]) + d_x[1]) + format.eta
    return {name: overflow_free(array) for name, array in found.items()}
