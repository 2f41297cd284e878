"""Finding, by its key, what stood earlier."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.claim import Evidence, HoldsIf, claim
from seqlaws.instruments import Figure, Series

WIDTH = 32


def pairs(count: int) -> tuple[Tensor, Tensor]:
    """Random keys of length 1, and values."""
    keys, values = torch.randn(2, count, WIDTH)
    return F.normalize(keys), values


def recalled(out: Tensor, values: Tensor) -> float:
    """The share of outputs that lie nearest to the value that was asked for."""
    return (torch.cdist(out, values).argmin(1) == torch.arange(len(values))).double().mean().item()


def by_softmax(keys: Tensor, values: Tensor, share: float) -> Tensor:
    """Attention asked for every key, as sharp as it takes to give the right value at least this share."""
    others = keys @ keys.T - 2 * torch.eye(len(keys))
    margin = (1 - others.amax(1)).min().item()
    scale = math.log((len(keys) - 1) * share / (1 - share)) / margin
    return F.scaled_dot_product_attention(keys, keys, values, scale=scale)


def by_state(keys: Tensor, values: Tensor) -> Tensor:
    """The same asked of linear attention, whose memory is the sum of k·vᵀ over all pairs."""
    state: Tensor = keys.T @ values
    return keys @ state


@claim("E18", HoldsIf("the score of the word that is meant stands out by a margin that grows with ln T"), articles="S3",
       source="Arora et al. 2023")  # fmt: skip
def references_are_resolved_by_previous_context(see: Evidence) -> None:
    """Attention resolves references, such as pronouns, whose meaning depends on the context before.

    weight of the right word ≥ 1/(1 + (N − 1)·exp(−m)) for a margin m; = if all others score the same. Linear
    attention keeps d × d numbers: exact for N ≤ d orthonormal keys

    Rule: N pairs of random keys and values, d = 32. Sharp attention, which the bound gives 0.99 of the
    weight, finds every value for N up to 1024. At a margin of 1, the right one of 1024 has less than half the
    weight. Linear attention finds all of d orthonormal keys, less than ¾ of 4·d and less than a tenth of 32·d
    random ones.
    """
    sizes, found = (8, 32, 128, 512, 1024), dict[str, list[float]]()
    drawn = [pairs(count) for count in sizes]
    for name, memory in (("softmax", partial(by_softmax, share=0.99)), ("linear", by_state)):
        found[name] = [recalled(memory(keys, values), values) for keys, values in drawn]
    for count, share in zip(sizes, found["softmax"], strict=True):
        see.supports(f"softmax, N = {count}: values found", share, equals=1.0)
    orthonormal, values = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0], torch.randn(WIDTH, WIDTH)
    see.supports(
        "linear, N = 32 orthonormal keys: values found", recalled(by_state(orthonormal, values), values), equals=1.0
    )
    see.refutes("linear, N = 128 random keys: values found", found["linear"][2], below=0.75)
    see.refutes("linear, N = 1024 random keys: values found", found["linear"][4], below=0.1)
    scores = torch.zeros(1024)
    scores[0] = 1
    see.refutes("softmax, N = 1024, margin 1: weight of the right word", scores.softmax(0)[0].item(), below=0.5)
    see.picture(
        Figure(
            "Values found by their keys, d = 32",
            "pairs N",
            "share found",
            tuple(Series(name, sizes, shares) for name, shares in found.items()),
            x_log=True,
        )
    )
