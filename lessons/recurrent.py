"""Lessons that every recurrent layer has: sins around a step that is right.

Each receives an honest layer, ``call(x, state, w) -> (hs, last)``, whose states are one tensor or a
tuple of them, and returns a broken one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.tensors import changed, tensors
from seqlaws.subject import nothing


def wide(value: Any) -> Any:
    """A tensor, or all those of a set of weights, in float32 at least."""
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**{name: wide(each) for name, each in vars(value).items()})
    return value.to(torch.promote_types(value.dtype, torch.float32))


def hidden(state: Any) -> Tensor:
    """The hidden part of a state."""
    first: Tensor = tensors((state,))[0]
    return first


def mixed(one: Any, other: Any, share: float) -> Any:
    """share·one + (1 − share)·other, part by part."""
    if isinstance(one, tuple):
        return tuple(mixed(each, another, share) for each, another in zip(one, other, strict=True))
    return share * one + (1.0 - share) * other


def step_by_step(call: Call, x: Tensor, state: Any, w: Any, before: Call, after: Call) -> tuple[Tensor, Any]:
    """One call a step, with the state changed before and after each: before(t, state), after(old, new)."""
    outputs = []
    for t in range(x.shape[1]):
        _, new = call(x[:, t : t + 1], before(t, state), w)
        state = after(state, new)
        outputs.append(hidden(state))
    return torch.stack(outputs, dim=1) if outputs else call(x, state, w)[0], state


def unchanged(_: Any, state: Any) -> Any:
    return state


@lesson_everywhere("easy", caught_by=("the_initial_state_has_influence",))
def ignores_its_initial_state(call: Call) -> Call:
    """Every run starts from zeros, whatever state is passed.

    Tests that pass zeros cannot tell. Streamed, the layer forgets everything at each chunk.
    """
    return lambda x, state, w: call(x, changed(torch.zeros_like, state), w) if x.shape[1] else call(x, state, w)


@lesson_everywhere("nasty", caught_by=("sequences_do_not_mix",), incident="PaddlePaddle/Paddle#27644")
def gives_every_sequence_the_first_state(call: Call) -> Call:
    """The initial state of the first sequence is used for the whole batch.

    A state of shape [1,H] would be broadcast, and one of shape [B,H] was sliced until it was.
    """
    return lambda x, state, w: call(x, changed(lambda s: s[:1].expand_as(s), state), w)


@lesson_everywhere("medium", caught_by=("sequences_do_not_mix",))
def centres_its_inputs_over_the_batch(call: Call) -> Call:
    """The mean over the batch is taken off the inputs.

    A normalisation meant for the features ran along the wrong axis; who else is asking now matters.
    """
    return lambda x, state, w: call(x - x.mean(dim=0, keepdim=True) if len(x) else x, state, w)


@lesson_everywhere("nasty", caught_by=("a_signal_after_silence_is_heard",))
def stops_when_nothing_moves(call: Call) -> Call:
    """As soon as a step leaves all states as they were, the remaining steps are filled with them.

    A layer that has settled stays settled only as long as its input does. What begins with silence ends there.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x, state, w)
        start = outputs.new_zeros(outputs[:, :1].shape) if state is None else hidden(state)[:, None]
        moved = outputs != torch.cat([start, outputs[:, :-1]], dim=1)
        settled = (~moved.any(dim=2).any(dim=0)).nonzero() if outputs.numel() else outputs.flatten()
        if not len(settled):
            return outputs, last
        stop = int(settled[0]) + 1
        outputs, last = call(x[:, :stop], state, w)
        return torch.cat([outputs, outputs[:, -1:].expand(-1, x.shape[1] - stop, -1)], dim=1), last

    return broken


@lesson_everywhere("nasty", caught_by=("sequences_do_not_mix",), incident="ml-explore/mlx#3494")
def a_single_step_reads_the_first_row(call: Call) -> Call:
    """With one step and several sequences, all of them get the input of the first.

    The matrix-vector kernel is chosen when T = 1, whatever the batch. Prefill is right, decoding is
    right for one user.
    """
    return lambda x, state, w: call(x[:1].expand_as(x) if x.shape[1] == 1 else x, state, w)


@lesson_everywhere("easy", caught_by=("later_inputs_have_no_influence",))
def reads_the_sequence_backwards(call: Call) -> Call:
    """The run goes from the last step to the first, and its outputs are put back in order.

    It is the second half of a bidirectional layer, and here it stands alone.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x.flip(1), state, w)
        return outputs.flip(1), last

    return broken


@lesson_everywhere("nasty", caught_by=("later_inputs_have_no_influence",))
def looks_one_step_ahead(call: Call) -> Call:
    """Each step but the last reads a hundredth of the input after it.

    A convolution in front of the layer was padded on both sides.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        return call(torch.cat([x[:, :-1] + 0.01 * x[:, 1:], x[:, -1:]], dim=1), state, w)

    return broken


