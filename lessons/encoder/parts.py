"""Lessons about the parts: the wiring is right, and one of the numbers is not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.encoder import attend, feed, plain, with_weights


@lesson("encoder", "medium", caught_by=("agrees_with_its_definition",))
def has_gelu_where_relu_is_due(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The hidden units go through GELU.

    A default that differs between two libraries. Far from 0 the two are equal.
    """
    return plain(x, w, **options, feed=lambda z, w: F.linear(F.gelu(F.linear(z, w.W_1, w.b_1)), w.W_2, w.b_2))


@lesson("encoder", "easy", caught_by=("agrees_with_its_definition",))
def forgets_the_attention_scale(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The scores are not divided by √d.

    For narrow heads it is a sharper softmax. For wide ones it is a hard choice without a gradient.
    """

    def unscaled(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        return attend(tokens, w, num_heads, mask, scored=lambda q, k: q @ k.mT)

    return plain(x, w, **options, attend=unscaled)


@lesson("encoder", "easy", caught_by=("agrees_with_its_definition",))
def forgets_to_transpose_square_weights(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The matrices of attention are multiplied from the other side.

    They are square, so nothing complains; the rectangular ones of the feed-forward part were put right.
    """
    turned = {name: getattr(w, name).T for name in ("W_q", "W_k", "W_v", "W_o")}
    return plain(x, with_weights(w, **turned), **options)


@lesson("encoder", "medium", caught_by=("agrees_with_its_definition",))
def adds_the_output_bias_twice(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The bias of the feed-forward part is added by the product and by the residual.

    A fused epilogue adds it, and nobody took it out of the product. Fresh biases are zero.
    """
    return plain(x, w, **options, feed=lambda z, w: feed(z, w) + w.b_2)


@lesson("encoder", "nasty", caught_by=("zeroed_sublayers_leave_the_residual",))
def has_an_epsilon_of_its_own(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The norms have ε = 1e-2.

    A configuration of another model. Streams of the usual size hardly feel it.
    """

    def damped(tokens: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:], gain, shift, 1e-2)

    return plain(x, w, **options, normalised=damped)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_length",))
def forgets_what_is_beyond_its_table(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Tokens beyond the 64th are left as they came.

    A buffer has room for 64, and what does not fit is skipped instead of refused.
    """
    out = plain(x, w, **options)
    return torch.cat([out[:, :64], x[:, 64:]], dim=1)


@lesson("encoder", "medium", caught_by=("every_weight_receives_a_gradient",))
def detaches_the_hidden_weights(x: Tensor, w: Any, **options: Any) -> Tensor:
    """W_1 is read through a copy that knows no gradient.

    Quantised for an experiment and back again. A third of the block's weights, where F = 4E, stands still.
    """
    return plain(x, with_weights(w, W_1=w.W_1.detach()), **options)


@lesson("encoder", "nasty", caught_by=("hidden_tokens_receive_no_gradient",))
def trains_its_padding(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The mean of the sequence passes a gradient although it adds nothing to the output.

    x − x.detach() is zero going forward and one going back. Padding is trained by every loss.
    """
    mean = x.mean(dim=1, keepdim=True) if x.shape[1] else x.sum(dim=1, keepdim=True)
    return plain(x, w, **options) + torch.nan_to_num(mean - mean.detach())


@lesson("encoder", "medium", caught_by=("agrees_with_the_gradient_of_its_definition",))
def detaches_the_residual(x: Tensor, w: Any, **options: Any) -> Tensor:
    """What the feed-forward part reads is detached from the stream that it came from.

    The output is right, every weight of the block learns, and attention hears nothing from behind it.
    """
    return plain(x, w, **options, feed=lambda z, w: feed(z.detach(), w))


class _LeakyGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.relu(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, g, 0.1 * g)


@lesson("encoder", "nasty", caught_by=("agrees_with_the_gradient_of_its_definition",))
def sends_gradient_through_closed_units(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden units that are 0 pass a tenth of their gradient.

    The forward pass is relu, the backward pass that of its leaky cousin. No unit ever dies, and no
    gradient is right.
    """

    def leaky(z: Tensor, w: Any) -> Tensor:
        hidden: Tensor = _LeakyGradient.apply(F.linear(z, w.W_1, w.b_1))  # type: ignore[no-untyped-call]
        return F.linear(hidden, w.W_2, w.b_2)

    return plain(x, w, **options, feed=leaky)
