"""Lessons that every recurrent layer has: values that are right, and sins on the way back.

Each receives an honest layer, ``call(x, state, w) -> (hs, last)``, as in `recurrent`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.recurrent import step_by_step
from seqlaws.lessons.tensors import changed, with_gradient
from seqlaws.subject import nothing


@lesson_everywhere("nasty", caught_by=("nothing_flows_back_from_earlier_outputs",))
def its_gradients_arrive_one_step_late(call: Call) -> Call:
    """On the way back, the gradient of each output enters one step after it.

    The backward scan starts its index at the wrong end. All values are right.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x, state, w)
        return with_gradient(outputs * 1.0, lambda g: g.roll(1, dims=1)), last

    return broken


@lesson_everywhere("easy", caught_by=("one_step_has_its_jacobian",))
def the_initial_state_learns_nothing(call: Call) -> Call:
    """The initial state is detached.

    An encoder that ends in this state, and a state that is a parameter, are never trained.
    """
    return lambda x, state, w: call(x, changed(Tensor.detach, state), w)


@lesson_everywhere("medium", caught_by=("one_step_has_its_jacobian",))
def nothing_comes_back_through_the_final_state(call: Call) -> Call:
    """The final state is a detached copy.

    A loss on the outputs trains; one on the summary of the sequence does not.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x, state, w)
        return outputs, changed(Tensor.detach, last)

    return broken


@lesson_everywhere("medium", caught_by=("a_run_sends_back_the_product_of_its_steps",))
def detaches_the_state_between_steps(call: Call) -> Call:
    """Each step sends nothing back to the steps before it.

    Backpropagation through time, truncated to a single step: it trains, and learns nothing that takes
    longer than one.
    """

    def cut(t: int, state: Any) -> Any:
        return changed(Tensor.detach, state) if t else state

    return lambda x, state, w: step_by_step(call, x, state, w, cut, lambda old, new: new)


@lesson_everywhere("nasty", caught_by=("a_run_sends_back_the_product_of_its_steps",))
def detaches_the_state_every_four_steps(call: Call) -> Call:
    """The state is detached before every fourth step.

    The length of truncation was set for memory, and never seen again.
    """

    def cut(t: int, state: Any) -> Any:
        return changed(Tensor.detach, state) if t % 4 == 3 else state

    return lambda x, state, w: step_by_step(call, x, state, w, cut, lambda old, new: new)


@lesson_everywhere("nasty", caught_by=("gradients_agree_with_backpropagation_through_time",))
def weights_learn_from_the_last_step_alone(call: Call) -> Call:
    """The gradient of the weights is that of the last step, written over that of the others.

    A buffer is assigned where it should be added to. States and inputs get all of theirs.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        if x.shape[1] < 2:
            return call(x, state, w)
        fixed = SimpleNamespace(**changed(Tensor.detach, vars(w)))
        outputs, state = call(x[:, :-1], state, fixed)
        last_output, last = call(x[:, -1:], state, w)
        return torch.cat([outputs, last_output], dim=1), last

    return broken


@lesson_everywhere("medium", caught_by=("gradients_grow_with_what_comes_back",))
def clips_what_comes_back(call: Call) -> Call:
    """The gradient of every output is clipped to ±5 before it is sent back.

    It was copied from an early program for speech. With a scaled loss every number is clipped.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x, state, w)
        return with_gradient(outputs * 1.0, lambda g: g.clamp(-5.0, 5.0)), last

    return broken


@lesson_everywhere(
    "nasty", caught_by=("gradients_agree_at_every_size",), where=lambda subject: subject.pieces is not nothing
)
def channels_beyond_sixty_four_learn_nothing(call: Call) -> Call:
    """The gradient of the input ends at the 64th channel.

    The backward kernel has one block along the width. Whatever was learned below the layer stops there.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        return call(torch.cat([x[..., :64], x[..., 64:].detach()], dim=-1), state, w)

    return broken


@lesson_everywhere(
    "nasty", caught_by=("gradients_agree_at_every_size",), where=lambda subject: subject.pieces is not nothing
)
def detaches_the_state_every_two_hundred_steps(call: Call) -> Call:
    """The state is detached after every 200 steps.

    Long texts did not fit into memory in one piece. What is learned within a part is right, and nothing
    is learned from one part to the next.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs = []
        for start in range(0, max(1, x.shape[1]), 200):
            out, state = call(x[:, start : start + 200], changed(Tensor.detach, state) if start else state, w)
            outputs.append(out)
        return torch.cat(outputs, dim=1), state

    return broken
