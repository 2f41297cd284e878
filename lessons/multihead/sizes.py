"""Lessons about sizes, and about who is who: right for those that everybody tests, wrong for some others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.multihead import attend, plain, with_weights


@lesson("multihead", "nasty", caught_by=("agrees_at_every_size",))
def loses_the_ninth_head(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Of more than eight heads, those beyond the eighth contribute nothing.

    One head for each warp, and eight warps in a block. Small models have no ninth head.
    """

    def eight(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        heads = attend(q, k, v, mask, is_causal)
        return torch.cat([heads[:, :8], torch.zeros_like(heads[:, 8:])], dim=1)

    return plain(query, key, value, w, **options, attend=eight)


@lesson("multihead", "nasty", caught_by=("agrees_at_every_size",))
def repeats_the_query_before_a_tail_of_one(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Where tiles of 20 queries leave a rest of one, that last query gets the answer to the one before it.

    The tail is moved back to stay in bounds, by one row too many when it is a single row.
    """
    out = plain(query, key, value, w, **options)
    alone = query.shape[1] > 20 and query.shape[1] % 20 == 1
    return torch.cat([out[:, :-1], out[:, -2:-1]], dim=1) if alone else out


@lesson("multihead", "nasty", caught_by=("one_tensor_passed_twice_equals_two_copies",))
def takes_the_query_for_the_value(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Where the query is the key, self-attention is assumed, and the value is not looked at.

    The test for the packed projection compares two of the three tensors. Models that add positions to
    queries and keys, but not to values, lose their values.
    """
    return plain(query, key, query if query is key else value, w, **options)


@lesson("multihead", "nasty", caught_by=("agrees_with_its_gradient_at_every_size",))
def wide_query_biases_learn_up_to_64(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """In models wider than 64, the query bias learns in its first 64 entries.

    It is a sum over tokens, made by one block of 64 threads.
    """
    learning = torch.arange(len(w.b_q), device=query.device) < 64
    w = with_weights(w, b_q=torch.where(learning, w.b_q, w.b_q.detach()))
    return plain(query, key, value, w, **options)
