"""Honest variants: other ways to compute the same normalisation. No law may flag them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import honest
from seqlaws.lessons.norm import centred, plain, variance, wide

RMS = {"kind": "rms"}

honest("norm")(plain)


@honest("norm")
def fused(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """One call of the library, which on CPU adds up the gradients of its weights in a half type itself."""
    return F.layer_norm(x, x.shape[-1:], gain, shift, eps)


@honest("norm", dialect={"sums": "wide"})
def fused_in_float32(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """One call of the library, in float32 for half types."""
    return F.layer_norm(wide(x), x.shape[-1:], wide(gain), wide(shift), eps).to(x.dtype)


@honest("norm")
def through_float32(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Half types are widened first, and the reciprocal root is multiplied."""
    d = centred(wide(x))
    return (d * torch.rsqrt(variance(d) + eps) * wide(gain) + wide(shift)).to(x.dtype)


@honest("norm")
def by_running_moments(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Welford's updates, one channel after the other."""
    first, *rest = wide(x).unbind(-1)
    mean, squares = first, torch.zeros_like(first)
    for count, number in enumerate(rest, start=2):
        away = number - mean
        mean = mean + away / count
        squares = squares + away * (number - mean)
    scale = torch.rsqrt(squares / x.shape[-1] + eps)[..., None]
    return ((wide(x) - mean[..., None]) * scale * wide(gain) + wide(shift)).to(x.dtype)


@honest("norm")
def by_merged_halves(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Moments of the two halves of a row, merged (Chan, Golub & LeVeque)."""
    numbers, n = wide(x), x.shape[-1]
    if n == 1:
        return through_float32(x, gain, shift, eps)
    left, right = numbers.tensor_split([n // 2], -1)
    a, b = left.shape[-1], right.shape[-1]
    means = left.mean(-1, keepdim=True), right.mean(-1, keepdim=True)
    apart = means[1] - means[0]
    mean = means[0] + apart * (b / n)
    squares = sum(((part - m) ** 2).sum(-1, keepdim=True) for part, m in zip((left, right), means, strict=True))
    v = (squares + apart * apart * (a * b / n)) / n
    return ((numbers - mean) / torch.sqrt(v + eps) * wide(gain) + wide(shift)).to(x.dtype)


@honest("norm")
def with_scale_and_bias_folded(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x·a + b for every row, with the mean and the gain multiplied into a and b."""
    numbers = wide(x)
    mean = numbers.sum(-1, keepdim=True) / x.shape[-1]
    scale = torch.rsqrt((numbers - mean).square().mean(-1, keepdim=True) + eps) * wide(gain)
    return (numbers * scale + (wide(shift) - mean * scale)).to(x.dtype)


@honest("norm")
def by_a_centring_matrix(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The mean is taken off by a product with I − 1/n."""
    n = x.shape[-1]
    matrix = torch.eye(n, dtype=wide(x).dtype, device=x.device) - 1 / n
    d = wide(x) @ matrix
    return (d / torch.sqrt((d * d).sum(-1, keepdim=True) / n + eps) * wide(gain) + wide(shift)).to(x.dtype)


@honest("norm")
def by_sums_of_products(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Sums as contractions, and not yet divided in the dtype of the input."""
    d = x - torch.einsum("...d->...", x)[..., None] / x.shape[-1]
    v = torch.einsum("...d,...d->...", d, d) / x.shape[-1]
    return torch.einsum("...d,...,d->...d", d, (v + eps).rsqrt(), gain) + shift


@honest("norm")
def by_the_moments_of_the_library(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Mean and variance in one call, and the gain and the shift in another, in the dtype of the input."""
    v, m = torch.var_mean(x, -1, correction=0, keepdim=True)
    return torch.addcmul(shift, (x - m) * torch.rsqrt(v + eps), gain)


@honest("norm", dialect=RMS)
def by_the_length_of_a_row(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The length of a row, in the dtype of the input, squared."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.sqrt(length**2 / x.shape[-1] + eps) * gain


@honest("norm", dialect=RMS)
def root_mean_square(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """RMS normalisation, every step stored in the dtype of the input. There is no shift."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * gain


@honest("norm", dialect=RMS)
def root_mean_square_in_float32(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Normalised in float32 and stored, then multiplied by the gain."""
    numbers = wide(x)
    return (numbers * torch.rsqrt(numbers.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * gain


@honest("norm", dialect=RMS)
def fused_root_mean_square(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """One call of the library."""
    return F.rms_norm(x, x.shape[-1:], gain, eps)


@honest("norm", dialect={"kind": "rms_shifted"})
def root_mean_square_with_a_shift(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """RMS normalisation with a shift, as few have it."""
    return plain(x, gain, shift, eps, centred=lambda numbers: numbers)
