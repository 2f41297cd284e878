"""ALiBi: attention with linear biases, and the rounding error that a correct program may make.

b_hij = −m_h · (p_i − j) for keys j ≤ p_i = k_len − q_len + i, and −∞ for later ones

m_h = 2^(−8h/n), h = 1 … n, where the number n of heads is a power of two; elsewhere the slopes for the
power below n, and then every second slope for the power above (Press et al. 2022, appendix A).
Shapes: [H, q_len, k_len].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlaws.reference.angles import SINGLE
from seqlaws.reference.rounding import Array, Format, gamma, stored


def exponents(heads: int, wide: Any) -> Array:
    """e_h of the slopes 2^(−e_h), [H]."""
    below = 1 << (heads.bit_length() - 1)
    steps = np.arange(1, 2 * below + 1).astype(wide)
    return np.concatenate([8 * steps[:below] / below, (8 * steps / (2 * below))[0::2][: heads - below]])


def distances(queries: int, keys: int) -> Array:
    """How far every key lies behind every query, [q_len,k_len]; negative where it lies ahead."""
    return np.arange(keys - queries, keys)[:, None] - np.arange(keys)


def alibi(heads: int, queries: int, keys: int, wide: Any = np.float64) -> Array:
    """The biases, [H,q_len,k_len]."""
    behind = distances(queries, keys)
    slopes = wide(2) ** -exponents(heads, wide)
    return np.where(behind < 0, wide(-np.inf), -slopes[:, None, None] * np.maximum(behind, 0).astype(wide))


def bound(heads: int, queries: int, keys: int, format: Format) -> Array:
    """The error that a correct program may show, in single precision at least.

    A slope is a power of a rounded ratio, 2h roundings, or of an exponent up to 8, whose roundings count
    8 ln 2 times each; a half type may store slope, distance and product.
    """
    value = alibi(heads, queries, keys, format.wide)
    size = np.abs(np.where(np.isneginf(value), 0.0, value))
    relative = gamma(2 * heads + 32, max(format.accumulator, SINGLE)) + gamma(3, format.unit) * (stored(format) > 0)
    return np.asarray(relative * size + format.eta)
