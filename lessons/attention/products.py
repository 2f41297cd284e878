"""Lessons about the products of queries and keys, and the scale that they carry."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqlaws.lesson import lesson
from seqlaws.lessons.attention import Mask, Scale, attend, exponentials, factor, hidden, mixed, scores, weights, wide


@lesson("attention", "easy", caught_by=("agrees_with_its_definition",))
def forgets_the_scale(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The scores are not divided by √D.

    They grow with the width, so the softmax saturates and its gradient dies. Small models still
    train, which is why nobody notices.
    """
    return attend(q, k, v, mask, is_causal, 1.0 if scale is None else scale)


@lesson("attention", "easy", caught_by=("agrees_with_its_definition",))
def divides_by_the_width(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The scores are divided by D instead of √D.

    The wider the heads, the closer every row comes to a plain mean of the values.
    """
    return attend(q, k, v, mask, is_causal, 1.0 / max(1, q.shape[-1]) if scale is None else scale)


@lesson("attention", "medium", caught_by=("agrees_with_its_definition",))
def scales_by_the_value_width(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The scale is taken from the width of the values.

    Nothing is wrong as long as keys and values are equally wide, as they are in most models.
    """
    return attend(q, k, v, mask, is_causal, factor(v, scale))


@lesson("attention", "medium", caught_by=("scaling_queries_undoes_scaling_the_scale",))
def ignores_the_scale_argument(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The scale that was asked for is not used: it is always 1/√D.

    Models that choose another one, T5 with 1 or those with learned temperatures, run without an error.
    """
    return attend(q, k, v, mask, is_causal, None)


@lesson("attention", "medium", caught_by=("agrees_with_its_definition",), incident="NVIDIA/TensorRT-LLM#16379")
def scales_twice(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A given scale is applied on top of 1/√D.

    Both the caller and the kernel believe that the factor is their business.
    """
    return attend(q, k, v, mask, is_causal, None if scale is None else scale * factor(q, None))


@lesson("attention", "medium", caught_by=("scaling_queries_undoes_scaling_the_scale",))
def scales_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The mask is added before the scale is applied.

    Hidden keys stay hidden, since −inf survives any factor; biases such as ALiBi shrink by √D.
    """
    return mixed(weights(hidden(scores(q, k, 1.0), mask, is_causal) * factor(q, scale)), v)


@lesson("attention", "medium", caught_by=("one_vector_added_to_all_keys_changes_nothing",))
def caps_the_scores(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A soft cap of 50 is left switched on: s becomes 50·tanh(s/50).

    At the start of training scores are small and nothing is to be seen; later the largest ones
    can no longer be told apart.
    """
    return mixed(weights(hidden(50.0 * torch.tanh(scores(q, k, scale) / 50.0), mask, is_causal)), v)


@lesson(
    "attention", "medium", caught_by=("the_future_has_no_influence", "hidden_keys_are_inert"), incident="onnx/onnx#7865"
)
def caps_after_the_mask(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The soft cap is applied to masked scores, and 10·tanh(−inf) is −10.

    Hidden keys come back with a small but finite weight, and padding leaks into every row.
    """
    return mixed(weights(10.0 * torch.tanh(hidden(scores(q, k, scale), mask, is_causal) / 10.0)), v)


@lesson("attention", "medium", caught_by=("one_vector_added_to_all_keys_changes_nothing",))
def clamps_the_scores(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Scores are clamped to [−10, 10] to keep the exponential from overflowing.

    Far beyond the limit the best key and the second best get the same weight.
    """
    return mixed(weights(hidden(scores(q, k, scale).clamp(-10.0, 10.0), mask, is_causal)), v)


@lesson("attention", "medium", caught_by=("scaling_queries_undoes_scaling_the_scale",))
def normalises_the_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Queries are normalised to length 1: cosine attention by accident.

    A query can no longer say how sure it is, so attention is never sharp.
    """
    return attend(functional.normalize(wide(q), dim=-1), k, v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("a_zero_query_gets_the_mean", "scaling_queries_undoes_scaling_the_scale"))
def adds_a_bias_to_queries(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A constant that belongs to a projection is added to the queries.

    A query of zero then prefers some keys, where it must average them all.
    """
    return attend(wide(q) + 0.25, k, v, mask, is_causal, scale)


@lesson("attention", "medium", caught_by=("one_vector_added_to_all_keys_changes_nothing",))
def doubles_the_largest_channel(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The largest entry of every key is doubled, to make up for an outlier channel.

    Scores are no longer linear in the keys: a vector added to all of them changes the weights.
    """
    largest = k == k.amax(dim=-1, keepdim=True) if k.shape[-1] else k == k
    return attend(q, torch.where(largest, 2 * k, k), v, mask, is_causal, scale)


@lesson(
    "attention",
    "easy",
    caught_by=("a_hidden_key_is_a_removed_key", "queries_are_independent"),
    incident="huggingface/transformers#8518",
)
def prefers_near_keys(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """A relative bias is added that no one asked for: each step of distance costs 0.1.

    Attention alone has no notion of order; a bias left over from another layer gives it one.
    """
    s = scores(q, k, scale)
    distance = torch.arange(s.shape[2], device=s.device)[:, None] - torch.arange(s.shape[3], device=s.device)
    return mixed(weights(hidden(s - 0.1 * distance.abs(), mask, is_causal)), v)


@lesson(
    "attention", "nasty", caught_by=("a_hidden_key_is_a_removed_key", "keys_and_values_form_a_set"), dtypes=("float64",)
)
def computes_its_softmax_in_single(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The softmax of float64 scores is computed in float32 and widened at the end.

    Type and shape are right, half of the digits are not; gradient checks fail for no visible reason.
    """
    s = hidden(scores(q, k, scale), mask, is_causal)
    return mixed(weights(s.float()).to(q.dtype), v)


@lesson("attention", "nasty", caught_by=("agrees_with_its_definition",), dtypes=("bfloat16", "float32", "float64"))
def limits_its_output(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """The output is clamped to what float16 can hold, in every type.

    The clamp was made for a model that overflowed in half precision, and stayed.
    """
    return attend(q, k, v, mask, is_causal, scale).clamp(-64504.0, 64504.0)


@lesson("attention", "nasty", caught_by=("agrees_with_its_definition",), dtypes=("float16",))
def stores_the_sum_before_it_divides(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Mask = None, is_causal: bool = False, scale: Scale = None
) -> Tensor:
    """Σ_j exp(s_j − max)·v_j is stored in half precision, and then divided by the total of the weights.

    The mean of some values is in range; their sum soon is not.
    """
    e = exponentials(hidden(scores(q, k, scale), mask, is_causal))
    total = e.sum(dim=-1, keepdim=True)
    return (wide(mixed(e, v)) / total.masked_fill(total == 0, 1.0)).to(v.dtype)
