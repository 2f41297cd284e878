"""Lessons about sizes and magnitudes: right for those that everybody tests, wrong for some others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.encoder import EPS, attend, biased, feed, merge, plain, scored, split, weights, with_weights


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
