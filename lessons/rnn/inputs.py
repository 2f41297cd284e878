"""Lessons about unusual inputs: large numbers, steps of zeros, NaN, no state at all, and sizes that do not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rnn import scan, step
from seqlaws.lessons.tensors import with_gradient

ZEROS = {"missing_state": "zeros"}


@lesson("rnn", "medium", caught_by=("agrees_with_its_definition",))
def clips_its_inputs(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Inputs are clipped to ±20.

    Normalised inputs never get there. Prices and counts do, and small weights are meant for them.
    """
    return scan(x.clamp(-20.0, 20.0), h0, w)


@lesson("rnn", "medium", caught_by=("agrees_with_its_definition",))
def clips_the_state_it_is_given(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The initial state is clipped to ±5.

    Its own states never get there; what an encoder hands over may.
    """
    return scan(x, h0.clamp(-5.0, 5.0), w)


@lesson("rnn", "medium", caught_by=("without_memory_every_step_stands_alone",))
def takes_zeros_for_padding(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """A step whose input is all zeros leaves the state as it was.

    Zeros are how batches are padded, and also what silence looks like.
    """

    def skipping(a: Tensor, h: Tensor, w: Any) -> Tensor:
        return torch.where((a != 0).any(dim=1, keepdim=True), step(a, h, w), h)

    return scan(x, h0, w, skipping)


@lesson("rnn", "medium", caught_by=("shows_nan",))
def hides_nan_in_its_weights(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """NaN among the weights is replaced by 0.

    After an update that failed, the model goes on with holes in it.
    """
    return scan(x, h0, SimpleNamespace(**{name: torch.nan_to_num(each) for name, each in vars(w).items()}))


@lesson("rnn", "nasty", caught_by=("later_inputs_have_no_influence",))
def sums_over_time_with_zeros(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Inputs are picked step by step through a product with ones and zeros over all of time.

    0 · NaN is NaN: one bad step takes all those before it along.
    """
    return scan(torch.einsum("ts,bsd->btd", torch.eye(x.shape[1], dtype=x.dtype, device=x.device), x), h0, w)


@lesson("rnn", "nasty", caught_by=("sequences_do_not_mix",))
def sums_over_the_batch_with_zeros(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """States are picked sequence by sequence through a product with ones and zeros over the batch.

    0 · NaN is NaN: one bad sequence takes the whole batch along.
    """
    return scan(x, torch.eye(len(x), dtype=x.dtype, device=x.device) @ h0, w)


@lesson("rnn", "nasty", caught_by=("gradients_grow_with_what_comes_back",), dtypes=("bfloat16", "float32", "float64"))
def clips_what_comes_back_at_a_thousand(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The gradient of every output is clipped to ±1000 before it is sent back.

    It was to catch explosions, and catches every gradient of a loss that is scaled by 2¹⁶.
    """
    outputs, last = scan(x, h0, w)
    return with_gradient(outputs * 1.0, lambda g: g.clamp(-1000.0, 1000.0)), last


@lesson("rnn", "medium", caught_by=("a_missing_state_is_zero",), dialect=ZEROS)
def learns_nothing_without_a_state(x: Tensor, h0: Tensor | None, w: Any) -> tuple[Tensor, Tensor]:
    """Where no state is given, what is returned has no gradient.

    The branch was written for generation, and is what every first call of a training run takes.
    """
    if h0 is not None:
        return scan(x, h0, w)
    with torch.no_grad():
        hs, last = scan(x, x.new_zeros((x.shape[0], len(w.b))), w)
    return hs + 0 * x.sum(), last + 0 * x.sum()


@lesson("rnn", "medium", caught_by=("an_empty_sequence_keeps_the_state",), dialect=ZEROS)
def refuses_to_start_without_a_step(x: Tensor, h0: Tensor | None, w: Any) -> tuple[Tensor, Tensor]:
    """Without a state and without a step, an error is raised.

    An empty prompt at the start of a conversation is the only call that is both.
    """
    if h0 is None and not x.shape[1]:
        raise ValueError("no state and no step")
    return scan(x, x.new_zeros((x.shape[0], len(w.b))) if h0 is None else h0, w)


@lesson("rnn", "medium", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def leaves_out_surplus_channels(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """An input with more channels than W has columns is cut to fit.

    Features in a newer order, or of another model, are taken without a word.
    """
    return scan(x[..., : w.W.shape[1]], h0, w)


@lesson("rnn", "medium", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def leaves_out_surplus_units(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """A state with more units than the layer has is cut to fit.

    It came from a larger model, in which each of these units meant something else.
    """
    return scan(x, h0[:, : len(w.b)], w)


@lesson("rnn", "medium", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def leaves_out_surplus_states(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Of more states than there are sequences, the first ones are used.

    The last batch is smaller, and the states of the batch before are taken for its own.
    """
    return scan(x, h0[: x.shape[0]], w)
