"""Lessons about the way back: values are right, and the gradient is not."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rnn import Rules, by_hand


@lesson("rnn", "medium", caught_by=("one_step_has_its_jacobian",))
def sends_gradients_back_untransposed(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """On the way back, the gradient goes through U where it should go through Uᵀ.

    The matrix is square, so the shapes fit.
    """
    return by_hand(x, h0, w, Rules(through=lambda d_a, U: d_a @ U.T))


@lesson("rnn", "nasty", caught_by=("one_step_has_its_jacobian",))
def squares_nothing_in_its_slope(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The slope of tanh is taken for 1 − |h|.

    It is 1 at zero and 0 at one, as it should be, and too small between.
    """
    return by_hand(x, h0, w, Rules(slope=lambda h: 1 - h.abs()))


@lesson("rnn", "medium", caught_by=("the_gradient_is_no_longer_than_its_jacobians_allow",))
def lets_gradients_pass_straight_through(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The slope of the activation is taken for 1.

    A straight-through estimate was meant for something that has no derivative. Gradients no longer
    vanish where units saturate.
    """
    return by_hand(x, h0, w, Rules(slope=lambda h: 0 * h + 1))


@lesson("rnn", "nasty", caught_by=("gradients_agree_with_backpropagation_through_time",))
def pairs_each_gradient_with_the_wrong_state(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The gradient of U is made with the states after each step, not those before it.

    Off by one in an array of T + 1 states. States and inputs get the gradients that they should.
    """
    return by_hand(x, h0, w, Rules(heard=lambda kept: kept[:, 1:]))
