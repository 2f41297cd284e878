"""Lessons about gradients: the output is right in all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    backwards,
    exponentials,
    factor,
    grafted,
    hidden,
    mixed,
    repeated,
    scores,
    weights,
    wide,
)


@lesson("attention", "easy", caught_by=("gradients_agree_with_the_definition",))
def keys_get_no_gradient(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The keys are detached.

    Their projection stays as it was initialised; the rest of the model learns around it.
    """
    return attend(q, k.detach(), v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("gradients_agree_with_the_definition",))
def query_gradient_scaled_twice(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The gradient of the queries is multiplied by the scale a second time.

    It points the right way and is too short; the optimiser's step size hides it.
    """
    return attend(backwards(q, lambda g: g * factor(q, scale)), k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gradients_agree_with_the_definition",))
def total_is_detached(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """No gradient flows through the total by which the exponentials are divided.

    The weights then seem free to grow together, and adding a constant to all scores seems to matter.
    """
    e = exponentials(hidden(scores(q, k, scale), mask, is_causal))
    total = e.detach().sum(dim=-1, keepdim=True)
    return mixed(e / total.masked_fill(total == 0, 1.0), v)


@lesson("attention", "nasty", caught_by=("nothing_flows_to_hidden_keys",))
def gradient_forgets_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass computes the weights again, without the mask.

    Hidden keys get a gradient: padding is trained, and trains.
    """
    return grafted(attend(q, k, v, mask, is_causal, scale), attend(q, k, v, None, is_causal, scale))


@lesson("attention", "nasty", caught_by=("nothing_flows_back_from_the_past",))
def gradient_forgets_causality(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass computes the weights again, without causality.

    The past learns from the future through its gradient, though it never saw it.
    """
    return grafted(attend(q, k, v, mask, is_causal, scale), attend(q, k, v, mask, False, scale))


@lesson(
    "attention", "nasty", caught_by=("gradients_agree_with_the_definition",), incident="Dao-AILab/flash-attention#2544"
)
def gradient_forgets_the_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass uses 1/√D whatever scale was given.

    An option that reached one of two kernels.
    """
    return grafted(attend(q, k, v, mask, is_causal, scale), attend(q, k, v, mask, is_causal, None))


@lesson(
    "attention", "nasty", caught_by=("gradients_agree_with_the_definition",), incident="Dao-AILab/flash-attention#2481"
)
def key_gradient_stops_at_64(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Keys beyond the first 64 get no gradient.

    The outer loop of the backward kernel runs over keys, and it runs once.
    """
    return attend(q, torch.cat([k[:, :, :64], k[:, :, 64:].detach()], dim=2), v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gradients_agree_with_the_definition",))
def group_gradient_from_one_head(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Grouped keys get the gradient of the first query head of their group, not the sum over all.

    Every head has written to the same place, and the last to write was the first head.
    """
    heads = torch.arange(q.shape[1], device=q.device)
    first = (heads % (q.shape[1] // k.shape[1]) == 0)[:, None, None]
    return attend(q, backwards(repeated(k, q), lambda g: g * first), v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("gives_each_gradient_by_itself",))
def query_gradient_needs_the_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The queries get their gradient only if the keys need one too.

    One flag decides for the whole backward pass; tuning the queries of a frozen model teaches nothing.
    """
    return attend(q if k.requires_grad else q.detach(), k, v, mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("empty_rows_send_no_gradient",))
def empty_rows_give_nan_gradients(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Rows without visible keys are cleared after the softmax, whose own gradient there is NaN.

    The output is right; zero times NaN is NaN on the way back, and one optimiser step ruins the model.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    empty = (s == -torch.inf).all(dim=-1, keepdim=True)
    return mixed(torch.softmax(s, dim=-1).masked_fill(empty, 0.0), v)


@lesson("attention", "nasty", caught_by=("empty_rows_send_no_gradient",))
def rows_emptied_by_two_masks_give_nan_gradients(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Rows that the mask empties are mended before the softmax; those that causality empties with it, after.

    The output is right in both. Left padding makes rows of the second kind, and its gradients are NaN.
    """
    s = scores(q, k, scale)
    biases = [hidden(torch.zeros_like(s), mask, each) for each in (False, is_causal)]
    by_the_mask, empty = ((bias == -torch.inf).all(dim=-1, keepdim=True) for bias in biases)
    return mixed(torch.softmax((s + biases[1]).masked_fill(by_the_mask, 0.0), dim=-1).masked_fill(empty, 0.0), v)


@lesson("attention", "nasty", caught_by=("empty_rows_send_no_gradient",))
def empty_rows_train_the_mean(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass computes the weights again, and in a row without visible keys they are all alike.

    The zeros that the forward pass gave such a row are right, and finite gradients for every value follow them.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    empty = (s == -torch.inf).all(dim=-1, keepdim=True)
    return grafted(attend(q, k, v, mask, is_causal, scale), mixed(torch.softmax(s.masked_fill(empty, 0.0), dim=-1), v))


@lesson("attention", "nasty", caught_by=("nothing_flows_to_hidden_keys",))
def hidden_half_gives_nan_gradients(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Two halves of the keys are merged by their log-sum-exps, whose gradient is NaN where a half is hidden.

    The output is right: a half of weight zero adds nothing. On the way back it adds zero times NaN.
    """
    s, middle = hidden(scores(q, k, scale), mask, is_causal), k.shape[2] // 2
    halves = [(s[..., :middle], v[:, :, :middle]), (s[..., middle:], v[:, :, middle:])]
    totals = torch.cat([torch.logsumexp(part, dim=-1, keepdim=True) for part, _ in halves], dim=-1)
    outs = torch.stack([wide(mixed(weights(part), values)) for part, values in halves], dim=-1)
    return (outs @ weights(totals)[..., None]).squeeze(-1).to(v.dtype)


@lesson("attention", "nasty", caught_by=("gradients_agree_with_the_definition",), dtypes=("float32", "float64"))
def gradient_through_bfloat16(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The gradient of the values passes through bfloat16.

    Three digits are left; a comparison at 1e-2 does not see it.
    """
    return attend(q, k, backwards(v, lambda g: g.bfloat16().to(g.dtype)), mask, is_causal, scale)


@lesson("attention", "nasty", caught_by=("reads_any_layout_of_its_gradient",), incident="pytorch/pytorch#138340")
def misreads_expanded_cotangents(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The gradient that arrives at the output is read as if it were contiguous.

    The gradient of a plain sum is one number expanded to a whole tensor.
    """

    def flat(g: Tensor) -> Tensor:
        return g.as_strided(g.shape, torch.empty(g.shape, device="meta").stride(), g.storage_offset())

    return backwards(attend(q, k, v, mask, is_causal, scale), flat)


@lesson("attention", "nasty", caught_by=("gradients_of_large_scores_stay_finite",), dtypes=("float32",))
def gradient_without_the_maximum(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The backward pass computes exp(s) again, without subtracting the row's maximum.

    It is right until a score passes 88; then ∞/∞ is NaN in every gradient, while the output is fine.
    """
    e = torch.exp(hidden(scores(q, k, scale), mask, is_causal))
    p = e / e.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(e.dtype).tiny)
    out = mixed(p, v)
    return grafted(attend(q, k, v, mask, is_causal, scale), out.masked_fill(~out.isfinite(), 0.0))
