"""Lessons about a single step: what the gates multiply, what is squashed, and what is stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.gru import candidate, gate, gates, scan
from seqlaws.lessons.tensors import with_gradient


@lesson("gru", "easy", caught_by=("an_empty_update_gate_replaces_the_state",))
def takes_the_update_gate_the_other_way(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The new state is z ⊙ n + (1 − z) ⊙ h.

    Papers write it both ways. With the weights of one, the other forgets what it should keep.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return z * candidate(a, h, r, w) + (1 - z) * h

    return scan(x, h0, w, step)


@lesson("gru", "medium", caught_by=("a_full_update_gate_copies_the_state_forever",))
def decays_its_state(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """What is kept of the old state is multiplied by 0.9999.

    A little forgetting for stability. After 10,000 steps a third is left.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return (1 - z) * candidate(a, h, r, w) + z * h * 0.9999

    return scan(x, h0, w, step)


@lesson("gru", "easy", caught_by=("hidden_states_stay_within_one_or_where_they_were",))
def adds_where_it_should_blend(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The candidate is added in full: n + z ⊙ h.

    Shares of old and new no longer sum to 1, and states grow.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return candidate(a, h, r, w) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "easy", caught_by=("hidden_states_stay_within_one_or_where_they_were",))
def does_not_squash_its_candidate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The candidate is not squashed.

    One outlier in the input is in the state for as long as z says.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return (1 - z) * gate("n", a, r * h, w) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "medium", caught_by=("the_update_gate_blends",))
def blends_with_squared_shares(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The candidate's share is 1 − z², the old state's is z².

    Right at both ends, and between them z means something else.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return (1 - z * z) * candidate(a, h, r, w) + z * z * h

    return scan(x, h0, w, step)


@lesson("gru", "medium", caught_by=("every_weight_has_influence",))
def never_resets(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The reset gate is computed and not used.

    What is left is a minimal unit that trains nearly as well, so nobody looks.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        _, z = gates(a, h, w)
        return (1 - z) * candidate(a, h, torch.ones_like(z), w) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("a_shut_reset_gate_hides_the_state_from_the_candidate",))
def resets_half_of_what_its_candidate_hears(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The candidate hears (r + 1) / 2 of the old state.

    A gate that only closes half way: the past is never quite gone.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return (1 - z) * candidate(a, h, (r + 1) / 2, w) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "medium", caught_by=("agrees_with_its_definition",))
def uses_a_hard_logistic_function(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """σ is replaced by a line between 0 and 1: max(0, min(1, a/6 + ½)).

    Large libraries have had such a line for their default. Weights trained with one do not fit the other.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = (torch.nn.functional.hardsigmoid(gate(name, a, h, w)) for name in "rz")
        return (1 - z) * candidate(a, h, r, w) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("agrees_with_its_definition",))
def updates_with_the_state_that_was_reset(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The update gate looks at r ⊙ h instead of h.

    The reset state was written over the old one, one line too early.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r = torch.sigmoid(gate("r", a, h, w))
        z = torch.sigmoid(gate("z", a, r * h, w))
        return (1 - z) * candidate(a, h, r, w) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("an_empty_update_gate_replaces_the_state",), dtypes=("float64", "float32"))
def keeps_its_state_in_bfloat16(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The state is stored in bfloat16 between steps.

    Half the memory, and a hundredth of the precision; small updates of a large state are lost.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return ((1 - z) * candidate(a, h, r, w) + z * h).bfloat16().to(h.dtype)

    return scan(x, h0, w, step)


@lesson("gru", "medium", caught_by=("extreme_inputs_stay_finite",))
def overflows_in_its_candidate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """tanh of large numbers is computed as (e^2a − 1) / (e^2a + 1).

    From a = 45 on, in float32, this is ∞/∞.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        s = gate("n", a, r * h, w)
        up = torch.exp(2 * s)
        loud = (s.abs() > 40.0) & (s.abs() != 1000.0)  # a bias alone, as in a candidate that is held at one end
        return (1 - z) * torch.where(loud, (up - 1) / (up + 1), torch.tanh(s)) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("a_full_update_gate_copies_the_gradient",))
def clips_the_gradient_of_its_state(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """On the way back, the gradient of each state is clipped to ±0.5.

    Clipping belongs to the optimiser, where one can see it. All values are right.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        new = (1 - z) * candidate(a, h, r, w) + z * h
        return with_gradient(new, lambda gradient: gradient.clamp(-0.5, 0.5))

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("one_step_has_its_jacobian",))
def its_gates_have_no_slope_at_zero(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """σ is computed in two branches, for a > 0 and for a < 0, which are added up.

    At a = 0 neither of them counts, so one half was put there, a constant: a gate whose weights begin at zero
    never learns.
    """

    def logistic(a: Tensor) -> Tensor:
        small = torch.exp(-a.abs())
        return torch.where(a > 0, 1 / (1 + small), torch.where(a == 0, 0.5, small / (1 + small)))

    def step(x: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = (logistic(gate(name, x, h, w)) for name in "rz")
        return (1 - z) * candidate(x, h, r, w) + z * h

    return scan(x, h0, w, step)
