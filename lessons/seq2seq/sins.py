"""Encoder–decoders with a way around the memory, or a mask that slips."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from seqlaws.adapters.torch_seq2seq import AdditiveAttention, ContextVector, Transformer, stepped
from seqlaws.lessons.seq2seq import ATTENDS, CONTEXT, Made, made
from seqlaws.lessons.seq2seq.honest import averages_its_source


@made("easy", caught_by=("the_memory_is_all_that_passes",), **ATTENDS)
class remembers_the_last_source(AdditiveAttention):
    """The decoder reads the states that the encoder left on the model, not those it is handed.

    Right in every test that encodes one source and decodes it; wrong in beam search, and when two users share a model.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        self.left = super().encode(source, padding=padding)
        return self.left

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = self.left
        rows = [min(row, len(states) - 1) for row in range(len(target))]
        return super().decode(target, (states[rows], real[rows]))


@made("nasty", caught_by=("the_memory_is_all_that_passes",), **CONTEXT)
class writes_into_its_memory(ContextVector):
    """The decoder keeps its state in the memory it was given.

    The first decoding is right, the second goes on where the first stopped.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states = stepped(self.decoder, target, memory.clone())
        if target.shape[1]:
            memory.data.copy_(states[:, -1])
        return self.head(states)


@made(
    "medium",
    caught_by=("the_seed_decides_the_weights",),
    make=lambda kind: lambda seed, d_model: seeded_late(kind, seed, d_model),
    **CONTEXT,
)
class forgets_its_seed(ContextVector):
    """The seed is set after the weights have been drawn.

    Every run is another model; whoever reports one seed reports chance.
    """


@made(
    "nasty",
    caught_by=("the_seed_decides_the_weights",),
    make=lambda kind: lambda seed, d_model: seeded_if_true(kind, seed, d_model),
    **CONTEXT,
)
class takes_seed_zero_for_none(ContextVector):
    """The seed is set only if it is true, and 0 is not.

    The first of five seeds gives another model in every run.
    """


def seeded_if_true(kind: Made, seed: int, d_model: int) -> nn.Module:
    """A model of a kind, from its seed unless that is 0."""
    if seed:
        torch.manual_seed(seed)
    return kind(d_model)


def seeded_late(kind: Made, seed: int, d_model: int) -> nn.Module:
    """A model of a kind, from whatever the random generator held."""
    torch.seed()
    model = kind(d_model)
    torch.manual_seed(seed)
    return model


@made("easy", caught_by=("outputs_see_the_past_of_the_target_only",), **ATTENDS)
class has_no_mask_for_its_target(Transformer):
    """The target is attended without a causal mask.

    With teacher forcing the next token is part of the input: the loss goes to zero, and generation is noise.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        tokens, hidden = memory
        return self.model.decoder(target, tokens, memory_key_padding_mask=hidden)


@made("nasty", caught_by=("answers_alike_where_nothing_is_learned",), **ATTENDS)
class needs_no_mask_where_nothing_is_learned(Transformer):
    """Where gradients are switched off, the target is attended without a causal mask.

    One token at a time is what generation asks for. Scoring a whole text is done without gradients too.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        if torch.is_grad_enabled():
            return super().decode(target, memory)
        tokens, hidden = memory
        return self.model.decoder(target, tokens, memory_key_padding_mask=hidden)


@made("nasty", caught_by=("outputs_see_the_past_of_the_target_only",), **ATTENDS)
class sees_one_token_ahead(Transformer):
    """The causal mask starts one diagonal too high.

    Only the next token leaks, and that is the one to be predicted.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        tokens, hidden = memory
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).triu(2)
        return self.model.decoder(target, tokens, tgt_mask=future, memory_key_padding_mask=hidden)


@made("medium", caught_by=("earlier_targets_have_influence",), **CONTEXT)
class starts_every_step_anew(ContextVector):
    """Every step of the decoder starts from the memory, not from the step before.

    Each output knows the source and the last token, and none of what was written before.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        alone = [self.decoder(target[:, t], memory) for t in range(target.shape[1])]
        return self.head(torch.stack(alone, dim=1) if alone else torch.zeros_like(target))


@made("easy", caught_by=("padding_of_the_source_is_inert",), **CONTEXT)
class ignores_its_padding(ContextVector):
    """The padding mask is accepted and not used.

    The last state is that of the padding; short sentences in a long batch come out as if they were one sentence.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        return super().encode(source)


