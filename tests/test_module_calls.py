"""How a user's module is called: in which modes, with which masks, and with the weights of which call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import seqlaws
from seqlaws.formats import FORMATS
from seqlaws.run import Run
from seqlaws.spec.encoder.drawing import EncoderCase


class PaddedInTrainingAlone(nn.MultiheadAttention):
    """In evaluation a batch is taken to be full."""

    def forward(self, *tokens: Tensor, key_padding_mask: Tensor | None = None, **options: Any) -> Any:
        return super().forward(*tokens, key_padding_mask=key_padding_mask if self.training else None, **options)


class OneMaskAtATime(nn.MultiheadAttention):
    """Beside a mask of pairs, padding is forgotten."""

    def forward(
        self, *tokens: Tensor, key_padding_mask: Tensor | None = None, attn_mask: Tensor | None = None, **options: Any
    ) -> Any:
        padding = key_padding_mask if attn_mask is None else None
        return super().forward(*tokens, key_padding_mask=padding, attn_mask=attn_mask, **options)


class BiasedInEvaluation(nn.TransformerEncoderLayer):
    """The block of evaluation adds a constant."""

    def forward(self, src: Tensor, *masks: Any, **options: Any) -> Tensor:
        return super().forward(src, *masks, **options) + (0.0 if self.training else 0.1)


class UnmaskedWithoutGradients(nn.TransformerEncoderLayer):
    """Where no gradient is recorded, another kernel runs, which takes padding only."""

    def forward(self, src: Tensor, src_mask: Tensor | None = None, **masks: Any) -> Tensor:
        return super().forward(src, src_mask if torch.is_grad_enabled() else None, **masks)


class PaddedOrMasked(nn.TransformerEncoderLayer):
    """Beside padding, a mask of pairs is forgotten."""

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        pairs = src_mask if src_key_padding_mask is None else None
        return super().forward(src, pairs, src_key_padding_mask, **options)


class OutputOfItsWeights(nn.MultiheadAttention):
    """Asked for its weights, it forgets the offset of the output."""

    def forward(self, *tokens: Tensor, need_weights: bool = True, **options: Any) -> Any:
        out, weights = super().forward(*tokens, need_weights=need_weights, **options)
        return (out - self.out_proj.bias if need_weights else out), weights


@pytest.mark.parametrize(
    ("build", "like", "law"),
    [
        (PaddedInTrainingAlone, "torch.nn.MultiheadAttention", "multihead.agrees_on_all_paths"),
        (OneMaskAtATime, "torch.nn.MultiheadAttention", "multihead.causality_and_a_mask_both_apply"),
        (BiasedInEvaluation, "torch.nn.TransformerEncoderLayer", "encoder.agrees_on_all_paths"),
        (UnmaskedWithoutGradients, "torch.nn.TransformerEncoderLayer", "encoder.agrees_on_all_paths"),
        (PaddedOrMasked, "torch.nn.TransformerEncoderLayer", "encoder.agrees_on_all_paths"),
        (OutputOfItsWeights, "torch.nn.MultiheadAttention", "multihead.agrees_on_all_paths"),
    ],
)
def test_a_mode_and_two_masks_at_once_are_asked_for(build: Any, like: str, law: str) -> None:
    report = seqlaws.check(seqlaws.module(build, like=like), dtype="float32", profile="quick", law=law)
    assert [result.status for result in report] == ["broken"]


class Checkpointed(nn.TransformerEncoderLayer):
    """Computes both of its parts a second time on the way back, and counts how often it is called."""

    calls = 0

    def forward(self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, **_: Any) -> Tensor:
        self.calls += 1

        def attend(x: Tensor) -> Tensor:
            return self._sa_block(x, src_mask, src_key_padding_mask)

        if self.norm_first:
            src = src + checkpoint(lambda x: attend(self.norm1(x)), src, use_reentrant=False)
            return src + checkpoint(lambda x: self._ff_block(self.norm2(x)), src, use_reentrant=False)
        src = self.norm1(src + checkpoint(attend, src, use_reentrant=False))
        return self.norm2(src + checkpoint(self._ff_block, src, use_reentrant=False))


@pytest.mark.parametrize(
    "law", ["*gradient_of_its_definition", "*.gradients_forget_other_calls", "*.agrees_on_all_paths"]
)
def test_what_is_computed_again_on_the_way_back_has_the_weights_of_its_call(law: str) -> None:
    mine = seqlaws.module(Checkpointed, like="torch.nn.TransformerEncoderLayer")
    report = seqlaws.check(mine, dtype="float32", profile="quick", law=law)
    assert [result.status for result in report] == ["holds"]


def test_a_module_remembers_what_it_did() -> None:
    made: list[Checkpointed] = []

    def build(*sizes: int, **options: Any) -> Checkpointed:
        made.append(Checkpointed(*sizes, **options))
        return made[-1]

    mine = seqlaws.module(build, like="torch.nn.TransformerEncoderLayer")
    x = EncoderCase(2, 2, 3, 4, 5, seed=1).inputs(FORMATS["float32"])
    run = Run(mine, "cpu", "float32")
    for _ in range(3):
        run(x)
    assert made[-1].calls == 3
