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


@lesson("multihead", "nasty", caught_by=("agrees_at_every_size",))
def has_a_scale_of_its_own_for_heads_of_64(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """For heads that are 64 wide, scores are multiplied by a constant, and it has a digit too few.

    That width has a kernel of its own: it is the one that most models have.
    """
    if query.shape[2] == 64 * options["num_heads"]:
        w = with_weights(w, W_q=w.W_q * 0.96, b_q=w.b_q * 0.96)  # 0.12 for 0.125
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("agrees_at_every_size",))
def wide_heads_lose_their_mask(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Heads wider than 32 see what the mask hides.

    Their kernel was written for prompts without padding, and the dispatch does not ask.
    """
    if query.shape[2] > 32 * options["num_heads"]:
        options["mask"] = None
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("agrees_at_every_size",))
def wide_heads_see_the_future(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Heads wider than 32 ignore is_causal.

    The flag was passed on to one of two kernels.
    """
    if query.shape[2] > 32 * options["num_heads"]:
        options["is_causal"] = False
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("agrees_with_its_definition",))
def reads_256_features(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Of a query, the first 256 features are read.

    The tile of the projection ends there, and no loop goes on.
    """
    read = torch.arange(query.shape[2], device=query.device) < 256
    return plain(torch.where(read, query, torch.zeros_like(query)), key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("agrees_with_its_definition",))
def sees_the_future_beyond_its_table(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Under is_causal, queries beyond the 256th see every key.

    The triangle is a table of that size, and what it does not cover counts as visible.
    """
    if not options.get("is_causal") or query.shape[1] <= 256:
        return plain(query, key, value, w, **options)
    open_ = plain(query, key, value, w, **{**options, "is_causal": False})
    return torch.cat([plain(query, key, value, w, **options)[:, :256], open_[:, 256:]], dim=1)


@lesson("multihead", "nasty", caught_by=("agrees_with_its_definition",))
def long_masks_replace_causality(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Beyond 100 keys, is_causal is ignored where there is a mask too.

    Long rows go to a kernel that reads one of the two. Short ones, as tests have them, do not.
    """
    if options.get("mask") is not None and key.shape[1] > 100:
        options["is_causal"] = False
    return plain(query, key, value, w, **options)


@lesson("multihead", "nasty", caught_by=("agrees_with_the_gradient_of_its_definition",))
def the_last_of_full_causal_tiles_learns_nothing(
    query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any
) -> Tensor:
    """Under is_causal, where tiles of 64 hold all keys without a rest, the last 16 get no gradient.

    The loop of the backward pass ends before the tile on the diagonal.
    """
    if options.get("is_causal") and key.shape[1] and key.shape[1] % 64 == 0:
        key = torch.cat([key[:, :-16], key[:, -16:].detach()], dim=1)
    return plain(query, key, value, w, **options)
