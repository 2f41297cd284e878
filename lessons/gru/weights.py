"""Lessons about weights: gates in another order, biases, and matrices the other way round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.gru import gates, renamed, scan


def replaced(w: Any, **changes: Tensor) -> Any:
    """The weights with some of them replaced."""
    return SimpleNamespace(**{**vars(w), **changes})


@lesson("gru", "easy", caught_by=("an_empty_update_gate_replaces_the_state",), incident="keras-team/keras#8720")
def swaps_reset_and_update_gate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Packed as r, z, n, the weights are read as z, r, n.

    Two libraries, two orders. Both gates are logistic, and the shapes are the same.
    """
    return scan(x, h0, renamed(w, "zrn"))


@lesson("gru", "medium", caught_by=("an_empty_update_gate_replaces_the_state",))
def swaps_reset_gate_and_candidate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Packed as r, z, n, the weights are read as n, z, r.

    The update gate is right, so that what is kept is kept, and what replaces it is wrong.
    """
    return scan(x, h0, renamed(w, "nzr"))


@lesson("gru", "nasty", caught_by=("the_update_gate_blends",))
def swaps_the_gates_in_the_recurrent_matrix(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Reset and update gate are swapped in U, and in U alone.

    The converter knew the order of one packed matrix, and took it for that of the other.
    """
    return scan(x, h0, renamed(w, "zrn", "U"))


@lesson("gru", "medium", caught_by=("every_weight_has_influence",))
def one_recurrent_matrix_serves_both_gates(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """U_r is used for the update gate too.

    A pointer into the packed matrix does not move on.
    """
    return scan(x, h0, renamed(w, "rrn", "U"))


@lesson("gru", "easy", caught_by=("every_weight_has_influence",))
def forgets_the_bias_of_the_update_gate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """b_z is not added.

    It is the one that sets how long the unit remembers.
    """
    return scan(x, h0, replaced(w, b_z=0 * w.b_z))


@lesson("gru", "nasty", caught_by=("agrees_with_its_definition",))
def transposes_the_matrix_of_its_candidate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """U_n is used the other way round; those of the gates are right.

    It is square, and one of three.
    """
    return scan(x, h0, replaced(w, U_n=w.U_n.T))


@lesson("gru", "nasty", caught_by=("agrees_with_its_definition",), incident="pytorch/pytorch#8153")
def resets_after_the_product_and_does_not_say_so(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The reset gate acts on U_n h, where it should act on h.

    The other of two conventions. Declared as dialect reset="after" it is honest; undeclared, every
    weight that comes from elsewhere means something a little different.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        n = torch.tanh(a @ w.W_n.T + w.b_n + r * (h @ w.U_n.T + w.c_n))
        return (1 - z) * n + z * h

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("every_weight_has_influence",), dialect={"reset": "after"},
        incident="apple/coremltools#1124")  # fmt: skip
def keeps_the_second_offset_out(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """With the reset after the product, c_n is not added.

    One offset of the candidate stands inside the reset, one outside. Their sum is not enough.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return (1 - z) * torch.tanh(a @ w.W_n.T + w.b_n + r * (h @ w.U_n.T)) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "nasty", caught_by=("a_shut_reset_gate_hides_the_state_from_the_candidate",),
        dialect={"reset": "after"}, incident="apple/coremltools#1124")  # fmt: skip
def adds_the_second_offset_outside_the_reset(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """With the reset after the product, c_n is added outside of it.

    Both offsets in one place are one offset. It differs only where the reset gate is not open.
    """

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return (1 - z) * torch.tanh(a @ w.W_n.T + w.b_n + w.c_n + r * (h @ w.U_n.T)) + z * h

    return scan(x, h0, w, step)


@lesson("gru", "medium", caught_by=("an_empty_update_gate_replaces_the_state",))
def adds_the_bias_of_its_candidate_twice(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """b_n is added with the input and with the state.

    One bias is taken for both that a library keeps.
    """
    return scan(x, h0, replaced(w, b_n=2 * w.b_n))
