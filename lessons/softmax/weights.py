"""Lessons about weights: the exponential, the sum, and what is done to them for safety."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.softmax import HALF, WIDE, distances, shares, wide


@lesson("softmax", "easy", caught_by=("stays_finite",))
def forgets_the_maximum(x: Tensor, dim: int) -> Tensor:
    """The maximum is not subtracted first.

    The formula as it is printed. exp overflows at 89 in float32 and at 11 in float16, and ∞/∞ is NaN.
    """
    return shares(torch.exp(x), dim)


@lesson("softmax", "medium", caught_by=("stays_finite",))
def subtracts_the_mean(x: Tensor, dim: int) -> Tensor:
    """The mean is subtracted instead of the maximum.

    Any shift will do, in exact arithmetic; this one still overflows when one entry stands out.
    """
    return shares(torch.exp(wide(x) - wide(x).mean(dim, keepdim=True)), dim).to(x.dtype)


@lesson("softmax", "medium", caught_by=("stays_between_zero_and_one",))
def goes_below_zero(x: Tensor, dim: int) -> Tensor:
    """The distribution is sharpened by moving it away from the uniform one.

    It still sums to 1, and what was small becomes negative.
    """
    return 1.05 * torch.softmax(x, dim) - 0.05 / x.shape[dim]


@lesson("softmax", "easy", caught_by=("sums_to_one",))
def counts_one_more(x: Tensor, dim: int) -> Tensor:
    """The denominator is 1 too large.

    exp(x) / (1 + Σ exp(x)) attends to nothing a little; it is another function, and worth having
    under another name.
    """
    weights = torch.exp(distances(x, dim))
    return weights / (1.0 + weights.sum(dim, keepdim=True))


@lesson("softmax", "medium", caught_by=("sums_to_one",), dtypes=WIDE)
def adds_epsilon_to_the_sum(x: Tensor, dim: int) -> Tensor:
    """10⁻⁴ is added to the denominator, against a division by zero that cannot happen.

    The largest weight is 1 before the division, so the sum is never small.
    """
    weights = torch.exp(distances(x, dim))
    return weights / (weights.sum(dim, keepdim=True) + 1e-4)


@lesson("softmax", "medium", caught_by=("sums_to_one",))
def clamps_the_result(x: Tensor, dim: int) -> Tensor:
    """The result is clamped from below, so that its logarithm is finite.

    Each of many small weights becomes 1/1000, and the row sums to more than 1.
    """
    return torch.softmax(x, dim).clamp(min=1e-3)


@lesson("softmax", "nasty", caught_by=("sums_to_one", "ignores_a_shift"))
def rounds_the_log_sum(x: Tensor, dim: int) -> Tensor:
    """exp(x − log Σ exp(x)), with the logarithm rounded before it is subtracted.

    The logarithm is as large as the logits. At 10⁴ float32 holds it to 10⁻³, and that is the
    relative error of every weight. Subtracting the maximum first costs nothing.
    """
    return torch.exp(x - torch.logsumexp(x, dim, keepdim=True))


@lesson("softmax", "medium", caught_by=("ignores_a_shift",))
def clips_the_logits(x: Tensor, dim: int) -> Tensor:
    """Logits are clipped to ±30 before anything else.

    It prevents the overflow that the maximum would have prevented, and flattens every row that is
    far from 0.
    """
    return torch.softmax(x.clamp(-30.0, 30.0), dim)


@lesson("softmax", "easy", caught_by=("preserves_order",))
def prefers_the_smallest(x: Tensor, dim: int) -> Tensor:
    """The sign of the logits is wrong.

    Distances were meant, and scores were given.
    """
    return torch.softmax(-x, dim)


@lesson("softmax", "medium", caught_by=("is_half_lipschitz",))
def changes_to_base_two_twice(x: Tensor, dim: int) -> Tensor:
    """log₂ e is multiplied in twice, once by the caller's scale and once by the kernel.

    The softmax is 1.44 times as sharp, and everything about its shape is right.
    """
    return torch.softmax(distances(x, dim) * math.log2(math.e), dim)


@lesson("softmax", "nasty", caught_by=("bounds_the_total_variation",))
def drops_small_weights(x: Tensor, dim: int) -> Tensor:
    """Entries more than 3 below the largest are dropped, and the others normalised again.

    The result is sparse and sums to 1. What is dropped gets no gradient and never comes back.
    """
    return torch.softmax(x.masked_fill(distances(x, dim) < -3.0, -math.inf), dim)


@lesson("softmax", "easy", caught_by=("merges_blocks", "agrees_with_its_definition"))
def cools_the_logits(x: Tensor, dim: int) -> Tensor:
    """A temperature of 1.2 was left in.

    Every weight is a little too even; the order, the sum and every invariance are right.
    """
    return torch.softmax(distances(x, dim) / 1.2, dim)


@lesson("softmax", "medium", caught_by=("merges_blocks", "agrees_with_its_definition"), dtypes=WIDE)
def approximates_the_exponential(x: Tensor, dim: int) -> Tensor:
    """exp(d) is computed as (1 − d/1024)^−1024.

    Ten squarings, no table, and a relative error of d²/2048.
    """
    return shares((1.0 - distances(x, dim) / 1024.0) ** -1024, dim)


@lesson("softmax", "nasty", caught_by=("agrees_with_its_definition",))
def gives_the_tail_a_floor(x: Tensor, dim: int) -> Tensor:
    """Distances from the maximum end at 12.

    What is far away keeps a weight of 6·10⁻⁶ each, however far it is. No usual tolerance sees it, and
    thousands of such entries add up.
    """
    d = distances(x, dim)
    return shares(torch.exp(torch.where(x == -math.inf, x, d.clamp(min=-12.0))), dim)


@lesson("softmax", "nasty", caught_by=("sums_to_one",), dtypes=HALF)
def sums_in_half_precision(x: Tensor, dim: int) -> Tensor:
    """The sum is kept in the input's half type, one addition after the other.

    In bfloat16 it stops growing at 256: adding 1 no longer changes it.
    """
    weights = torch.exp(distances(x, dim))
    total = torch.zeros_like(weights.narrow(dim, 0, 1))
    for weight in torch.split(weights, 1, dim):
        total = total + weight
    return weights / total
