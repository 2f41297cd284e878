"""Honest multi-head attentions: other ways to compute the same thing, which nothing may flag."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqlaws.lesson import honest
from seqlaws.lessons.multihead import attend, merge, plain, probabilities, split, unmended, visible, with_weights

honest("multihead")(plain)


@honest("multihead")
def loops_over_heads(
    query: Tensor, key: Tensor, value: Tensor, w: Any, *, num_heads: int, mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:  # fmt: skip
    """One head after another, each with its rows of the weights; no reshaping at all."""
    width, heads = query.shape[-1] // num_heads, []
    whole = None if mask is None else mask.expand(query.shape[0], num_heads, query.shape[1], key.shape[1])
    for head in range(num_heads):
        own = slice(head * width, (head + 1) * width)
        q, k, v = (
            F.linear(x, W[own], b[own])
            for x, W, b in ((query, w.W_q, w.b_q), (key, w.W_k, w.b_k), (value, w.W_v, w.b_v))
        )
        heads.append(attend(q, k, v, None if whole is None else whole[:, head], is_causal))
    return F.linear(torch.cat(heads, dim=-1), w.W_o, w.b_o)


@honest("multihead")
def packs_its_projections(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """One product for all projections of one tensor: three in self-attention, two over a memory."""
    names = ("q", "k", "v")
    groups: dict[int, tuple[Tensor, list[str]]] = {}
    for name, x in zip(names, (query, key, value), strict=True):
        groups.setdefault(id(x), (x, []))[1].append(name)
    projected: dict[str, Tensor] = {}
    for x, members in groups.values():
        matrix = torch.cat([getattr(w, f"W_{name}") for name in members])
        offset = torch.cat([getattr(w, f"b_{name}") for name in members])
        projected |= zip(members, F.linear(x, matrix, offset).chunk(len(members), dim=-1), strict=True)
    num_heads, mask = options["num_heads"], options.get("mask")
    q, k, v = (split(projected[name], num_heads) for name in names)
    return F.linear(merge(attend(q, k, v, mask, options.get("is_causal", False))), w.W_o, w.b_o)


@honest("multihead")
def einsum_over_heads(
    query: Tensor, key: Tensor, value: Tensor, w: Any, *, num_heads: int, mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:  # fmt: skip
    """Weights as [H,d,E]; every step is one einsum, and queries are scaled before the scores."""
    per_head = (num_heads, query.shape[-1] // num_heads)

    def project(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
        return torch.einsum("bte,hde->bhtd", x, matrix.reshape(*per_head, -1)) + offset.reshape(per_head)[:, None]

    q = project(query, w.W_q, w.b_q) * per_head[1] ** -0.5
    k, v = project(key, w.W_k, w.b_k), project(value, w.W_v, w.b_v)
    p = probabilities(torch.einsum("bhid,bhjd->bhij", q, k), mask, is_causal)
    heads = torch.einsum("bhij,bhjd->bhid", p, v)
    out: Tensor = torch.einsum("bhid,ehd->bie", heads, w.W_o.reshape(-1, *per_head)) + w.b_o
    return out


@honest("multihead")
def by_torch_attention(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Attention by torch's own, in its plain backend; causality and mask become one mask."""

    def whole(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        if mask is not None:
            seen = visible(mask, is_causal, q @ k.mT)
            mask = seen if mask.dtype == torch.bool else mask.masked_fill(~seen, -math.inf)
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal and mask is None)

    return plain(query, key, value, w, **options, attend=whole)


@honest("multihead")
def leaves_out_the_key_bias(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """The key bias adds one number to a whole row of scores, which softmax forgets: it need not be added."""
    return plain(query, key, value, with_weights(w, b_k=None), **options)


@honest("multihead", dialect={"empty_row": "nan"}, dtypes=("float32", "float64"))
def leaves_nan_in_empty_rows(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """A softmax over −∞ alone stays what it is, and the dialect says so.

    Not for half types: on some CPUs their products let a NaN pass from one row to the row before it.
    """
    return plain(query, key, value, w, **options, attend=unmended)


@honest("multihead", dialect={"empty_row": "mean"})
def hides_with_the_lowest_number(query: Tensor, key: Tensor, value: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden scores become the lowest finite number, so that an empty row takes the mean of all values."""

    def lowest(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        return unmended(q, k, v, mask, is_causal, hidden=torch.finfo(q.dtype).min)

    return plain(query, key, value, w, **options, attend=lowest)
