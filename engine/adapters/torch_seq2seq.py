"""Three encoder–decoders in torch: one context vector, additive attention, and torch.nn.Transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqlaws.implementation import Implementation, Known
from seqlaws.spec.seq2seq import Seq2seqCase


def stepped(cell: nn.GRUCell | nn.RNNCell, tokens: Tensor, h: Tensor, real: Tensor | None = None) -> Tensor:
    """The states [B,T,E] of a cell; a token that is not real leaves the state as it was."""
    states = []
    for t in range(tokens.shape[1]):
        new = cell(tokens[:, t], h)
        h = new if real is None else torch.where(real[:, t : t + 1], new, h)
        states.append(h)
    return torch.stack(states, dim=1) if states else tokens.new_zeros(*tokens.shape[:2], h.shape[-1])


class ContextVector(nn.Module):
    """GRU to GRU: the last state of the encoder is the memory [B,E] (Cho et al. 2014; Sutskever et al. 2014)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRUCell(d_model, d_model), nn.GRUCell(d_model, d_model)
        self.head = nn.Linear(d_model, d_model)

    def states(self, source: Tensor, padding: Tensor | None) -> Tensor:
        """The states of the encoder [B,S,E]."""
        return stepped(self.encoder, source, source.new_zeros(source.shape[0], source.shape[2]), padding)

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        """The memory of a source [B,S,E]; padding [B,S] is True where a token is real."""
        return self.states(source, padding)[:, -1]

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        """The outputs [B,T,E] for a target [B,T,E]."""
        return self.head(stepped(self.decoder, target, memory))


class AdditiveAttention(ContextVector):
    """GRU to GRU with attention vᵀ·tanh(W·s + U·h) over all states of the encoder (Bahdanau et al. 2015)."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.query, self.key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model, bias=False)
        self.score = nn.Linear(d_model, 1, bias=False)
        self.join = nn.Linear(2 * d_model, d_model)

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        """The states of the encoder, and which of them are real."""
        real = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device) if padding is None else padding
        return self.states(source, padding), real

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        """The outputs [B,T,E]: each state of the decoder reads the memory."""
        states, real = memory
        read = stepped(self.decoder, target, states[:, -1])
        scores = self.score(torch.tanh(self.query(read)[:, :, None] + self.key(states)[:, None]))[..., 0]
        weights = torch.softmax(scores.masked_fill(~real[:, None], -math.inf), dim=-1)
        return self.head(torch.tanh(self.join(torch.cat([read, weights @ states], dim=-1))))


class Transformer(nn.Module):
    """torch.nn.Transformer with one layer on each side, two heads, no dropout and no positions."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.model = nn.Transformer(d_model, 2, 1, 1, 2 * d_model, dropout=0.0, batch_first=True)

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        """The encoded tokens, and which of them are padding."""
        hidden = None if padding is None else ~padding
        return self.model.encoder(source, src_key_padding_mask=hidden), hidden

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        """The outputs [B,T,E]."""
        tokens, hidden = memory
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).triu(1)
        return self.model.decoder(target, tokens, tgt_mask=future, memory_key_padding_mask=hidden)


def factory(kind: type[nn.Module]) -> Callable[[int, int], nn.Module]:
    """A factory of models of one kind: the seed decides the weights."""

    def make(seed: int, d_model: int) -> nn.Module:
        torch.manual_seed(seed)
        return kind(d_model)

    return make


context = Implementation(
    name="torch.seq2seq.context_vector",
    subject="seq2seq",
    call=factory(ContextVector),
    can={"padding", "gradient"},
    dialect={"padding": "anywhere"},
)
additive = Implementation(
    name="torch.seq2seq.additive_attention",
    subject="seq2seq",
    call=factory(AdditiveAttention),
    dialect={"padding": "anywhere"},
)
transformer = Implementation(
    name="torch.nn.Transformer",
    subject="seq2seq",
    call=factory(Transformer),
    dialect={"padding": "anywhere"},
    known={
        "seq2seq.accepts_none_and_one": Known(
            "an empty batch is refused together with a mask: one size of its view cannot be worked out from 0 elements",
            case=Seq2seqCase(2, 3, 2, 8, "right", seed=1),
            script="docs/known/mha_empty_batch.py",
            link="https://github.com/pytorch/pytorch/issues/38115",
        )
    },
)
