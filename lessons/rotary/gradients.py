"""Lessons about gradients: the output is right in all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rotary import quarter_turn, tables, turned

Backward = Callable[[Tensor, Tensor, Tensor], Tensor]


class _Custom(torch.autograd.Function):
    """A rotation with a backward pass of its own."""

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor, backward: Backward) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(cos, sin)
        ctx.formula = backward
        return turned(x, cos, sin)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[no-untyped-def]
        return ctx.formula(g, *ctx.saved_tensors), None, None, None


@lesson("rotary", "nasty", caught_by=("its_gradient_is_the_inverse_rotation",))
def turns_its_gradient_forward(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The backward pass turns the gradient by +θ, like the forward pass.

    One kernel serves both, and the flag that changes the sign was not passed.
    """
    return _Custom.apply(x, *tables(x, positions, base), turned)  # type: ignore[no-untyped-call]


@lesson("rotary", "medium", caught_by=("its_gradient_is_the_inverse_rotation",))
def sends_its_gradient_straight_through(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The gradient is not turned at all.

    The rotation was taken for a constant that is added. Near position 0 and in slow pairs it is nearly right.
    """
    return _Custom.apply(x, *tables(x, positions, base), lambda g, cos, sin: g)  # type: ignore[no-untyped-call]


@lesson("rotary", "medium", caught_by=("its_gradient_keeps_lengths",))
def detaches_the_quarter_turn(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """No gradient goes through the term with the sine.

    The turned copy was made without gradients, to save memory. What is left shrinks with the angle.
    """
    cos, sin = tables(x, positions, base)
    return x * cos + quarter_turn(x.detach()) * sin


@lesson("rotary", "nasty", caught_by=("its_gradient_is_the_inverse_rotation",))
def forgets_the_offset_on_the_way_back(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The backward pass turns back as if positions counted from 0.

    It makes its tables anew from the number of tokens. Training on whole prompts is right.
    """

    def backward(g: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = tables(g, torch.arange(g.shape[2], device=g.device), base)
        return turned(g, cos, -sin)

    return _Custom.apply(x, *tables(x, positions, base), backward)  # type: ignore[no-untyped-call]


@lesson("rotary", "nasty", caught_by=("its_gradient_agrees_at_every_size",))
def turns_back_whole_blocks_alone(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """From 32 tokens on, the gradient of those behind the last full block of 32 is not turned back.

    The forward kernel has a tail; the backward kernel was written for training, where lengths are
    multiples of 32.
    """

    def backward(g: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        whole = g.shape[2] // 32 * 32 if g.shape[2] >= 32 else g.shape[2]
        back = turned(g, cos, -sin)
        return torch.cat([back[:, :, :whole], g[:, :, whole:]], 2)

    return _Custom.apply(x, *tables(x, positions, base), backward)  # type: ignore[no-untyped-call]
