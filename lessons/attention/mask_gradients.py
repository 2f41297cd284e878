"""Lessons about the gradient of an additive mask: what is added to the scores may be learned."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    backwards,
    hidden,
    scores,
)


@lesson("attention", "medium", caught_by=("an_additive_mask_receives_its_gradient",))
def mask_gets_no_gradient(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """An additive mask is detached.

    A learned relative bias never learns.
    """
    return attend(q, k, v, None if mask is None else mask.detach(), is_causal, scale)


@lesson("attention", "nasty", caught_by=("an_additive_mask_receives_its_gradient",))
def mask_gradient_is_averaged(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The gradient of a broadcast mask is the mean over the broadcast axes; it must be the sum.

    A bias shared by all entries learns the slower the larger the batch.
    """
    if mask is not None and mask.dtype != torch.bool and mask.numel():
        copies = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] / mask.numel()
        mask = backwards(mask, lambda g: g / copies)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("an_additive_mask_receives_its_gradient",), incident="pytorch/pytorch#148476")
def mask_gradient_needs_the_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """An additive mask gets its gradient only if the queries need one too.

    What the backward pass needs is saved for the queries alone; training a bias in a frozen model fails.
    """
    if mask is not None and not q.requires_grad:
        mask = mask.detach()
    return attend(q, k, v, mask, is_causal, scale)


class _MaskGradient(torch.autograd.Function):
    """A mask as it is; the gradient that comes back, of the full shape, is changed before it is summed."""

    @staticmethod
    def forward(ctx, mask: Tensor, s: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.change, ctx.shape = change, mask.shape
        return mask.expand_as(s).clone()

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        return ctx.change(g).sum_to_size(ctx.shape), None, None


def _biased(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask, is_causal: bool, scale: Scale, change: Callable[[Tensor], Tensor]
) -> Tensor:
    if mask is not None and mask.dtype != torch.bool:
        mask = _MaskGradient.apply(mask, scores(q, k, scale).to(mask.dtype), change)  # type: ignore[no-untyped-call]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("empty_rows_send_no_gradient",))
def mask_gradient_of_an_empty_row_is_nan(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Rows without a visible key send NaN to the mask, and zeros to queries, keys and values.

    Three of four gradients were mended. A bias that is learned is lost after one step.
    """
    empty = None if mask is None or mask.dtype == torch.bool else hidden(scores(q, k, scale), mask, is_causal)

    def spoil(g: Tensor) -> Tensor:
        return g if empty is None else g.masked_fill((empty == -math.inf).all(dim=-1, keepdim=True), math.nan)

    return _biased(q, k, v, mask, is_causal, scale, spoil)


@lesson("attention", "nasty", caught_by=("an_additive_mask_receives_its_gradient",))
def mask_gradient_ends_at_256_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The gradient of an additive mask is written for the first 256 keys.

    Those of keys and values have a loop over blocks; this one was added later.
    """
    return _biased(
        q, k, v, mask, is_causal, scale,
        lambda g: torch.cat([g[..., :256], torch.zeros_like(g[..., 256:])], dim=-1),
    )  # fmt: skip


@lesson("attention", "nasty", caught_by=("an_additive_mask_receives_its_gradient",))
def mask_gradient_sums_256_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where a mask is shared by all queries, its gradient is summed over the first 256 of them.

    One block does the sum, and there is one block.
    """
    shared = mask is not None and mask.dim() > 1 and mask.shape[-2] == 1
    return _biased(
        q, k, v, mask, is_causal, scale,
        lambda g: torch.cat([g[:, :, :256], torch.zeros_like(g[:, :, 256:])], dim=2) if shared else g,
    )  # fmt: skip
