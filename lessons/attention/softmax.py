"""Lessons about the softmax and the mean that it weighs: the right axis, the right total, every key."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import (
    Mask,
    Scale,
    attend,
    exponentials,
    finite,
    hidden,
    mixed,
    repeated,
    scores,
    shares,
    top,
    weights,
)


@lesson("attention", "easy", caught_by=("an_empty_row_follows_its_dialect", "queries_are_independent"))
def softmax_over_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The softmax runs over the queries instead of the keys.

    The weights of a query no longer sum to 1, and every query depends on all others, future ones too.
    """
    return mixed(weights(hidden(scores(q, k, scale), mask, is_causal).mT).mT, v)


@lesson("attention", "nasty", caught_by=("an_empty_row_follows_its_dialect", "queries_are_independent"))
def softmax_over_queries_if_square(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The softmax axis is found by its length, and the query axis is found first.

    Wrong wherever there are as many queries as keys: cross-attention works, self-attention does not.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s.mT).mT if s.shape[2] == s.shape[3] else weights(s), v)


@lesson("attention", "easy", caught_by=("heads_do_not_mix",))
def softmax_over_heads(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The softmax runs over the heads.

    With a single head every visible key gets weight 1 and the output is a sum, not a mean.
    """
    return mixed(weights(hidden(scores(q, k, scale), mask, is_causal).movedim(1, -1)).movedim(-1, 1), v)


@lesson("attention", "easy", caught_by=("constant_values_come_back",), incident="lucidrains/performer-pytorch#40")
def forgets_to_divide(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The exponentials are not divided by their total.

    The direction of the output is right, its length grows with the number of keys; a norm that
    follows hides it.
    """
    return mixed(exponentials(hidden(scores(q, k, scale), mask, is_causal)), v)


@lesson("attention", "medium", caught_by=("constant_values_come_back",), incident="pytorch/pytorch#11752")
def no_maximum_subtracted(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """exp(s) is taken without subtracting the largest score first.

    Equal on paper; in float32 it overflows at a score of 89, and infinity over infinity is NaN.
    """
    return mixed(shares(torch.exp(hidden(scores(q, k, scale), mask, is_causal))), v)


@lesson("attention", "nasty", caught_by=("heads_do_not_mix",))
def one_maximum_for_the_batch(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The largest score of the whole batch is subtracted instead of the row's own.

    Nothing overflows, but a row far below its neighbours underflows to zero: the answer depends on
    who else is in the batch.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(shares(torch.exp(s - finite(top(s.flatten())))), v)


@lesson(
    "attention",
    "medium",
    caught_by=("a_constant_added_to_a_row_of_the_mask_changes_nothing", "constant_values_come_back"),
    incident="huggingface/transformers#41083",
)
def counts_an_absent_key(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The total counts one more key, with score zero and value zero.

    The weights sum to less than 1. Some models want such a sink; whoever does not ask for it gets
    shrunken outputs.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    e, absent = exponentials(s), torch.exp(-finite(top(s)))
    return mixed(e / (e.sum(dim=-1, keepdim=True) + absent), v)


@lesson("attention", "nasty", caught_by=("constant_values_come_back",), dtypes=("float64",))
def epsilon_in_the_total(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """1e-6 is added to the total against division by zero.

    After the maximum is subtracted the total is at least 1, so it guards against nothing, and
    float64 loses ten of its digits.
    """
    e = exponentials(hidden(scores(q, k, scale), mask, is_causal))
    return mixed(e / (e.sum(dim=-1, keepdim=True) + 1e-6), v)


@lesson("attention", "medium", caught_by=("agrees_with_its_definition",), incident="pytorch/pytorch#181645")
def powers_of_two_unconverted(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """2^s is computed where e^s is meant: the factor log₂e is missing.

    Kernels use the faster power of two; without the factor the softmax runs at a temperature of 1.44.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(shares(torch.exp2(s - finite(top(s)))), v)


@lesson("attention", "nasty", caught_by=("the_present_has_influence", "visible_keys_have_influence"))
def eight_best_keys_only(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Only the eight largest scores of a row take part.

    Exact for short sequences, nearly right for sharp attention, and silently deaf to most of a
    long context.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    eighth = s.topk(min(8, s.shape[-1]), dim=-1).values[..., -1:] if s.shape[-1] else s
    return mixed(weights(s.masked_fill(s < eighth, -math.inf)), v)


@lesson("attention", "nasty", caught_by=("visible_keys_have_influence",))
def drops_small_weights(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Weights below 0.001 are set to zero and the rest is left as it is.

    Each one is negligible; a thousand of them are everything there is.
    """
    p = weights(hidden(scores(q, k, scale), mask, is_causal))
    return mixed(p.masked_fill(p < 1e-3, 0.0), v)


@lesson("attention", "nasty", caught_by=("the_winner_takes_all",), dtypes=("float32",))
def weights_never_reach_zero(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """No visible weight is smaller than 1e-11, so that its logarithm can be taken.

    Invisible among ordinary values. Where one key has won, a large value elsewhere still shows
    through a small one.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s).clamp(min=1e-11) * (s != -math.inf), v)


@lesson("attention", "nasty", caught_by=("constant_values_come_back",), dtypes=("float32", "float64"))
def refines_its_reciprocal_once(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The weights are divided by their sum through an estimated reciprocal with one Newton step instead of three.

    One step leaves an error of 1 in 300: the weights of every row miss 1 by the same small part, and tests with a
    tolerance of 1e-2 pass.
    """
    e = exponentials(hidden(scores(q, k, scale), mask, is_causal))
    total = e.sum(-1, keepdim=True)
    mantissa = torch.frexp(total.detach()).mantissa
    estimate = 48 / 17 - 32 / 17 * mantissa
    off = (mantissa * estimate * (2 - mantissa * estimate)).where(total > 0, torch.ones_like(total))
    return mixed(shares(e) * off, v)


@lesson("attention", "nasty", caught_by=("constant_values_come_back",), dtypes=("float16", "bfloat16"))
def sums_in_half(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """In half precision the weighted values are added up one by one in half precision.

    With a hundred keys each new term is smaller than the last digit of the sum and is rounded away.
    """
    p, values = weights(hidden(scores(q, k, scale), mask, is_causal)).to(v.dtype), repeated(v, q)
    out = q.new_zeros((*q.shape[:3], v.shape[3]))
    for j in range(k.shape[2]):
        out = out + p[..., j, None] * values[:, :, None, j]
    return out


@lesson("attention", "nasty", caught_by=("leaves_random_generators_alone",), incident="NVIDIA/torch-harmonics#221")
def dropout_stays_on(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The weights pass through a dropout whose probability is close to zero, but not zero.

    It drops nothing in a test, yet it draws random numbers: whoever draws next gets other ones.
    """
    p = weights(hidden(scores(q, k, scale), mask, is_causal))
    return mixed(functional.dropout(p, 1e-18, training=True), v)


@lesson("attention", "easy", caught_by=("an_empty_row_follows_its_dialect",))
def adds_the_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The residual connection is built in: the queries are added to the output.

    A block that adds its own residual then counts it twice; the output is no mean of values any more.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return out + q if out.shape == q.shape else out


@lesson("attention", "medium", caught_by=("constant_values_come_back",))
def cuts_wide_values(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Values are read up to the width of the keys; wider ones end in zeros.

    The buffer for the output was sized with D, and D is Dv in every test.
    """
    out = attend(q, k, v, mask, is_causal, scale)
    return out * (torch.arange(v.shape[3], device=v.device) < q.shape[3])
