"""Honest encoder–decoders: several encoders, decoders and ways to attend."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from seqlaws.adapters.torch_seq2seq import AdditiveAttention, ContextVector, stepped
from seqlaws.lessons.seq2seq import ATTENDS, CONTEXT, made


@made("honest", **ATTENDS)
class attends_additively(AdditiveAttention):
    """GRU to GRU with additive attention."""


@made("honest", **CONTEXT)
class passes_one_vector(ContextVector):
    """GRU to GRU with one context vector."""


@made("honest", **CONTEXT)
class averages_its_source(ContextVector):
    """The memory is the mean of the real tokens, projected."""

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        real = source.new_ones(source.shape[:2]) if padding is None else padding.to(source.dtype)
        total = torch.where(real[..., None] > 0, torch.tanh(self.head(source)), source.new_zeros(())).sum(dim=1)
        return total / real.sum(dim=1, keepdim=True)


@made("honest", **ATTENDS)
class multiplies_queries_and_keys(AdditiveAttention):
    """Scaled dot products in the place of the additive score."""

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = memory
        read = stepped(self.decoder, target, states[:, -1])
        scores = self.query(read) @ self.key(states).mT / math.sqrt(states.shape[-1])
        weights = torch.softmax(scores.masked_fill(~real[:, None], -math.inf), dim=-1)
        return self.head(torch.tanh(self.join(torch.cat([read, weights @ states], dim=-1))))


@made("honest", dialect={"padding": "anywhere", "target": "shifted"})
class shifts_its_target(AdditiveAttention):
    """The target is shifted to the right by the model itself, as in T5 and BART: y_t predicts target_t."""

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        start = torch.zeros_like(target[:, :1])
        return super().decode(torch.cat([start, target[:, :-1]], dim=1), memory)


@made("honest", **ATTENDS)
class convolves_its_target(AdditiveAttention):
    """A convolutional decoder, kernels of three tokens (Gehring et al. 2017): what is further back it never sees."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.kernel = nn.Linear(3 * d_model, 2 * d_model)

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = memory
        padded = nn.functional.pad(target, (0, 0, 2, 0))
        near = [padded[:, back : back + target.shape[1]] for back in range(3)]
        read = nn.functional.glu(self.kernel(torch.cat(near, dim=-1)), dim=-1)
        scores = self.score(torch.tanh(self.query(read)[:, :, None] + self.key(states)[:, None]))[..., 0]
        weights = torch.softmax(scores.masked_fill(~real[:, None], -math.inf), dim=-1)
        return self.head(torch.tanh(self.join(torch.cat([read, weights @ states], dim=-1))))


@made("honest", **CONTEXT)
class steps_with_rectifiers(ContextVector):
    """A recurrent decoder of rectified units (Le et al. 2015): now and then all of them are shut."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.units = nn.RNNCell(d_model, d_model, nonlinearity="relu")

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        return self.head(stepped(self.units, target, memory))
