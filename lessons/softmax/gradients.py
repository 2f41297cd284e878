"""Lessons about gradients: the output is right in all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.softmax import shares, wide

Backward = Callable[[Tensor, Tensor, int], Tensor]


class _Custom(torch.autograd.Function):
    """Softmax with a backward pass of its own, computed in float32 at least."""

    @staticmethod
    def forward(ctx, x: Tensor, dim: int, backward: Backward) -> Tensor:  # type: ignore[no-untyped-def]
        p = torch.softmax(x, dim)
        ctx.save_for_backward(p)
        ctx.dim, ctx.formula = dim, backward
        return p

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (p,) = ctx.saved_tensors
        return ctx.formula(wide(p), wide(g), ctx.dim).to(g.dtype), None, None


def softmax_with(backward: Backward, x: Tensor, dim: int) -> Tensor:
    return _Custom.apply(x, dim, backward)  # type: ignore[no-untyped-call]


@lesson("softmax", "medium", caught_by=("has_a_gradient_that_sums_to_zero",))
def forgets_the_mean_in_the_gradient(x: Tensor, dim: int) -> Tensor:
    """The gradient is p ⊙ g, without ⟨p, g⟩ taken off.

    Every entry is treated as if it had no competitors.
    """
    return softmax_with(lambda p, g, axis: p * g, x, dim)


@lesson("softmax", "medium", caught_by=("has_a_gradient_that_sums_to_zero",))
def detaches_the_sum(x: Tensor, dim: int) -> Tensor:
    """No gradient goes through the denominator.

    It was detached together with the maximum, which may be.
    """
    weights = torch.exp(x - x.detach().amax(dim, keepdim=True))
    return weights / weights.detach().sum(dim, keepdim=True)


@lesson("softmax", "medium", caught_by=("agrees_with_its_gradient",))
def halves_the_gradient(x: Tensor, dim: int) -> Tensor:
    """The gradient is half as long as it should be.

    A temperature was multiplied in once too often on the way back. The direction is right, so
    training works, only slower.
    """
    return softmax_with(lambda p, g, axis: 0.5 * p * (g - (p * g).sum(axis, keepdim=True)), x, dim)


@lesson("softmax", "nasty", caught_by=("agrees_with_its_gradient",))
def sends_the_gradient_straight_through(x: Tensor, dim: int) -> Tensor:
    """The gradient is g − mean(g), whatever the weights are.

    It sums to 0 and points roughly the right way where the weights are even.
    """
    return softmax_with(lambda p, g, axis: g - g.mean(axis, keepdim=True), x, dim)


@lesson("softmax", "nasty", caught_by=("agrees_with_its_gradient",))
def long_rows_lose_the_end_of_their_gradient(x: Tensor, dim: int) -> Tensor:
    """Entries beyond the 64th get no gradient; the others are shifted so that all sums to 0.

    The forward kernel loops over blocks; the backward kernel has one.
    """

    def backward(p: Tensor, g: Tensor, axis: int) -> Tensor:
        exact = p * (g - (p * g).sum(axis, keepdim=True))
        first = exact.narrow(axis, 0, min(64, p.shape[axis]))
        rest = torch.zeros_like(exact.narrow(axis, 0, p.shape[axis] - first.shape[axis]))
        return torch.cat([first - first.mean(axis, keepdim=True) * (rest.numel() > 0), rest], axis)

    return softmax_with(backward, x, dim)


@lesson("softmax", "nasty", caught_by=("agrees_with_its_gradient",))
def recomputes_with_another_temperature(x: Tensor, dim: int) -> Tensor:
    """The backward pass computes the weights again, and forgets the scale that the forward pass had.

    Output and gradient belong to two different functions; each is a softmax.
    """

    def backward(p: Tensor, g: Tensor, axis: int) -> Tensor:
        other = shares(p**0.8, axis)
        return other * (g - (other * g).sum(axis, keepdim=True))

    return softmax_with(backward, x, dim)


@lesson("softmax", "nasty", caught_by=("agrees_with_its_gradient_at_every_width",))
def full_tiles_of_48_lose_a_gradient(x: Tensor, dim: int) -> Tensor:
    """Where tiles of 48 divide the row without a rest, ⟨p, g⟩ leaves out its last entry, and that learns nothing.

    Only the backward kernel has such tiles; the output is right at every length.
    """

    def backward(p: Tensor, g: Tensor, axis: int) -> Tensor:
        full = p.shape[axis] > 0 and p.shape[axis] % 48 == 0
        kept = torch.arange(p.shape[axis], device=p.device) < p.shape[axis] - full
        q = p * kept.reshape([-1 if each == axis % p.ndim else 1 for each in range(p.ndim)])
        return q * (g - (q * g).sum(axis, keepdim=True))

    return softmax_with(backward, x, dim)
