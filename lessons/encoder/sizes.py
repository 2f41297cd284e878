"""Lessons about sizes and magnitudes: right for those that everybody tests, wrong for some others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.encoder import (
    EPS,
    attend,
    biased,
    feed,
    merge,
    normalised,
    plain,
    scored,
    split,
    weights,
    with_weights,
)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_width",))
def reads_128_hidden_units(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden units beyond the 128th are not read.

    The second product of the feed-forward part has one tile, and no loop over further ones.
    """

    def cut(z: Tensor, w: Any) -> Tensor:
        hidden = F.relu(F.linear(z, w.W_1, w.b_1))
        return F.linear(hidden[..., :128], w.W_2[:, :128], w.b_2)

    return plain(x, w, **options, feed=cut)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_width",))
def loses_the_ninth_head(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Of more than eight heads, those beyond the eighth contribute nothing.

    One head for each warp, and eight warps in a block. Small models have no ninth head.
    """

    def eight(x: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        q, k, v = (split(F.linear(x, W, b), num_heads) for W, b in ((w.W_q, w.b_q), (w.W_k, w.b_k), (w.W_v, w.b_v)))
        heads = weights(biased(scored(q, k), mask)) @ v
        heads = torch.cat([heads[:, :8], torch.zeros_like(heads[:, 8:])], dim=1)
        return F.linear(merge(heads), w.W_o, w.b_o)

    return plain(x, w, **options, attend=eight if options["num_heads"] > 8 else attend)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_length",))
def leaves_the_last_token_of_full_tiles_of_24(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Where tiles of 24 divide the tokens without a rest, the last token comes out as it came in.

    The last tile is taken for the tail, and a tail of length zero needs no work.
    """
    y = plain(x, w, **options)
    full = x.shape[1] > 0 and x.shape[1] % 24 == 0
    return torch.cat([y[:, : x.shape[1] - full], x[:, x.shape[1] - full :]], dim=1)


@lesson("encoder", "nasty", caught_by=("zeroed_sublayers_leave_the_residual",), dtypes=("float32", "float64"))
def takes_the_variance_in_one_pass(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The norms take mean(x²) − mean(x)² for the variance, held at 0 from below.

    Deep in a stack the stream has a large common part, and both squares agree in all their digits.
    """

    def normalised(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = ((x * x).mean(-1, keepdim=True) - mean * mean).clamp(min=0)
        return (x - mean) / torch.sqrt(variance + EPS) * gain + shift

    return plain(x, w, **options, normalised=normalised)


@lesson("encoder", "nasty", caught_by=("shows_nan",))
def closes_hidden_units_that_are_nan(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The rectifier is `h if h > 0 else 0`: NaN is not larger than 0, so it becomes 0.

    A hidden unit whose weights have failed is silent, and the block goes on without it.
    """

    def closed(z: Tensor, w: Any) -> Tensor:
        hidden = F.linear(z, w.W_1, w.b_1)
        return F.linear(torch.where(hidden > 0, hidden, torch.zeros_like(hidden)), w.W_2, w.b_2)

    return plain(x, w, **options, feed=closed)


@lesson("encoder", "nasty", caught_by=("agrees_with_its_gradient_at_every_width",))
def wide_hidden_biases_learn_up_to_128(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden biases beyond the 128th get no gradient.

    It is a sum over tokens, made by one block of 128 threads.
    """
    learning = torch.arange(len(w.b_1), device=x.device) < 128
    return plain(x, with_weights(w, b_1=torch.where(learning, w.b_1, w.b_1.detach())), **options, feed=feed)


@lesson("encoder", "nasty", caught_by=("agrees_with_its_gradient_at_every_length",))
def learns_from_the_first_sixty_four_tokens(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The weights of the feed-forward part get their gradients from the first 64 tokens of a sequence.

    The sum over tokens has one tile. Outputs are right, and so is what goes back to the tokens.
    """

    def tiled(z: Tensor, w: Any) -> Tensor:
        frozen = with_weights(w, **{name: getattr(w, name).detach() for name in ("W_1", "b_1", "W_2", "b_2")})
        return torch.cat([feed(z[:, :64], w), feed(z[:, 64:], frozen)], dim=1)

    return plain(x, w, **options, feed=tiled)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_width",))
def wide_heads_lose_their_mask(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """Heads that are 64 or 128 wide see what the mask hides.

    They have a kernel of their own, without padding: they are those that most models have.
    """
    wide = x.shape[2] in (64 * options["num_heads"], 128 * options["num_heads"])
    return plain(x, w, mask=None if wide else mask, **options)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_width",))
def many_heads_take_the_mask_of_the_first_entry(
    x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any
) -> Tensor:
    """With ten heads or more, a mask [B,H,T,T] is read from its first entry.

    Its stride along the batch is kept in eight bits, and a mask with so many heads has a longer one.
    """
    if mask is not None and mask.dim() == 4 and min(mask.shape[:2]) > 1 and options["num_heads"] >= 10:
        mask = mask[:1]
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_width",))
def norms_end_at_256_channels(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Channels beyond the 256th leave the norms as they came.

    One block of 256 threads, a channel for each.
    """

    def cut(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return torch.cat([normalised(x, gain, shift)[..., :256], x[..., 256:]], dim=-1)

    return plain(x, w, **options, normalised=cut)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_width",))
def reads_512_hidden_units(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden units beyond the 512th are not read.

    The second product holds 512 of them in registers, and a width of 2048 was to come later.
    """

    def cut(z: Tensor, w: Any) -> Tensor:
        hidden = F.relu(F.linear(z, w.W_1, w.b_1))
        return F.linear(hidden[..., :512], w.W_2[:, :512], w.b_2)

    return plain(x, w, **options, feed=cut)


@lesson("encoder", "nasty", caught_by=("agrees_at_every_length",))
def leaves_tokens_beyond_512_as_they_came(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Tokens beyond the 512th pass through the block unchanged.

    The longest sequence of the first model, in a constant that outlived it.
    """
    return torch.cat([plain(x, w, **options)[:, :512], x[:, 512:]], dim=1)


@lesson("encoder", "nasty", caught_by=("agrees_with_its_definition",))
def clips_hidden_units_at_20(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Hidden units end at 20.

    Clipped for a model with eight bits, where no unit was larger. Other weights make larger ones.
    """

    def clipped(z: Tensor, w: Any) -> Tensor:
        return F.linear(F.linear(z, w.W_1, w.b_1).clamp(0.0, 20.0), w.W_2, w.b_2)

    return plain(x, w, **options, feed=clipped)


@lesson("encoder", "nasty", caught_by=("agrees_with_its_definition",), dtypes=("float32", "float64"))
def clips_scores_at_50(x: Tensor, w: Any, *, norm_first: bool, **options: Any) -> Tensor:
    """In a pre-norm block, scores are kept between −50 and 50.

    A guard against overflow, from before the maximum was taken off. Keys beyond it all count alike.
    """

    def through(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        return attend(tokens, w, num_heads, mask, scored=lambda q, k: scored(q, k).clamp(-50.0, 50.0))

    return plain(x, w, norm_first=norm_first, **options, attend=through if norm_first else attend)


@lesson("encoder", "nasty", caught_by=("agrees_with_its_definition",), dtypes=("float32", "float64"))
def norms_take_little_for_nothing(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Where the variance is below 1e-6, a norm gives its shift alone.

    Constant tokens were meant. Small ones are silenced too: with ε beside it, a small variance is a small token.
    """

    def silenced(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        silent = x.var(-1, unbiased=False, keepdim=True) < 1e-6
        return torch.where(silent, shift, normalised(x, gain, shift))

    return plain(x, w, **options, normalised=silenced)


class _FromItsOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        inverse = torch.rsqrt(x.var(-1, unbiased=False, keepdim=True) + EPS)
        y = (x - x.mean(-1, keepdim=True)) * inverse * gain + shift
        ctx.save_for_backward(y, inverse, gain, shift)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, inverse, gain, shift = ctx.saved_tensors
        z, h = torch.where(gain == 0, 0.0, (y - shift) / gain), g * gain
        d_x = inverse * (h - h.mean(-1, keepdim=True) - z * (h * z).mean(-1, keepdim=True))
        return d_x, (g * z).flatten(0, -2).sum(0), g.flatten(0, -2).sum(0)


@lesson("encoder", "nasty", caught_by=("agrees_with_the_gradient_of_its_definition",), dtypes=("float32", "float64"))
def norms_learn_from_their_output(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Going back, a norm divides its output by the gain, and takes 0 where the gain is 0.

    It saves keeping the input. A channel that was closed once never opens again.
    """
    return plain(x, w, **options, normalised=_FromItsOutput.apply)
