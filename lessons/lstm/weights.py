"""Lessons about weights: gates in another order, biases, and matrices the other way round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.lstm import Result, State, renamed, scan


def replaced(w: Any, **changes: Tensor) -> Any:
    """The weights with some of them replaced."""
    return SimpleNamespace(**{**vars(w), **changes})


@lesson("lstm", "easy", caught_by=("a_shut_forget_gate_erases_the_cell",), incident="onnx/onnx#1130")
def reads_the_gates_as_input_output_forget_cell(x: Tensor, state: State, w: Any) -> Result:
    """Packed as i, f, g, o, the weights are read as i, o, f, g.

    Every library packs them in an order of its own, and the shapes are all the same.
    """
    return scan(x, state, renamed(w, "igof"))


@lesson("lstm", "easy", caught_by=("a_shut_forget_gate_erases_the_cell",))
def reads_the_gates_as_input_candidate_forget_output(x: Tensor, state: State, w: Any) -> Result:
    """Packed as i, f, g, o, the weights are read as i, g, f, o.

    The order of an old framework; the shapes are those of every other.
    """
    return scan(x, state, renamed(w, "igfo"))


@lesson("lstm", "medium", caught_by=("a_shut_forget_gate_erases_the_cell",))
def swaps_input_and_forget_gate(x: Tensor, state: State, w: Any) -> Result:
    """The input gate forgets, and the forget gate lets in.

    Both are logistic, so only what they multiply tells them apart.
    """
    return scan(x, state, renamed(w, "figo"))


@lesson("lstm", "medium", caught_by=("a_shut_output_gate_shows_nothing",))
def swaps_input_and_output_gate(x: Tensor, state: State, w: Any) -> Result:
    """The input gate shows, and the output gate lets in.

    It learns as well as the right one, until weights are exchanged with somebody else.
    """
    return scan(x, state, renamed(w, "ofgi"))


@lesson("lstm", "nasty", caught_by=("agrees_with_its_definition",))
def swaps_two_gates_in_the_recurrent_matrix(x: Tensor, state: State, w: Any) -> Result:
    """Input and output gate are swapped in U, and in U alone.

    The converter knew the order of one packed matrix, and took it for that of the other.
    """
    return scan(x, state, renamed(w, "ofgi", "U"))


@lesson("lstm", "nasty", caught_by=("a_constant_forget_gate_decays_exponentially",), incident="keras-team/keras#8720")
def swaps_two_gates_in_the_biases(x: Tensor, state: State, w: Any) -> Result:
    """Forget and output gate are swapped in the biases, and in the biases alone.

    Biases start at zero. As soon as they have been trained, nothing fits.
    """
    return scan(x, state, renamed(w, "iogf", "b"))


@lesson("lstm", "medium", caught_by=("every_weight_has_influence",))
def one_recurrent_matrix_serves_all_gates(x: Tensor, state: State, w: Any) -> Result:
    """U_i is used for every gate.

    A pointer into the packed matrix does not move on. Identical blocks in a test hide it.
    """
    return scan(x, state, renamed(w, "iiii", "U"))


@lesson("lstm", "easy", caught_by=("every_weight_has_influence",))
def forgets_the_bias_of_the_forget_gate(x: Tensor, state: State, w: Any) -> Result:
    """b_f is not added.

    The one bias that is not zero in a fresh model, and the one that sets how long it remembers.
    """
    return scan(x, state, replaced(w, b_f=0 * w.b_f))


@lesson("lstm", "medium", caught_by=("a_constant_forget_gate_decays_exponentially",))
def adds_one_to_the_forget_bias(x: Tensor, state: State, w: Any) -> Result:
    """1 is added to the forget gate's bias at every call.

    As an initial value it is good advice. Added when the layer runs, trained weights get it twice.
    """
    return scan(x, state, replaced(w, b_f=w.b_f + 1))


@lesson("lstm", "nasty", caught_by=("agrees_with_its_definition",))
def transposes_one_recurrent_matrix(x: Tensor, state: State, w: Any) -> Result:
    """U_g is used the other way round; those of the gates are right.

    It is square, and one of four.
    """
    return scan(x, state, replaced(w, U_g=w.U_g.T))


@lesson("lstm", "easy", caught_by=("the_last_output_is_the_final_state",))
def takes_the_state_as_cell_and_hidden(x: Tensor, state: State, w: Any) -> Result:
    """The state is taken, and returned, as (c, h).

    Half of the libraries have it in this order. Both are of one shape.
    """
    hs, (h, c) = scan(x, (state[1], state[0]), w)
    return hs, (c, h)


@lesson("lstm", "easy", caught_by=("the_initial_state_has_influence",))
def starts_from_an_empty_cell(x: Tensor, state: State, w: Any) -> Result:
    """The hidden state is taken over, and the cell starts at zero.

    Chunk by chunk, what was remembered is lost, and what was said last is not.
    """
    return scan(x, (state[0], 0 * state[1]), w) if x.shape[1] else scan(x, state, w)


@lesson("lstm", "nasty", caught_by=("the_initial_state_has_influence",))
def takes_a_hidden_state_of_zeros_for_no_state(x: Tensor, state: State, w: Any) -> Result:
    """Where all of h is zero, the cell starts at zero too.

    That is how "no state was given" was told from a state. A closed output gate leaves h at zero, and the
    cell full.
    """
    return scan(x, state if state[0].any() or not x.shape[1] else (state[0], 0 * state[1]), w)