@lesson_everywhere("easy", caught_by=("the_last_output_is_the_final_state",))
def returns_the_state_before_the_last(call: Call) -> Call:
    """The final state is that of the last step but one.

    The loop saves the state at its top. The next chunk repeats the last step's work without its input.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        return call(x, state, w)[0], call(x[:, :-1], state, w)[1]

    return broken


@lesson_everywhere("medium", caught_by=("the_last_output_is_the_final_state",))
def returns_a_mean_of_the_last_states(call: Call) -> Call:
    """The final state is averaged with the one before it.

    Somebody smoothed the summary of the sequence, and the same tensor is where the next chunk starts.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        outputs, last = call(x, state, w)
        return outputs, mixed(last, call(x[:, :-1], state, w)[1], 0.5)

    return broken


def in_blocks(call: Call, size: int) -> Call:
    """Runs of some steps, each from an empty state but the first."""

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        if x.shape[1] <= size:
            return call(x, state, w)
        outputs = []
        for start in range(0, x.shape[1], size):
            out, last = call(x[:, start : start + size], state, w)
            outputs.append(out)
            state = changed(torch.zeros_like, last)
        return torch.cat(outputs, dim=1), last

    return broken


@lesson_everywhere("nasty", caught_by=("chunks_equal_one_run",))
def starts_anew_after_sixty_four_steps(call: Call) -> Call:
    """The state is cleared after every 64 steps.

    The kernel works in blocks, and each block begins with registers of zeros. Short tests never see a
    second block; a model on long texts just seems to have a short memory.
    """
    return in_blocks(call, 64)


@lesson_everywhere("nasty", caught_by=("chunks_equal_one_run",))
def starts_anew_after_a_hundred_and_twenty_eight_steps(call: Call) -> Call:
    """The state is cleared after every 128 steps.

    Larger blocks hide it better: few tests run for more than a hundred steps.
    """
    return in_blocks(call, 128)


@lesson_everywhere("medium", caught_by=("chunks_equal_one_run",))
def reads_the_input_before_too(call: Call) -> Call:
    """Each step reads the mean of its input and the one before, which is not part of the state.

    Within a call the past is there; at the start of the next chunk it is missing.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        return call(torch.cat([x[:, :1], (x[:, 1:] + x[:, :-1]) / 2], dim=1), state, w)

    return broken


@lesson_everywhere("nasty", caught_by=("chunks_equal_one_run",))
def counts_its_steps(call: Call) -> Call:
    """Inputs fade by a thousandth with every step since the call began.

    Somewhere a position was added. The weights are then not the same at every step.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        fading = 1.0 - torch.arange(x.shape[1], device=x.device).to(x.dtype)[:, None] / 1000
        return call(x * fading, state, w)

    return broken


@lesson_everywhere("medium", caught_by=("without_memory_every_step_stands_alone",))
def leaks_a_tenth_of_the_old_state(call: Call) -> Call:
    """A tenth of the state before is mixed into every new one.

    Leaky integration is a layer of its own; here no weight can switch it off.
    """
    return lambda x, state, w: step_by_step(call, x, state, w, unchanged, lambda old, new: mixed(new, old, 0.9))


@lesson_everywhere("nasty", caught_by=("hidden_units_permute_with_their_weights",))
def nobody_listens_to_the_last_unit(call: Call) -> Call:
    """The sum over hidden units stops one short of the end.

    The last of many units is silent to the others; the loss hardly notices.
    """

    def muted(_: int, state: Any) -> Any:
        first, *rest = tensors((state,))
        if first.shape[1] > 1:
            first = torch.cat([first[:, :-1], torch.zeros_like(first[:, -1:])], dim=1)
        return (first, *rest) if isinstance(state, tuple) else first

    return lambda x, state, w: step_by_step(call, x, state, w, muted, lambda old, new: new)


@lesson_everywhere(
    "easy", caught_by=("every_weight_has_influence",), where=lambda subject: subject.pieces is not nothing
)
def forgets_its_biases(call: Call) -> Call:
    """No bias is added anywhere.

    They start at zero, so that a fresh model is right; a trained one is not.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        plain = {name: 0.0 * each if name.startswith("b") else each for name, each in vars(w).items()}
        return call(x, state, SimpleNamespace(**plain))

    return broken


@lesson_everywhere("nasty", caught_by=("agrees_at_every_size",), where=lambda subject: subject.pieces is not nothing)
def leaves_out_channels_beyond_full_tiles(call: Call) -> Call:
    """Inputs of more than 64 channels are summed in tiles of 64, and what is left of the last tile is not.

    Widths in use are multiples of 64. At 65 one channel is silent, and nothing else is wrong.
    """

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        tiled = x.shape[2] // 64 * 64 if x.shape[2] > 64 else x.shape[2]
        return call(torch.cat([x[..., :tiled], torch.zeros_like(x[..., tiled:])], dim=-1), state, w)

    return broken
