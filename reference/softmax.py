"""Softmax, its gradient, and the rounding errors that a correct program may make.

p_j = exp(x_j) / Σ_k exp(x_k). Shapes: any; the sums run over one axis.
Error analysis after Blanchard, Higham & Higham, IMA J. Numer. Anal. 41(4), 2021.

The bounds hold for every order of summation, for blocks that are merged (online softmax), for
exp(d) / Σ exp(d) as for exp(d − log Σ exp(d)) with d = x − max x, and, in half types, for programs
that store every intermediate result in the input's format.
"""

from __future__ import annotations

import numpy as np

from seqlaws.reference.rounding import Array, Format, gamma, overflow_free, stored, sums


def log_sum_exp(x: Array, axis: int) -> Array:
    """log Σ_k exp(x_k), with the axis kept; −inf for a row of −inf."""
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    safe = np.where(np.isneginf(top), 0.0, top)
    total = np.exp(x - safe).sum(axis=axis, keepdims=True)
    return np.asarray(np.where(total == 0, -np.inf, safe + np.log(np.where(total == 0, 1.0, total))))


def log_softmax(x: Array, axis: int) -> Array:
    """x_j − log Σ_k exp(x_k); −inf throughout a row of −inf."""
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    distance = x - np.where(np.isneginf(top), 0.0, top)
    total = np.exp(distance).sum(axis=axis, keepdims=True)
    return np.asarray(distance - np.log(np.where(total == 0, 1.0, total)))


def softmax(x: Array, axis: int, *, empty_row: str = "nan") -> Array:
    """Softmax along an axis; a row of −inf gives NaN, zeros or the mean, as ``empty_row`` says."""
    empty = np.isneginf(x).all(axis=axis, keepdims=True)
    p = np.exp(log_softmax(np.where(empty, 0.0, x), axis))
    return p if empty_row == "mean" else np.where(empty, {"nan": np.nan, "zeros": 0.0}[empty_row], p)


def exponent_error(log_p: Array, format: Format) -> Array:
    """How far each exponent may be off, with the error of exp itself counted as one.

    An exponent is x_j − max x or log p_j, neither larger than log p_j; two subtractions and a
    logarithm good to 4 units round it. Half types may store the first, the logarithm of the sum and
    their difference, which together are twice log p_j, and the exponential.
    """
    size = np.where(np.isneginf(log_p), 0.0, -log_p)
    rounding = (6 * format.accumulator + 2 * stored(format)) * size
    return np.asarray(rounding - np.log1p(-format.exp_error) + 2 * stored(format))


def weight_error(log_p: Array, exponents: Array, axis: int) -> Array:
    """The error of each weight if every exponent is off by at most ``exponents``.

    p_j e^{±ε_j} / Σ_k p_k e^{±ε_k} stays within p_j (e^{ε_j + L} − 1) with L = log Σ_k p_k e^{ε_k}.
    """
    spread = np.log(np.maximum(np.exp(log_p + exponents).sum(axis=axis, keepdims=True), 1.0))
    return np.asarray(np.exp(log_p) * np.expm1(exponents + spread))


def softmax_bound(x: Array, axis: int, format: Format) -> Array:
    """The error that a correct softmax may show on these very numbers.

    A merge of two blocks rescales both sums: three roundings and an addition for each of at most n.
    A row of −inf has the error of a mean.
    """
    n = x.shape[axis]
    log_p = log_softmax(np.where(np.isneginf(x).all(axis=axis, keepdims=True), 0.0, x), axis)
    p = np.exp(log_p)
    error = weight_error(log_p, exponent_error(log_p, format), axis)
    division = gamma(4 * n + 3, format.accumulator) + 2 * stored(format)
    error = error + division * (p + error) + format.tiny + stored_underflow(format) * (1 + n * p)
    return overflow_free(error + format.unit * (p + error) + format.eta)


def stored_underflow(format: Format) -> float:
    """The absolute error of storing an intermediate number below the smallest normal one."""
    return format.eta if format.half else 0.0


def softmax_gradient(x: Array, axis: int, cotangent: Array) -> Array:
    """p ⊙ (g − ⟨p, g⟩): the gradient of ⟨softmax(x), g⟩."""
    p = softmax(x, axis, empty_row="zeros")
    return np.asarray(p * (cotangent - (p * cotangent).sum(axis=axis, keepdims=True)))


def softmax_gradient_bound(x: Array, axis: int, cotangent: Array, format: Format) -> Array:
    """The error that a correct gradient of softmax may show.

    Where x is largest, a program that also differentiates max x adds Σ_j ∂_j, which is 0 but for
    the errors of all its terms.
    """
    n = x.shape[axis]
    p = softmax(x, axis, empty_row="zeros")
    p_error = softmax_bound(x, axis, format)
    size = np.abs(cotangent)
    mean = (p * cotangent).sum(axis=axis, keepdims=True)
    mean_size = ((p + p_error) * size).sum(axis=axis, keepdims=True)
    mean_error = (p_error * size).sum(axis=axis, keepdims=True) + (sums(format, n) + 2 * stored(format)) * mean_size
    # the two terms, p g and p ⟨p, g⟩, may come from two computations of p; each is stored up to five times
    terms = (p + p_error) * (size + np.abs(mean) + mean_error)
    error = p * mean_error + p_error * (size + np.abs(mean) + mean_error) + 5 * format.unit * terms
    error = error + (3 + n * p) * format.eta + format.tiny
    top = x == x.max(axis=axis, keepdims=True, initial=-np.inf)
    through_the_maximum = (1 + sums(format, n)) * error.sum(axis=axis, keepdims=True) + format.eta
    return overflow_free(error + np.where(top, through_the_maximum, 0.0))
