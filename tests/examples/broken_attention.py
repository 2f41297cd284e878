"""Three attentions with one fault each, of the kind that a test on two shapes does not see."""

import torch

from seqlaws import Implementation


def attention(q, k, v, mask, is_causal, scale, hidden=float("-inf"), ahead=0):
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    scores = scale * (q @ k.transpose(-1, -2))
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1 + ahead)
        scores = scores.masked_fill(future, hidden)
    if mask is not None:
        scores = scores.masked_fill(~mask, hidden) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).nan_to_num(0.0) @ v


def without_scale(q, k, v, *, mask=None, is_causal=False, scale=None):
    return attention(q, k, v, mask, is_causal, 1.0 if scale is None else scale)


def with_soft_mask(q, k, v, *, mask=None, is_causal=False, scale=None):
    return attention(q, k, v, mask, is_causal, q.shape[-1] ** -0.5 if scale is None else scale, hidden=-9.0)


def one_ahead(q, k, v, *, mask=None, is_causal=False, scale=None):
    return attention(q, k, v, mask, is_causal, q.shape[-1] ** -0.5 if scale is None else scale, ahead=1)


faulty = [
    Implementation(name=call.__name__, subject="attention", call=call, dtypes=("float32",))
    for call in (without_scale, with_soft_mask, one_ahead)
]
