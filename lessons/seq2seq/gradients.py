"""Encoder–decoders whose values are right and whose gradients are lost on the way back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seqlaws.adapters.torch_seq2seq import AdditiveAttention, ContextVector, stepped
from seqlaws.lessons.seq2seq import ATTENDS, CONTEXT, made


@made("medium", caught_by=("gradients_reach_source_and_target",), **CONTEXT)
class detaches_its_memory(ContextVector):
    """The memory is detached, as it is for generation.

    The decoder trains and learns to do without the source; the encoder stays as it was initialised.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        return super().encode(source, padding=padding).detach()


@made("nasty", caught_by=("gradients_are_the_slopes_of_the_output",), **ATTENDS)
class detaches_its_attention_weights(AdditiveAttention):
    """The weights of the attention are detached.

    They were kept for a plot. Values are learned, and where to look is not: queries and keys stay as initialised.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = memory
        read = stepped(self.decoder, target, states[:, -1])
        scores = self.score(torch.tanh(self.query(read)[:, :, None] + self.key(states)[:, None]))[..., 0]
        weights = torch.softmax(scores.masked_fill(~real[:, None], -math.inf), dim=-1).detach()
        return self.head(torch.tanh(self.join(torch.cat([read, weights @ states], dim=-1))))


@made("nasty", caught_by=("gradients_are_the_slopes_of_the_output",), **CONTEXT)
class detaches_its_state_in_every_step(ContextVector):
    """The state of the encoder is detached before every step, not only between batches.

    Only the last token of the source gets a gradient: back-propagation through time, without the time.
    """

    def states(self, source: Tensor, padding: Tensor | None) -> Tensor:
        h, states = source.new_zeros(source.shape[0], source.shape[2]), []
        for t in range(source.shape[1]):
            new = self.encoder(source[:, t], h.detach())
            h = new if padding is None else torch.where(padding[:, t : t + 1], new, h)
            states.append(h)
        return torch.stack(states, dim=1)
