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
from seqlaws.reference.monte_carlo import Noise, spread
from seqlaws.reference.multihead import over_tokens
from seqlaws.reference.rounding import Array, Format, narrow

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
class _Run:
    """A block that was run with simulated roundings, on copies of its tokens."""

    attention: multihead.Rounded
    norm_1: norm.Rounded
    norm_2: norm.Rounded
    fed: Array
    inner: Array
    y: Array


def _run(m: Encoder, noise: Noise) -> _Run:
    w, x = m.w, noise.copied(m.x)
    g_1, s_1, g_2, s_2 = map(narrow, (w.g_1, w.s_1, w.g_2, w.s_2))

    def attend(tokens: Array) -> multihead.Rounded:
        return multihead.rounded(noise, (tokens, tokens, tokens), m.attention)

    def feed(tokens: Array) -> tuple[Array, Array]:
        inner = noise.linear(tokens, narrow(w.W_1), narrow(w.b_1))
        return inner, noise.linear(np.maximum(inner, 0.0), narrow(w.W_2), narrow(w.b_2))

    if m.norm_first:
        norm_1 = norm.rounded(noise, x, g_1, s_1, m.norm_1)
        attention = attend(norm_1.y)
        between = noise.kept(x + attention.out)
        norm_2 = norm.rounded(noise, between, g_2, s_2, m.norm_2)
        inner, out = feed(norm_2.y)
        return _Run(attention, norm_1, norm_2, norm_2.y, inner, noise.kept(between + out))
    attention = attend(x)
    norm_1 = norm.rounded(noise, noise.kept(x + attention.out), g_1, s_1, m.norm_1)
    inner, out = feed(norm_1.y)
    norm_2 = norm.rounded(noise, noise.kept(norm_1.y + out), g_2, s_2, m.norm_2)
    return _Run(attention, norm_1, norm_2, norm_1.y, inner, norm_2.y)


def bound(m: Encoder, format: Format) -> Array:
    """The error that a correct block may show on these very numbers, by simulated roundings."""
    noise = Noise.of(m.x, format)
    return spread(_run(m, noise).y, m.y, noise)


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
    """The error that correct gradients may show, by simulated roundings there and back.

    Where a hidden unit is as close to 0 as its own error, its gradient may be there or not.
    """
    noise, exact = Noise.of(m.x, format), gradients(m, cotangent)
    ran, start = _run(m, noise), noise.kept(noise.copied(cotangent))
    sure = np.tile(spread(ran.inner, m.inner, noise), (noise.copies, 1, 1)) * noise.scale
    tossed = noise.rng.random((noise.copies, *m.inner.shape)) < 0.5
    tossed[0], tossed[1] = True, False
    open_ = np.where(np.abs(ran.inner) <= sure, tossed.reshape(ran.inner.shape), ran.inner > 0)
    found: dict[str, Array] = {}

    def norm_back(part: norm.Rounded, arriving: Array, number: int) -> Array:
        d_x, found[f"g_{number}"], found[f"s_{number}"] = norm.rounded_back(noise, part, arriving)
        return d_x

    def feed_back(arriving: Array) -> Array:
        hidden = np.maximum(ran.inner, 0.0)
        d_hidden, found["W_2"], found["b_2"] = noise.linear_back(hidden, narrow(m.w.W_2), arriving)
        d_inner = np.where(np.isnan(ran.inner), np.nan, np.where(open_, d_hidden, 0.0))
        d_fed, found["W_1"], found["b_1"] = noise.linear_back(ran.fed, narrow(m.w.W_1), d_inner)
        return d_fed

    def attend_back(arriving: Array) -> Array:
        each = multihead.rounded_back(noise, ran.attention, m.w, arriving)
        parts = [each.pop(name) for name in ("query", "key", "value")]
        found.update(each)
        return noise.moved(noise.kept(np.sum(parts, axis=0), 2), noise.unit * np.sum(np.abs(parts), axis=0))

    if m.norm_first:
        d_between = noise.kept(start + norm_back(ran.norm_2, feed_back(start), 2))
        found["x"] = noise.kept(d_between + norm_back(ran.norm_1, attend_back(d_between), 1))
    else:
        d_into_2 = norm_back(ran.norm_2, start, 2)
        d_into_1 = norm_back(ran.norm_1, noise.kept(d_into_2 + feed_back(d_into_2)), 1)
        found["x"] = noise.kept(d_into_1 + attend_back(d_into_1))
    return {name: spread(found[name], exact[name], noise) for name in exact}
