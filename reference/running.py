"""Running error analysis: exact values that carry how far a correct program's values may be from them.

A `Computed` is what a program holds at one place: the exact number, and a bound on the error of any
honest way to come to it. Each operation adds its own rounding: one accumulator unit, and in half
types the storing of its result. Elementary functions are monotone, so the error that they pass on is
exact: f(a ± e) − f(a).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seqlaws.reference.rounding import Array, Format, gamma, overflow_free, stored

TANH_ULPS, SIGMOID_ULPS = 4, 6


@dataclass(frozen=True)
class Computed:
    """Numbers with the errors allowed to them, of one shape, in one format."""

    value: Array
    error: Array
    format: Format

    @property
    def size(self) -> Array:
        """The largest magnitude that a program may hold here."""
        return np.abs(self.value) + self.error

    def __add__(self, other: Computed) -> Computed:
        return _rounded(self.value + other.value, self.error + other.error, self.format)

    def __sub__(self, other: Computed) -> Computed:
        return _rounded(self.value - other.value, self.error + other.error, self.format)

    def __mul__(self, other: Computed) -> Computed:
        return product(self, other)

    def __getitem__(self, index: Any) -> Computed:
        return Computed(self.value[index], self.error[index], self.format)

    def widened(self, by: Computed, most: Array | float) -> Computed:
        """The same number, computed as a difference of parts as large as ``most``, each multiplied by something."""
        return Computed(self.value, self.error + 3 * unit(self.format) * by.size * most, self.format)

    @property
    def bound(self) -> Array:
        """The error as a bound; what could not be bounded counts as infinite."""
        return overflow_free(self.error)


def given(value: Array, format: Format) -> Computed:
    """An input: there is no error in it."""
    return Computed(value, np.zeros_like(value), format)


def unit(format: Format) -> float:
    """The relative error of one operation, its result perhaps stored in a half type."""
    return max(format.accumulator, stored(format))


def floor(format: Format) -> float:
    """The absolute error of one operation: underflow, of a kind that may flush to zero."""
    return format.eta + format.tiny


def _rounded(value: Array, error: Array, format: Format) -> Computed:
    return Computed(value, error + unit(format) * (np.abs(value) + error) + floor(format), format)


def summed(*parts: Computed, further: int = 0) -> Computed:
    """The sum of some numbers in any order, each perhaps itself a sum that is taken apart into ``further`` parts."""
    value, error = np.sum([part.value for part in parts], axis=0), np.sum([part.error for part in parts], axis=0)
    size, count, format = np.sum([part.size for part in parts], axis=0), len(parts) + further, parts[0].format
    return Computed(value, error + gamma(count, unit(format)) * size + count * floor(format), format)


def product(*factors: Computed) -> Computed:
    """The product of a few numbers, in any order."""
    format, value, most, exact = factors[0].format, factors[0].value, factors[0].size, np.abs(factors[0].value)
    scale = np.maximum(1.0, most)
    for factor in factors[1:]:
        value, most, exact = value * factor.value, most * factor.size, exact * np.abs(factor.value)
        scale = scale * np.maximum(1.0, factor.size)
    count = len(factors)
    return Computed(value, (most - exact) + gamma(count, unit(format)) * most + count * floor(format) * scale, format)


def tanh(a: Computed) -> Computed:
    """The hyperbolic tangent, good to a few units, or by way of the logistic function, as 2σ(2a) − 1.

    By that its error is absolute: where it is small, two numbers near 1 cancel.
    """
    value, format = np.tanh(a.value), a.format
    passed = np.maximum(np.tanh(a.value + a.error) - value, value - np.tanh(a.value - a.error))
    by_sigmoid = (SIGMOID_ULPS * format.accumulator + 3 * stored(format)) * (1.0 + np.abs(value))
    return _rounded(value, passed + by_sigmoid, format)


def sigmoid(a: Computed) -> Computed:
    """The logistic function, by way of exp or of tanh.

    By tanh, as ½ + ½ tanh(a/2), its error is absolute. By exp, half types may store exp and 1 + exp, and
    where exp exceeds the largest number, 0 stands for something below 1 / largest.
    """
    value, format = logistic(a.value), a.format
    passed = np.maximum(logistic(a.value + a.error) - value, value - logistic(a.value - a.error))
    own = (SIGMOID_ULPS * format.accumulator + 3 * stored(format)) * value
    by_tanh = TANH_ULPS * format.accumulator / 2 + unit(format) * 0.5
    return _rounded(value, passed + own + by_tanh + 1.0 / format.largest, format)


def logistic(a: Array) -> Array:
    """1 / (1 + exp(−a)), without overflow."""
    small = np.exp(-np.abs(a))
    return np.asarray(np.where(a >= 0, 1.0, small) / (1.0 + small))


def tanh_slope(y: Computed) -> Computed:
    """1 − y², the derivative of tanh where it is y."""
    square = np.square(y.value)
    error = 2 * np.abs(y.value) * y.error + np.square(y.error)
    return Computed(1.0 - square, error + 2 * unit(y.format) * (1.0 + square + error), y.format)


def sigmoid_slope(y: Computed) -> Computed:
    """y (1 − y), the derivative of the logistic function where it is y."""
    error = np.abs(1.0 - 2.0 * y.value) * y.error + np.square(y.error)
    rounding = 3 * unit(y.format) * (np.abs(y.value) + y.error) + 2 * floor(y.format)
    return Computed(y.value * (1.0 - y.value), error + rounding, y.format)


def blended(share: Computed, one: Computed, other: Computed) -> Computed:
    """share·one + (1 − share)·other, or other + share·(one − other), or one + (1 − share)·(other − one).

    The error of the share acts on the difference alone. Either way, a few numbers no larger than both
    together are rounded.
    """
    s, format = share.value, share.format
    passed = np.abs(s) * one.error + np.abs(1.0 - s) * other.error
    passed = passed + share.error * (np.abs(one.value - other.value) + one.error + other.error)
    first = (np.abs(s) + share.error) * one.size + (np.abs(1.0 - s) + share.error) * other.size
    second = other.size + (np.abs(s) + share.error) * (one.size + other.size)
    third = (np.abs(1.0 - s) + share.error) * (one.size + other.size)
    most = np.maximum(np.maximum(first, second), third)
    rounding = 3 * unit(format) * most + 3 * floor(format) * (1.0 + one.size + other.size)
    return _rounded(s * one.value + (1.0 - s) * other.value, passed + rounding, format)


@dataclass(frozen=True)
class Projection:
    """A matrix product before its rounding: the value, what its inputs' errors make of it, and Σ |terms|."""

    value: Array
    passed: Array
    size: Array
    terms: int

    def __getitem__(self, index: Any) -> Projection:
        return Projection(self.value[index], self.passed[index], self.size[index], self.terms)


