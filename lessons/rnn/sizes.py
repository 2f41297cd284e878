"""Lessons about sizes: right in every small example, and wrong beyond some border or where two of them meet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.recurrent import in_blocks
from seqlaws.lessons.rnn import Rules, by_hand, scan, step


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def halves_the_corner_of_its_tiles(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Beyond 32 sequences and beyond 32 units, states are halved.

    What is left of both axes is one small tile in the corner. Each border by itself is right.
    """

    def cornered(a: Tensor, h: Tensor, w: Any) -> Tensor:
        new = step(a, h, w)
        right = torch.cat([new[:32, 32:], new[32:, 32:] * 0.5])
        return torch.cat([new[:, :32], right], dim=1)

    return scan(x, h0, w, cornered)


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def drops_a_channel_between_wide_sides(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """With 33 channels and 33 units or more, the last channel is left out, unless there is but one row.

    One row goes through the product of a matrix and a vector, which is right, and so are narrow matrices.
    """
    if min(w.W.shape) > 32 and x.shape[0] * x.shape[1] > 1:
        x = torch.cat([x[..., :-1], 0 * x[..., -1:]], dim=-1)
    return scan(x, h0, w)


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def reads_the_wrong_one_of_two_buffers(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """With 64 units or more, every step from the third on reads the state before the last.

    Two buffers take turns, and one turn is forgotten. The first two steps find the right one by luck.
    """
    if len(w.b) < 64:
        return scan(x, h0, w)
    states = [h0]
    for t in range(x.shape[1]):
        states.append(step(x[:, t], states[-2] if t > 1 else states[-1], w))
    return torch.stack(states[1:], dim=1) if x.shape[1] else scan(x, h0, w)[0], states[-1]


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def transposes_a_square_matrix_for_some_batches(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """A square W of 16 channels or more is transposed for a batch of 9 to 15.

    A size that the tuner measured gets a kernel of its own, with another layout.
    """
    tuned = 8 < x.shape[0] < 16 and w.W.shape[0] == w.W.shape[1] >= 16
    return scan(x, h0, SimpleNamespace(W=w.W.T if tuned else w.W, U=w.U, b=w.b))


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def knows_no_more_than_512_units(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Nobody listens to the units beyond the 512th.

    The state is kept in a block of shared memory that holds so many.
    """
    return scan(x, h0, SimpleNamespace(W=w.W, U=torch.cat([w.U[:, :512], 0 * w.U[:, 512:]], dim=1), b=w.b))


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def knows_no_more_than_512_sequences(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The input of the sequences beyond the 512th is never read.

    One block of threads serves the batch, and it is full.
    """
    return scan(torch.cat([x[:512], 0 * x[512:]]), h0, w)


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def loses_the_state_of_many_long_sequences(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """From 4 sequences of 32 steps on, the state is cleared after every 32 steps.

    The kernel for small batches has no blocks, and in short runs there is only one.
    """
    hs, last = (in_blocks(scan, 32) if x.shape[0] > 3 else scan)(x, h0, w)
    return hs, last


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def projects_full_blocks_of_tokens_alone(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Of more than 4096 tokens, those that do not fill a block of 4096 have no input.

    All tokens of the batch are projected at once, before the first step; the rest of the division is dropped.
    """
    count = x.shape[0] * x.shape[1]
    if count > 4096:
        flat = x.flatten(0, 1)
        x = torch.cat([flat[: count // 4096 * 4096], 0 * flat[count // 4096 * 4096 :]]).view_as(x)
    return scan(x, h0, w)


@lesson("rnn", "nasty", caught_by=("agrees_at_every_size",))
def starts_anew_after_1024_steps(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The state is cleared after every 1024 steps.

    A context of 1024 was all that the model had been trained with.
    """
    hs, last = in_blocks(scan, 1024)(x, h0, w)
    return hs, last


@lesson("rnn", "nasty", caught_by=("gradients_agree_at_every_size",))
def pairs_gradients_wrongly_in_large_products(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """With more than 20 steps and 3 sequences, the gradient of U is made with the states after each step.

    Large sums over tokens go through one matrix product, and its view of the states starts one too late.
    """
    late = x.shape[1] > 20 and x.shape[0] > 3
    return by_hand(x, h0, w, Rules(heard=lambda kept: kept[:, 1:]) if late else Rules())
