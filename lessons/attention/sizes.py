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
    hidden,
    mixed,
    scores,
    weights,
)


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


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_keys",))
def float_masks_end_at_512_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A float mask is read for the first 512 keys; the others get nothing added.

    The buffer into which it is copied has the size of the longest bias that was ever trained.
    """
    if mask is not None and mask.dtype != torch.bool and mask.shape[-1] > 512:
        mask = torch.cat([mask[..., :512], torch.zeros_like(mask[..., 512:])], dim=-1)
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_number_of_queries",))
def masks_end_at_256_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The rows of a mask beyond the 256th are those of the 256th again.

    An index is clamped to the buffer instead of the buffer being made larger.
    """
    if mask is not None and mask.dim() > 1 and mask.shape[-2] > 256:
        mask = mask[..., torch.arange(mask.shape[-2], device=mask.device).clamp(max=255), :]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_length",))
def causal_up_to_1024(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The causal triangle is stored for 1024 tokens, and later queries see everything.

    The buffer was registered once, for the context of the first model.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    later = torch.arange(s.shape[2], device=s.device)[:, None] >= 1024
    return mixed(weights(torch.where(later, hidden(scores(q, k, scale), mask, False), s)), v)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def groups_hold_eight_heads_at_most(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Query head h reads key/value head h // 8 where groups are larger than 8.

    A kernel packs the heads of a group into one tile, and its tile has eight rows.
    """
    if k.shape[1] and q.shape[1] // k.shape[1] > 8:
        head = torch.arange(q.shape[1], device=q.device) // 8 % k.shape[1]
        k, v = k[:, head], v[:, head]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def heads_beyond_64_start_again(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of more than 64 heads, the 65th gives the output of the first.

    The index of the head has six bits.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return out[:, torch.arange(out.shape[1], device=out.device) % 64]


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def masks_end_at_eight_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of a mask with a part for each head, those beyond the eighth read the eighth.

    Eight heads were all there were in the first model, and the index was clamped.
    """
    if mask is not None and mask.dim() > 2 and mask.shape[-3] > 8:
        mask = mask[..., torch.arange(mask.shape[-3], device=mask.device).clamp(max=7), :, :]
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gradients_agree_at_every_length",))
def causal_queries_learn_up_to_256(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Under is_causal, the gradient of queries beyond the 256th is never written.

    The causal backward kernel walks the blocks of one row of tiles, and there is a second row.
    """

    def cut(g: Tensor) -> Tensor:
        return torch.cat([g[:, :, :256], torch.zeros_like(g[:, :, 256:])], dim=2)

    return attend(backwards(q, cut) if is_causal else q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def products_end_at_256(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Products of queries and keys run over the first 256 channels.

    The largest tile has that width, and for wider heads there is no loop.
    """
    return attend(q[..., :256], k[..., :256], v, mask, is_causal, factor(q, scale))


@lesson("attention", "nasty", caught_by=("agrees_at_every_width_and_number_of_heads",))
def values_end_at_512(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Of values wider than 512, the rest of the output is never written.

    The accumulator was made for the widest head of its time.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return torch.cat([out[..., :512], torch.zeros_like(out[..., 512:])], dim=-1)
