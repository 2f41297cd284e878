"""Lessons about masks and padding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.encoder import attend, plain, scored
from seqlaws.lessons.tensors import hides_the_future


@lesson("encoder", "easy", caught_by=("hidden_tokens_are_inert",), incident="huggingface/transformers#41790")
def ignores_its_mask(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """The mask is accepted, and goes nowhere.

    Every sentence in a batch but the longest attends to padding.
    """
    return plain(x, w, **options)


@lesson("encoder", "easy", caught_by=("hidden_tokens_are_inert",), incident="InseeFrLab/torchTextClassifiers#92")
def reads_its_mask_the_other_way_round(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """True hides.

    Half of all libraries mean it so. Padding is all that is seen, and the loss still goes down.
    """
    if mask is not None and mask.dtype == torch.bool:
        mask = ~mask
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "medium", caught_by=("hidden_tokens_are_inert",))
def hides_with_minus_ten(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden scores get −10 added instead of −∞.

    exp(−10) is small, and a long padding is many times small.
    """

    def leaky(scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return scores
        return scores + (
            torch.where(mask, 0.0, -10.0).to(scores.dtype) if mask.dtype == torch.bool else mask.clamp(-10)
        )

    def through(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        return attend(tokens, w, num_heads, mask, biased=leaky)

    return plain(x, w, **options, attend=through)


@lesson("encoder", "medium", caught_by=("visible_tokens_have_influence",))
def hides_the_last_token_too(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """With a padding mask, the last token that is visible is hidden as well.

    Lengths were counted from 0 where they are counted from 1. Whoever tests what must be hidden is content.
    """
    if mask is not None and mask.dtype == torch.bool and mask.shape[-1] > 2:
        last = mask & (mask.flip(-1).cumsum(-1).flip(-1) == 1)
        mask = mask & ~(last & (mask.sum(-1, keepdim=True) > 1))
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "medium", caught_by=("a_bool_mask_equals_its_additive_form",))
def leaves_the_scale_to_whoever_adds_numbers(x: Tensor, w: Any, **options: Any) -> Tensor:
    """With a mask of numbers, the scores are not divided by √d.

    Whoever brings a bias was expected to bring the scale with it. A padding mask written as numbers
    makes another model of the same weights.
    """

    def through(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        by_number = mask is not None and mask.dtype != torch.bool
        return attend(tokens, w, num_heads, mask, scored=(lambda q, k: q @ k.mT) if by_number else scored)

    return plain(x, w, **options, attend=through)


@lesson("encoder", "nasty", caught_by=("a_broadcast_mask_equals_its_expansion",))
def turns_a_flat_mask_round(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """A mask of shape [T,T] is read with keys in its rows.

    Masks of four axes take another branch. Symmetric ones, as padding makes them, do not show it.
    """
    if mask is not None and mask.dim() == 2 and mask.shape[0] == mask.shape[1]:
        mask = mask.T
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "nasty", caught_by=("batch_entries_do_not_mix",))
def lays_a_mask_per_entry_along_the_heads(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """Where there are as many entries as heads, a mask [B,1,T,T] is read as [1,H,T,T].

    Both were [n,T,T] once. Only n = B = H cannot tell them apart, and that is a batch of 8.
    """
    heads = options["num_heads"]
    if mask is not None and mask.dim() == 4 and mask.shape[:2] == (heads, 1) and mask.shape[2] > 1:
        mask = mask.transpose(0, 1)
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "medium", caught_by=("no_mask_equals_a_mask_that_hides_nothing",))
def scales_without_a_mask_alone(x: Tensor, w: Any, **options: Any) -> Tensor:
    """With a mask, the scores are not divided by √d.

    Two branches, one with a fused kernel that scales by itself, and one that was written by hand.
    """

    def through(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        unscaled = scored if mask is None else (lambda q, k: q @ k.mT)
        return attend(tokens, w, num_heads, mask, scored=unscaled)

    return plain(x, w, **options, attend=through)


@lesson("encoder", "nasty", caught_by=("agrees_with_its_definition",))
def takes_what_hides_the_future_for_causality(
    x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any
) -> Tensor:
    """A mask that hides all later tokens is taken for the causal one, whatever else it hides.

    The causal kernel is faster, and the triangle above the diagonal is quickly looked through. Padding in a
    causal mask comes into view again.
    """
    if mask is not None and hides_the_future(mask):
        mask = torch.ones_like(mask, dtype=torch.bool).tril()
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "nasty", caught_by=("a_padded_sequence_equals_the_sequence_alone",))
def damps_by_the_share_of_padding(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """What attention returns is multiplied by the share of tokens that are visible.

    A mean over the sequence with a fixed length below the line. What padding holds has no effect; how
    much of it there is has.
    """

    def damped(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        out = attend(tokens, w, num_heads, mask)
        if mask is None or not tokens.shape[1]:
            return out
        seen = mask if mask.dtype == torch.bool else mask > -math.inf
        whole = seen.expand(tokens.shape[0], num_heads, tokens.shape[1], tokens.shape[1])
        return out * whole.to(out.dtype).mean(dim=(1, 3))[..., None]

    return plain(x, w, mask=mask, **options, attend=damped)


@lesson("encoder", "medium", caught_by=("an_empty_row_follows_its_dialect",), incident="pytorch/pytorch#41508")
def gives_nan_to_a_token_that_sees_none(x: Tensor, w: Any, **options: Any) -> Tensor:
    """A softmax over −∞ alone is NaN, and NaN it stays.

    A row of padding queries is enough. The next block attends to it, and the batch is gone.
    """

    def unmended(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        return attend(tokens, w, num_heads, mask, weights=lambda scores: scores.softmax(dim=-1))

    return plain(x, w, **options, attend=unmended)


@lesson("encoder", "nasty", caught_by=("an_empty_row_has_finite_gradients",), incident="pytorch/pytorch#41508")
def mends_nan_after_the_softmax(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The NaN of a token that sees none is replaced by zero after the softmax.

    The output is as declared. The backward pass of the softmax still multiplies by NaN, and the next step
    of training makes every weight NaN.
    """

    def mended(scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1).masked_fill((scores == -math.inf).all(dim=-1, keepdim=True), 0.0)

    def added(scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.where(mask, 0.0, -math.inf).to(scores.dtype)
        return scores if mask is None else scores + mask

    def through(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        return attend(tokens, w, num_heads, mask, biased=added, weights=mended)

    return plain(x, w, **options, attend=through)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_length",))
def reads_a_mask_of_sixty_four_keys(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """Of a mask, the first 64 keys are read; all keys behind them are visible.

    A word of 64 bits holds the mask of a tile, and there is one word. Padding of longer batches is attended to.
    """
    if mask is not None and mask.shape[-1] > 64:
        rest = torch.ones_like(mask[..., 64:]) if mask.dtype == torch.bool else torch.zeros_like(mask[..., 64:])
        mask = torch.cat([mask[..., :64], rest], dim=-1)
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "nasty", caught_by=("refuses_malformed_input",))
def shows_tokens_that_a_short_mask_leaves_out(
    x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any
) -> Tensor:
    """A mask for fewer tokens than there are is filled up with visible ones.

    Meant for tokens that are put before a text. A mask for the wrong batch opens its padding.
    """
    if mask is not None and 1 < mask.shape[-1] < x.shape[1]:
        mask = F.pad(mask, (0, x.shape[1] - mask.shape[-1]), value=mask.dtype == torch.bool)
    return plain(x, w, mask=mask, **options)
