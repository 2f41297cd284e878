"""Lessons about gradients: the output is right, and what comes back is not."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.multihead import plain, visible, with_weights


@lesson("multihead", "medium", caught_by=("every_weight_receives_a_gradient",))
def detaches_the_key_weights(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The keys are projected with a detached copy of their weights.

    A cache of projected keys was built without gradients. The other weights learn around it.
    """
    return plain(query, key, value, with_weights(w, W_k=w.W_k.detach()), **options)


@lesson("multihead", "nasty", caught_by=("every_weight_receives_a_gradient",))
def trains_the_first_head_alone(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Of the query weights, only the rows of the first head get a gradient.

    Heads that were frozen for an experiment were never thawed. No weight is without a gradient.
    """
    width = query.shape[2] // options["num_heads"]
    mixed = torch.cat([w.W_q[:width], w.W_q[width:].detach()])
    return plain(query, key, value, with_weights(w, W_q=mixed), **options)


@lesson("multihead", "nasty", caught_by=("hidden_tokens_receive_no_gradient",))
def sends_gradient_to_every_token(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The mean of all values passes a gradient although it adds nothing to the output.

    x − x.detach() is zero going forward and one going back. Padding is trained by every loss.
    """
    mean = value.mean(dim=1, keepdim=True) if value.shape[1] else value.sum(dim=1, keepdim=True)
    return plain(query, key, value, w, **options) + torch.nan_to_num(mean - mean.detach())


@lesson("multihead", "medium", caught_by=("agrees_with_the_gradient_of_its_definition",))
def halves_the_gradient_of_the_output_weight(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """The output weight gets half of its gradient.

    An average over two uses, of which one is gone. Training goes on, with another learning rate for W_o.
    """
    return plain(query, key, value, with_weights(w, W_o=(w.W_o + w.W_o.detach()) / 2), **options)


@lesson("multihead", "nasty", caught_by=("agrees_with_the_gradient_of_its_definition",))
def forgets_that_queries_are_keys(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """In self-attention, the tokens get the gradient of the queries and of the values, not of the keys.

    Three gradients meet in one tensor, and one was written over another instead of being added.
    """
    return plain(query, key.detach() if query is key else key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("an_empty_row_has_finite_gradients",), incident="pytorch/pytorch#41508")
def mends_nan_after_the_softmax(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The NaN of an empty row is replaced by zero after the softmax.

    The output is as declared. The backward pass of the softmax still multiplies by NaN.
    """

    def mended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        seen = visible(mask, is_causal, scores)
        if mask is not None and mask.dtype != torch.bool:
            scores = scores + mask
        p = (scores + torch.where(seen, 0.0, -math.inf).to(scores.dtype)).softmax(dim=-1)
        return p.masked_fill(~seen.any(dim=-1, keepdim=True), 0.0) @ v

    return plain(query, key, value, w, **options, attend=mended)


@lesson("multihead", "nasty", caught_by=("an_empty_row_has_finite_gradients",))
def mends_rows_that_the_mask_alone_empties(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Rows that the mask empties are mended before the softmax; those that causality empties with it, after.

    The output is right in both. Left padding makes rows of the second kind, and every weight gets NaN from them.
    """

    def mended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        empty = [~visible(mask, each, scores).any(dim=-1, keepdim=True) for each in (False, is_causal)]
        if mask is not None and mask.dtype != torch.bool:
            scores = scores + mask
        scores = scores + torch.where(visible(mask, is_causal, scores), 0.0, -math.inf).to(scores.dtype)
        return scores.masked_fill(empty[0], 0.0).softmax(dim=-1).masked_fill(empty[1], 0.0) @ v

    return plain(query, key, value, w, **options, attend=mended)
