"""Lessons about a single step: what the gates multiply, what is squashed, and what is stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.lstm import Result, State, combined, gates, scan
from seqlaws.lessons.tensors import with_gradient


@lesson("lstm", "easy", caught_by=("hidden_states_stay_within_one",))
def shows_the_cell_as_it_is(x: Tensor, state: State, w: Any) -> Result:
    """The cell is not squashed before it is shown: h′ = o ⊙ c′.

    With small cells it is nearly right; a counter in the cell breaks out.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        _, c = combined((i, f, g, o), s[1])
        return torch.sigmoid(o) * c, c

    return scan(x, state, w, step)


@lesson("lstm", "easy", caught_by=("the_cell_grows_by_at_most_one_a_step",))
def adds_an_unbounded_candidate(x: Tensor, state: State, w: Any) -> Result:
    """The candidate is not squashed.

    One outlier in the input writes a number into the cell that no later step can overrule.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        c = torch.sigmoid(f) * s[1] + torch.sigmoid(i) * g
        return torch.sigmoid(o) * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("agrees_with_its_definition",))
def uses_a_logistic_candidate(x: Tensor, state: State, w: Any) -> Result:
    """The candidate is σ instead of tanh.

    All four blocks go through one activation. The cell can then only rise.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = torch.sigmoid(torch.cat(gates(a, s[0], w), dim=1)).chunk(4, dim=1)
        c = f * s[1] + i * g
        return o * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("agrees_with_its_definition",))
def squashes_after_the_output_gate(x: Tensor, state: State, w: Any) -> Result:
    """The output gate acts inside: h′ = tanh(o ⊙ c′).

    It has the same limits and the same zeros.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        _, c = combined((i, f, g, o), s[1])
        return torch.tanh(torch.sigmoid(o) * c), c

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("a_shut_forget_gate_erases_the_cell",), incident="apache/tvm#3410")
def adds_the_forget_bias_after_the_gate(x: Tensor, state: State, w: Any) -> Result:
    """A tenth is added to the forget gate after σ.

    A bias belongs inside. This gate never closes, and opens beyond 1.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        c = (torch.sigmoid(f) + 0.1) * s[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("a_shut_input_gate_keeps_the_input_out",))
def lets_a_hundredth_past_the_input_gate(x: Tensor, state: State, w: Any) -> Result:
    """The input gate never closes below one hundredth.

    A floor was meant to keep gradients alive. Over a thousand steps it fills the cell with noise.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        c = torch.sigmoid(f) * s[1] + (0.01 + 0.99 * torch.sigmoid(i)) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("a_constant_forget_gate_decays_exponentially",))
def uses_a_hard_logistic_function(x: Tensor, state: State, w: Any) -> Result:
    """σ is replaced by a line between 0 and 1: max(0, min(1, a/6 + ½)).

    Large libraries have had such a line for their default. Weights trained with one do not fit the other.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        i, f, o = (torch.nn.functional.hardsigmoid(each) for each in (i, f, o))
        c = f * s[1] + i * torch.tanh(g)
        return o * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("every_weight_has_influence",))
def couples_input_and_forget_gate(x: Tensor, state: State, w: Any) -> Result:
    """The input gate is 1 − f.

    It saves a quarter of the weights, and makes another layer of it.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        _, f, g, o = gates(a, s[0], w)
        return combined((-f, f, g, o), s[1])

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("the_initial_state_has_influence",))
def shows_the_cell_of_the_step_before(x: Tensor, state: State, w: Any) -> Result:
    """The hidden state is made of the old cell.

    The line that assigns the new one stands below. Everything arrives one step late.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        _, c = combined((i, f, g, o), s[1])
        return torch.sigmoid(o) * torch.tanh(s[1]), c

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("gates_do_not_see_the_cell",))
def has_peepholes(x: Tensor, state: State, w: Any) -> Result:
    """The forget gate looks at the cell a little.

    Peepholes are a variant with weights of its own; here they are a constant of 0.05.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        return combined((i, f + 0.05 * s[1], g, o), s[1])

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("gates_do_not_see_the_cell",))
def clips_its_cell(x: Tensor, state: State, w: Any) -> Result:
    """The cell is clipped to ±2 before each step.

    Against numbers that explode elsewhere. Whatever counts further than two stops counting.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        return combined(gates(a, s[0], w), s[1].clamp(-2, 2))

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("an_open_forget_gate_keeps_the_cell_forever",), dtypes=("float32", "float64"))
def stores_its_cell_in_bfloat16(x: Tensor, state: State, w: Any) -> Result:
    """The cell is rounded to bfloat16 after each step.

    Half the memory, and small changes to a large cell are lost for good.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        h, c = combined(gates(a, s[0], w), s[1])
        return h, c.bfloat16().to(c.dtype)

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("an_open_forget_gate_keeps_the_cell_forever",), dtypes=("float64",))
def keeps_its_cell_in_float32(x: Tensor, state: State, w: Any) -> Result:
    """In float64, the cell is a float32.

    A scratch buffer has the default type. Everything around it is twice as wide.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        h, c = combined(gates(a, s[0], w), s[1])
        return h, c.float().to(c.dtype)

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("a_shut_output_gate_shows_nothing",))
def adds_the_old_hidden_state(x: Tensor, state: State, w: Any) -> Result:
    """What the output gate does not show of the cell is filled up with the old hidden state.

    A convex combination, as in a gated recurrent unit. A shut gate was meant to show nothing.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        h, c = combined((i, f, g, o), s[1])
        return h + torch.sigmoid(-o) * s[0], c

    return scan(x, state, w, step)


@lesson("lstm", "medium", caught_by=("extreme_inputs_stay_finite",))
def overflows_in_its_gates(x: Tensor, state: State, w: Any) -> Result:
    """σ of large numbers is computed as e^a / (1 + e^a).

    From a = 89 on, in float32, this is ∞/∞.
    """

    def logistic(a: Tensor) -> Tensor:
        up = torch.exp(a)
        return torch.where(a < 60.0, torch.sigmoid(a), up / (1 + up))

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        forced = torch.stack([i, f, o]) == 1000.0  # a bias alone, as in a gate that is held open
        i, f, o = torch.where(forced, 1.0, logistic(torch.stack([i, f, o])))
        c = f * s[1] + i * torch.tanh(g)
        return o * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("the_cell_passes_gradients_through_its_forget_gate_alone",))
def clips_the_gradient_of_its_cell(x: Tensor, state: State, w: Any) -> Result:
    """On the way back, the gradient of each cell is clipped to ±0.5.

    Clipping belongs to the optimiser, where one can see it. All values are right.
    """

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        c = torch.sigmoid(f) * s[1] + torch.sigmoid(i) * torch.tanh(g)
        c = with_gradient(c, lambda gradient: gradient.clamp(-0.5, 0.5))
        return torch.sigmoid(o) * torch.tanh(c), c

    return scan(x, state, w, step)


@lesson("lstm", "nasty", caught_by=("one_step_has_its_jacobian",))
def its_gates_have_no_slope_at_zero(x: Tensor, state: State, w: Any) -> Result:
    """σ is computed from e^−|a|, so that nothing overflows.

    Every value is right. At a = 0 the slope of |a| counts as 0, and so a gate whose weights begin at zero never
    learns.
    """

    def logistic(a: Tensor) -> Tensor:
        small = torch.exp(-a.abs())
        return torch.where(a >= 0, 1 / (1 + small), small / (1 + small))

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        c = logistic(f) * s[1] + logistic(i) * torch.tanh(g)
        return logistic(o) * torch.tanh(c), c

    return scan(x, state, w, step)