def projection(x: Computed, matrix: Array) -> Projection:
    """``x @ matrix.T``."""
    weights = np.abs(matrix).T
    return Projection(x.value @ matrix.T, x.error @ weights, x.size @ weights, matrix.shape[1])


def affine(parts: tuple[Projection, ...], offset: Array, format: Format) -> Computed:
    """The sum of some products and an offset.

    All terms may share one accumulator, in any order; half types may store every product, each of the
    sums on the way, and the offset added to any of them.
    """
    value, size = offset + sum(part.value for part in parts), np.abs(offset) + sum(part.size for part in parts)
    terms = sum(part.terms for part in parts)
    passed = sum(part.passed for part in parts)
    kept = size + 2 * (np.abs(offset) + sum(np.abs(part.value) + part.passed for part in parts))
    error = passed + gamma(terms + 12, format.accumulator) * size + stored(format) * (kept + np.abs(value) + passed)
    return Computed(value, error + (terms + 4) * (format.tiny + _stored_floor(format)), format)


def back(delta: Computed, matrix: Array, parts: int = 1) -> Computed:
    """``delta @ matrix``: what a linear map sends back, perhaps as the sum of several parts, each stored."""
    weights = np.abs(matrix)
    value, passed, size = delta.value @ matrix, delta.error @ weights, delta.size @ weights
    relative = gamma(matrix.shape[0] + parts + 8, delta.format.accumulator) + (2 * parts + 1) * stored(delta.format)
    lost = (matrix.shape[0] + parts) * (delta.format.tiny + _stored_floor(delta.format))
    return Computed(value, passed + relative * size + lost, delta.format)


def over_tokens(delta: Computed, x: Computed) -> Computed:
    """Σ over batch and time of delta ⊗ x, for [B,T,M] and [B,T,N]: a weight's gradient, [M,N].

    Half types may store the share of every step and each partial sum.
    """
    batch, steps = delta.value.shape[:2]
    value, most = _flat(delta.value).T @ _flat(x.value), _flat(delta.size).T @ _flat(x.size)
    passed = most - np.abs(_flat(delta.value)).T @ np.abs(_flat(x.value))
    format, tokens = delta.format, batch * steps
    relative = gamma(tokens + steps + 8, format.accumulator) + (steps + 2) * stored(format)
    error = passed + relative * most + (tokens + 1) * floor(format)
    return Computed(value, error + format.unit * np.abs(value), format)


def ones(delta: Computed) -> Computed:
    """A last axis of a single 1 for every token: what an offset is multiplied with."""
    return given(np.ones((*delta.value.shape[:2], 1), dtype=delta.value.dtype), delta.format)


def stacked(parts: list[Computed], like: Computed) -> Computed:
    """[B,N] of every step as [B,T,N]; of no step, as empty as ``like`` [B,N] allows."""
    values, errors = [part.value for part in parts], [part.error for part in parts]
    empty = np.zeros((like.value.shape[0], 0, like.value.shape[1]), dtype=like.value.dtype)
    if not parts:
        return given(empty, like.format)
    return Computed(np.stack(values, axis=1), np.stack(errors, axis=1), like.format)


def beside(*parts: Computed) -> Computed:
    """Numbers side by side along the last axis."""
    values, errors = [part.value for part in parts], [part.error for part in parts]
    return Computed(np.concatenate(values, axis=-1), np.concatenate(errors, axis=-1), parts[0].format)


def kept(state: Computed) -> Computed:
    """A state as it is handed on: half types may store it."""
    return _rounded(state.value, state.error, state.format) if state.format.half else state


def _stored_floor(format: Format) -> float:
    return format.eta if format.half else 0.0


def _flat(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
