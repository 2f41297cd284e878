"""Lessons that every recurrent layer has: the state that a run starts from and ends with.

Each receives an honest layer, ``call(x, state, w) -> (hs, last)``, as in `recurrent`, and returns a broken one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.recurrent import hidden, mixed
from seqlaws.lessons.tensors import changed, tensors


@lesson_everywhere(
    "medium", caught_by=("an_empty_sequence_keeps_the_state",), incident="fla-org/flash-linear-attention#583"
)
def an_empty_sequence_clears_the_state(call: Call) -> Call:
    """Without any step, the final state is zero.

    It was allocated, and the loop that would have filled it never ran.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x, state, w)
        return outputs, last if x.shape[1] else changed(torch.zeros_like, last)

    return broken


@lesson_everywhere("medium", caught_by=("a_missing_state_is_zero",))
def takes_a_missing_state_for_ones(call: Call) -> Call:
    """Without an initial state, the run starts from the state after an input of ones.

    A warm start that nobody asked for; None and zeros now mean two things.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        if state is None and len(x):
            state = call(torch.ones_like(x[:, :1]), None, w)[1] if x.shape[1] else None
        return call(x, state, w)

    return broken


@lesson_everywhere("medium", caught_by=("repeats_itself", "chunks_equal_one_run"))
def starts_where_the_last_call_ended(call: Call) -> Call:
    """The state that is passed is averaged with that of the call before.

    A stateful layer that nobody resets: the second epoch starts with the end of the first.
    """
    kept: dict[tuple[int, ...], Any] = {}

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        key = tuple(len(each) for each in tensors((x, state)))
        if state is not None and key in kept and hidden(kept[key]).shape == hidden(state).shape:
            state = mixed(state, kept[key], 0.5)
        outputs, last = call(x, state, w)
        kept[key] = changed(lambda s: s.detach().clone(), last)
        return outputs, last

    return broken


@lesson_everywhere("nasty", caught_by=("a_missing_state_is_zero",))
def goes_on_where_nothing_is_learned(call: Call) -> Call:
    """Where gradients are switched off, a missing state is the one in which the last call ended.

    It was made for streaming. The second document that is scored starts with the end of the first.
    """
    kept: dict[tuple[int, ...], Any] = {}

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        if torch.is_grad_enabled():
            return call(x, state, w)
        key = (*x.shape[::2], *(len(each) for each in tensors(w)))
        outputs, last = call(x, kept.get(key) if state is None else state, w)
        if state is not None:
            kept[key] = changed(Tensor.clone, last)
        return outputs, last

    return broken
