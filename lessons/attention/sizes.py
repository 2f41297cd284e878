"""Lessons about sizes: right for those that everybody tests, wrong for some others."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    backwards,
    factor,
    finite,
    hidden,
    mixed,
    scores,
    shares,
    top,
    weights,
)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def takes_a_scale_of_zero_for_none(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """`scale or 1/√D`: a scale of 0 is taken for no scale at all.

    0 is false in Python. A learned temperature that starts at 0 starts at 1/√D.
    """
    return attend(q, k, v, mask, is_causal, scale or None)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def tiles_groups_of_four(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Groups of four query heads, which have a kernel of their own, read tiled keys (0 1 0 1), not repeated ones.

    Groups of two, three and eight are right, and so is a single group of four.
    """
    if k.shape[1] and q.shape[1] == 4 * k.shape[1]:
        k, v = k.repeat(1, 4, 1, 1), v.repeat(1, 4, 1, 1)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def heads_beyond_eight_start_again(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of more than eight heads, the ninth reads the keys and values of the first.

    The index of the head is taken modulo 8. Small models have no ninth head.
    """
    if k.shape[1] == q.shape[1] > 8:
        head = torch.arange(q.shape[1], device=q.device) % 8
        k, v = k[:, head], v[:, head]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def values_end_at_128(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of values wider than 128, the rest of the output is never written.

    One accumulator holds 128 columns, and most models have no wider heads.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return torch.cat([out[..., :128], torch.zeros_like(out[..., 128:])], dim=-1)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def scales_the_maximum_of_the_products(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The largest product of a row is found first and scaled with the others: exp(scale·⟨q, k⟩ − scale·max).

    One multiplication less for each score. Below 0 it is the smallest score that is taken off, and exp overflows.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    if mask is None or mask.dtype == torch.bool:
        highest = factor(q, scale) * finite(top(hidden(scores(q, k, 1.0), mask, is_causal)))
    else:
        highest = finite(top(s))
    return mixed(shares(torch.exp(s - highest)), v)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def batches_beyond_65535_are_not_computed(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """One block for each head of each batch entry, as far as a grid has blocks; the rest stays zero.

    The limit of the second axis of a grid is 65535, and a launch in two parts was never written.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    block = torch.arange(q.shape[0] * q.shape[1], device=q.device).reshape(*q.shape[:2], 1, 1)
    return out.masked_fill(block >= 65535, 0.0)


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_queries",))
def full_tile_of_48_queries_loses_its_last(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Without causality, where tiles of 48 divide the queries without a rest, the last one comes out as zeros.

    Under causality another kernel runs, and that one is tested at every length.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    full = not is_causal and q.shape[2] % 48 == 0
    return out * (torch.arange(q.shape[2], device=q.device) < q.shape[2] - full)[:, None]


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_keys",))
def ignores_keys_beyond_1024(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys beyond the first 1024 are not read.

    A buffer has the size of the longest context that the model was trained on.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s[..., :1024]), v[:, :, :1024])


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_keys",))
def shows_all_keys_beyond_512(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask is read for the first 512 keys; all later ones are visible.

    The tile of the mask stays where it is when the loop over the keys goes on. Short texts never get there.
    """
    if mask is not None and mask.shape[-1] > 512:
        rest = torch.ones_like(mask[..., 512:]) if mask.dtype == torch.bool else torch.zeros_like(mask[..., 512:])
        mask = torch.cat([mask[..., :512], rest], dim=-1)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("hidden_keys_are_inert",))
def flat_mask_read_as_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask [Tq,Tk] is taken for [H,Tk] where there are as many queries as heads, and another number of entries.

    A library that also accepts padding per head guesses from the sizes which one it was given.
    """
    if mask is not None and mask.ndim == 2 and 1 < mask.shape[0] == q.shape[1] != q.shape[0]:
        mask = mask[None, :, None]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gradients_agree_at_every_length",))
def key_gradient_loses_the_end_of_a_full_tile(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where tiles of 24 divide the keys without a rest, the last key gets no gradient.

    The backward pass has its own tiles, and the forward pass is right at every length.
    """

    def cut(g: Tensor) -> Tensor:
        full = g.shape[2] > 0 and g.shape[2] % 24 == 0
        return g * (torch.arange(g.shape[2], device=g.device) < g.shape[2] - full)[:, None]

    return attend(q, backwards(k, cut), v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gradients_agree_at_every_length",))
def gradients_end_at_192_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys and values beyond the first 192 get no gradient.

    The backward kernel holds as much in fast memory as there is, and has no loop for the rest.
    """

    def cut(g: Tensor) -> Tensor:
        return torch.cat([g[:, :, :192], torch.zeros_like(g[:, :, 192:])], dim=2)

    return attend(q, backwards(k, cut), backwards(v, cut), mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gradients_agree_at_every_width_and_number_of_heads",))
def query_gradient_ends_at_128(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of queries wider than 128, the rest of the gradient is never written.

    The backward kernel was compiled for the widths up to 128; the forward kernel for those up to 256.
    """

    def cut(g: Tensor) -> Tensor:
        return torch.cat([g[..., :128], torch.zeros_like(g[..., 128:])], dim=-1)

    return attend(backwards(q, cut), k, v, mask, is_causal, scale)
