"""Lessons about a single step: what is added, what is transposed, and the activation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rnn import scan


@lesson("rnn", "easy", caught_by=("hidden_states_stay_within_one",))
def uses_a_soft_rectifier(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The activation is log(1 + e^a).

    A layer that offers several took another one. Without a ceiling, states may grow without end.
    """
    return scan(x, h0, w, lambda a, h, w: torch.nn.functional.softplus(a @ w.W.T + h @ w.U.T + w.b))


@lesson("rnn", "medium", caught_by=("hidden_states_stay_within_one",))
def stretches_its_activation(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The activation is 1.7159 tanh(⅔ a).

    It maps ±1 to ±1 and was recommended for feed-forward networks. Fed back, it is another layer.
    """
    return scan(x, h0, w, lambda a, h, w: 1.7159 * torch.tanh((a @ w.W.T + h @ w.U.T + w.b) * 2 / 3))


@lesson("rnn", "medium", caught_by=("an_odd_function_of_everything_that_is_added",))
def uses_a_logistic_function(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The activation is 1 / (1 + e^−a).

    Old papers write σ for any activation. States are all positive, and gradients four times smaller.
    """
    return scan(x, h0, w, lambda a, h, w: torch.sigmoid(a @ w.W.T + h @ w.U.T + w.b))


@lesson("rnn", "nasty", caught_by=("an_odd_function_of_everything_that_is_added",))
def adds_a_small_constant(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """A constant of 0.001 is added, to keep something away from zero.

    Nothing here divides by anything.
    """
    return scan(x, h0, w, lambda a, h, w: torch.tanh(a @ w.W.T + h @ w.U.T + w.b + 1e-3))


@lesson(
    "rnn", "medium", caught_by=("two_states_approach_under_a_contraction", "without_memory_every_step_stands_alone")
)
def adds_the_state_inside(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The old state is added to what goes into the activation.

    A residual connection makes long memories easier to learn, and the layer another one.
    """
    return scan(x, h0, w, lambda a, h, w: torch.tanh(a @ w.W.T + h @ w.U.T + h + w.b))


@lesson("rnn", "easy", caught_by=("agrees_with_its_definition",))
def transposes_the_recurrent_matrix(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """U is used the other way round: Uᵀ h.

    It is square, so nothing complains.
    """
    return scan(x, h0, w, lambda a, h, w: torch.tanh(a @ w.W.T + h @ w.U + w.b))


@lesson("rnn", "nasty", caught_by=("hidden_units_permute_with_their_weights",))
def transposes_a_square_input_matrix(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """W is used the other way round where it is square.

    Its orientation is guessed from its shape, and a square one fits either way.
    """
    same = w.W.shape[0] == w.W.shape[1]
    return scan(x, h0, SimpleNamespace(W=w.W.T if same else w.W, U=w.U, b=w.b))


@lesson("rnn", "medium", caught_by=("agrees_with_its_definition",), incident="keras-team/keras#8720")
def adds_its_bias_twice(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The one bias is taken for both that a library keeps.

    Biases start at zero, so a fresh model agrees with any other.
    """
    return scan(x, h0, w, lambda a, h, w: torch.tanh(a @ w.W.T + w.b + h @ w.U.T + w.b))


@lesson("rnn", "medium", caught_by=("agrees_with_its_definition",))
def approximates_the_activation(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """tanh is replaced by its Padé approximant, clipped to ±1.

    It is off by up to 2.4 %, and by less than 1 % wherever |a| < ¾, where the sums of a fresh model are.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        s = a @ w.W.T + h @ w.U.T + w.b
        s = s.clamp(-3.0, 3.0)
        return s * (27.0 + s * s) / (27.0 + 9.0 * s * s)

    return scan(x, h0, w, step)


@lesson("rnn", "nasty", caught_by=("agrees_with_its_definition",), dtypes=("float64", "float32"))
def keeps_its_state_in_bfloat16(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The state is stored in bfloat16 between steps.

    Half the memory, and a hundredth of the precision; the error comes back with every step.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        return torch.tanh(a @ w.W.T + h @ w.U.T + w.b).bfloat16().to(a.dtype)

    return scan(x, h0, w, step)


@lesson("rnn", "medium", caught_by=("extreme_inputs_stay_finite",))
def overflows_in_its_activation(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """tanh of large numbers is computed as (e^a − e^−a) / (e^a + e^−a).

    From a = 89 on, in float32, this is ∞/∞.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        s = a @ w.W.T + h @ w.U.T + w.b
        up, down = s.exp(), (-s).exp()
        return torch.where(s.abs() < 40.0, torch.tanh(s), (up - down) / (up + down))

    return scan(x, h0, w, step)


@lesson("rnn", "nasty", caught_by=("one_step_has_its_jacobian",))
def its_activation_has_no_slope_at_zero(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """tanh a is computed as the sign of a times tanh |a|.

    Every value is right. At a = 0 the sign and its slope are 0, and so a unit whose weights begin at zero never
    learns.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        s = a @ w.W.T + h @ w.U.T + w.b
        return torch.sign(s) * torch.tanh(s.abs())

    return scan(x, h0, w, step)