@made("nasty", caught_by=("padding_of_the_source_is_inert",), **ATTENDS)
class masks_with_a_small_number(AdditiveAttention):
    """Padded scores are lowered by 5 instead of hidden.

    The weight of padding is below one in a hundred, until a batch has a lot of it.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        states, real = super().encode(source, padding=padding)
        return states, torch.where(real[..., None], states, torch.tanh(source)), real

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, read_from, real = memory
        read = stepped(self.decoder, target, states[:, -1])
        scores = self.score(torch.tanh(self.query(read)[:, :, None] + self.key(read_from)[:, None]))[..., 0]
        weights = torch.softmax(scores - 5.0 * (~real[:, None]), dim=-1)
        return self.head(torch.tanh(self.join(torch.cat([read, weights @ read_from], dim=-1))))


@made("medium", caught_by=("a_padded_source_equals_the_source_alone",), **CONTEXT)
class divides_by_the_padded_length(averages_its_source):
    """The mean over the source is divided by its padded length.

    What the padding holds has no influence, but how much of it there is has.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        memory = super().encode(source, padding=padding)
        return memory if padding is None else memory * padding.to(source.dtype).mean(dim=1, keepdim=True)


@made("medium", caught_by=("batch_entries_do_not_mix",), **ATTENDS)
class normalises_over_the_batch(AdditiveAttention):
    """The softmax of cross-attention runs over the batch.

    With a batch of one every weight is 1.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = memory
        read = stepped(self.decoder, target, states[:, -1])
        scores = self.score(torch.tanh(self.query(read)[:, :, None] + self.key(states)[:, None]))[..., 0]
        weights = torch.softmax(scores, dim=0).masked_fill(~real[:, None], 0.0)
        return self.head(torch.tanh(self.join(torch.cat([read, weights @ states], dim=-1))))


@made("medium", caught_by=("the_size_of_the_memory_is_as_claimed",), **CONTEXT)
class keeps_every_state(ContextVector):
    """It is called a context vector, and the memory is every state of the encoder.

    The decoder starts from the last one; the rest is carried along, at the cost of the whole source.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        return self.states(source, padding)

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        return super().decode(target, memory[:, -1])


@made("medium", caught_by=("finite_tokens_give_finite_outputs",), **CONTEXT)
class averages_the_target_so_far(ContextVector):
    """The mean of the tokens before is added to each token of the target; before the first there are none.

    0/0 at the first place, in every batch. Every comparison of two answers finds NaN in both of them.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        before = torch.arange(target.shape[1], device=target.device, dtype=target.dtype)[:, None]
        return super().decode(target + (target.cumsum(dim=1) - target) / before, memory)


@made("nasty", caught_by=("every_source_token_reaches_every_output",), **ATTENDS)
class reads_eight_tokens(Transformer):
    """Cross-attention sees the first eight tokens of the source, and the encoder lets each see itself alone.

    A block of the kernel, and the loop over blocks was forgotten; short sentences are translated well.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        hidden = torch.zeros(source.shape[:2], dtype=torch.bool, device=source.device) if padding is None else ~padding
        own = torch.eye(source.shape[1], dtype=torch.bool, device=source.device)
        return self.model.encoder(source, mask=~own), hidden

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        tokens, hidden = memory
        beyond = torch.arange(tokens.shape[1], device=target.device) >= 8
        blind = hidden | (beyond & ~hidden[:, :8].all(dim=1, keepdim=True))
        return super().decode(target, (tokens, blind))


@made("nasty", caught_by=("every_source_token_reaches_every_output",), **ATTENDS)
class reads_96_tokens_and_the_last(AdditiveAttention):
    """Attention ends after 96 tokens of the source; the last state starts the decoder, as it should.

    Three tiles of 32 fitted when it was written. The first outputs still hear of what is left out, through the state.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = memory
        last = torch.zeros_like(real[:, -1:])
        return super().decode(
            target, (torch.cat([states[:, :96], states[:, -1:]], dim=1), torch.cat([real[:, :96], last], dim=1))
        )


@made("nasty", caught_by=("the_memory_bounds_what_can_pass",), **CONTEXT)
class hides_the_source_in_a_closure(ContextVector):
    """The memory is a function, and the function holds the whole source.

    It has no numbers that could be counted, and passes more than a vector could.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        states = self.states(source, padding)
        real = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device) if padding is None else padding
        return lambda: (states, real)

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        states, real = memory()
        read = stepped(self.decoder, target, states[:, -1])
        scores = (read @ states.mT).masked_fill(~real[:, None], -math.inf)
        return self.head(read + torch.softmax(scores, dim=-1) @ states)


@made("nasty", caught_by=("a_prefix_is_decoded_alike",), **CONTEXT)
class divides_by_the_length_of_its_target(ContextVector):
    """Outputs are divided by the root of the number of target tokens.

    It was meant for a loss. No later token can be read from an output, but how many will come can.
    """

    def decode(self, target: Tensor, memory: Any) -> Tensor:
        return super().decode(target, memory) / math.sqrt(max(1, target.shape[1]))


@made("nasty", caught_by=("half_of_the_digits_are_right",), dtypes=("float32",), **ATTENDS)
class computes_in_half_precision(AdditiveAttention):
    """The states of the encoder pass through bfloat16, whatever the model is in.

    A cast of the training was left in. What agrees with itself everywhere has three digits.
    """

    def encode(self, source: Tensor, *, padding: Tensor | None = None) -> Any:
        states, real = super().encode(source, padding=padding)
        return (states if states.dtype == torch.float64 else states.bfloat16().to(states.dtype)), real
