"""Lessons about causality: query i sees keys 0 … i, all of them and no other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import Mask, Scale, attend, hidden, mixed, scores, triangle, weights
from seqlaws.lessons.tensors import hides_the_future


def _with_weights(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    return attend(q, k, v, mask, False, scale)


@lesson("attention", "easy", caught_by=("the_future_has_no_influence",))
def sees_the_next_token(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The triangle is one diagonal too wide: query i sees key i + 1.

    In language modelling that key is the answer. Loss falls to almost nothing, and so does the
    quality of what is generated.
    """
    s = hidden(scores(q, k, scale), mask, False)
    seen = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril(1)
    return mixed(weights(s.masked_fill(~seen, -math.inf) if is_causal else s), v)


@lesson("attention", "easy", caught_by=("the_present_has_influence",), incident="pytorch/pytorch#27461")
def misses_itself(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The triangle is one diagonal too narrow: a query does not see its own position.

    The first query sees nothing at all.
    """
    s = hidden(scores(q, k, scale), mask, False)
    seen = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril(-1)
    return mixed(weights(s.masked_fill(~seen, -math.inf) if is_causal else s), v)


@lesson("attention", "easy", caught_by=("the_future_has_no_influence",))
def sees_the_future_only(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The upper triangle is kept where the lower one is meant.

    `triu` builds the mask in one convention and hides in the other.
    """
    s = hidden(scores(q, k, scale), mask, False)
    return mixed(weights(s.masked_fill(~triangle(s.mT).mT, -math.inf) if is_causal else s), v)


@lesson("attention", "easy", caught_by=("visible_keys_have_influence",))
def always_causal(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Causality is applied whether it is asked for or not.

    Encoders and cross-attention lose their right context and still train.
    """
    return attend(q, k, v, mask, True, scale)


@lesson("attention", "medium", caught_by=("the_future_has_no_influence",), incident="Dao-AILab/flash-attention#282")
def aligns_bottom_right(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The triangle is aligned at the last key, not at the first, without saying so.

    Both conventions exist. They agree for square scores, so tests of self-attention see nothing.
    """
    s = hidden(scores(q, k, scale), mask, False)
    seen = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril(s.shape[3] - s.shape[2])
    return mixed(weights(s.masked_fill(~seen, -math.inf) if is_causal else s), v)


@lesson("attention", "medium", caught_by=("the_future_has_no_influence",), incident="meta-llama/llama#899")
def causal_if_square(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Causality is dropped where there are not as many queries as keys.

    The triangle was built for self-attention; a chunk of a longer sequence sees its future.
    """
    return attend(q, k, v, mask, is_causal and q.shape[2] == k.shape[2], scale)


@lesson("attention", "nasty", caught_by=("the_future_has_no_influence",))
def causal_for_64_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The triangle is stored for 64 keys; those after them are visible to everyone.

    The future leaks only in sequences that are longer than those of the tests.
    """
    s = hidden(scores(q, k, scale), mask, False)
    far = torch.arange(s.shape[3], device=s.device) >= 64
    return mixed(weights(s.masked_fill(~(triangle(s) | far), -math.inf) if is_causal else s), v)


@lesson("attention", "nasty", caught_by=("the_future_has_no_influence",))
def sees_its_whole_block(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Causality is decided for blocks of 16 positions, and the block on the diagonal is not masked inside.

    A query sees up to 15 tokens of its future; the last one of each block is right.
    """
    s = hidden(scores(q, k, scale), mask, False)
    row, column = (torch.arange(size, device=s.device) // 16 for size in s.shape[-2:])
    return mixed(weights(s.masked_fill(column > row[:, None], -math.inf) if is_causal else s), v)


@lesson("attention", "nasty", caught_by=("the_present_has_influence",), incident="huggingface/transformers#46111")
def window_of_64(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Causal attention sees the last 64 keys only: a sliding window is left switched on.

    Nothing changes for short sequences; in long ones the beginning is forgotten.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    old = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril(-64)
    return mixed(weights(s.masked_fill(old, -math.inf) if is_causal else s), v)


@lesson("attention", "nasty", caught_by=("the_future_has_no_influence",), incident="EleutherAI/gpt-neox#1178")
def single_query_sees_everything(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Causality is dropped for a single query, which is taken for the newest token of a stream.

    With top-left alignment a single query is the first token and sees one key.
    """
    return attend(q, k, v, mask, is_causal and q.shape[2] > 1, scale)


@lesson("attention", "medium", caught_by=("causality_and_a_mask_both_apply",), incident="keras-team/keras#23040")
def causality_replaces_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where causality is asked for, the mask is ignored.

    Padding and packing borders are lost in exactly the models that need both.
    """
    return attend(q, k, v, None if is_causal else mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("causality_and_a_mask_both_apply",), incident="keras-team/keras#23038")
def mask_replaces_causality(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where a mask is given, causality is ignored.

    The future leaks as soon as someone adds a padding mask.
    """
    return attend(q, k, v, mask, is_causal and mask is None, scale)


@lesson("attention", "medium", caught_by=("causality_and_a_mask_both_apply",))
def mask_or_causality(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A key is visible if the mask or causality allows it; both must.

    Two boolean masks are combined with the wrong operator, and each widens the other.
    """
    s = scores(q, k, scale)
    if mask is not None and mask.dtype == torch.bool and is_causal:
        return mixed(weights(hidden(s, mask | triangle(s), False)), v)
    return mixed(weights(hidden(s, mask, is_causal)), v)


@lesson("attention", "medium", caught_by=("the_future_has_no_influence",))
def future_keeps_its_share(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Future weights are set to zero after the softmax, and the rest is not renormalised.

    The values of the future are gone, its keys still decide how large the output is.
    """
    p = weights(hidden(scores(q, k, scale), mask, False))
    return mixed(p * triangle(p) if is_causal else p, v)


@lesson("attention", "medium", caught_by=("is_causal_equals_the_triangular_mask",))
def causal_kernel_forgets_the_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Causal attention takes a kernel of its own, in which √D was forgotten.

    Each kernel alone gives plausible numbers; a triangular mask gives others than the flag.
    """
    return attend(q, k, v, mask, is_causal, 1.0 if is_causal and scale is None else scale)


@lesson("attention", "medium", caught_by=("causality_and_a_mask_both_apply",))
def causality_drops_the_biases(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where causality and a float mask are given, the mask only hides; its biases are dropped.

    The two are merged into one boolean mask, which has no room for numbers.
    """
    if is_causal and mask is not None and mask.dtype != torch.bool:
        mask = mask != -math.inf
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("agrees_at_every_length",))
def last_full_tile_misses_itself(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Where tiles of 48 divide a causal sequence without a rest, the last query misses its own key.

    The tile on the diagonal is taken for the one after it. No usual test has 48 or 96 tokens.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    if is_causal and s.shape[2] == s.shape[3] and s.shape[2] % 48 == 0:
        corner = torch.zeros(s.shape[-2:], dtype=torch.bool, device=s.device)
        corner[-1:, -1:] = True
        s = s.masked_fill(corner, -math.inf)
    return mixed(weights(s), v)


@lesson(
    "attention",
    "medium",
    caught_by=("agrees_on_all_paths",),
    incident="huggingface/transformers#30652",
    paths={"with weights": _with_weights},
)
def asking_for_weights_ends_causality(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The path that also returns the weights does not apply causality.

    The fused path is right; whoever looks at the weights to understand the model runs another model.
    """
    return attend(q, k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("causality_and_a_mask_both_apply",))
def takes_what_hides_the_future_for_causality(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A mask that hides all later keys is taken for the causal one, whatever else it hides.

    The causal kernel is faster, and the triangle above the diagonal is quickly looked through. Padding in a
    causal mask comes into view again.
    """
    if mask is not None and hides_the_future(mask):
        return attend(q, k, v, None, True, scale)
    return attend(q, k, v, mask, is_causal, scale)
