"""Random straight-line programs [B, T, D] → [B, T, D]: a few operators of many kinds, one after another."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Step = Callable[[Tensor], Tensor]
KINDS: list[Callable[[random.Random, int, int], Step]] = []


def kind(make: Callable[[random.Random, int, int], Step]) -> Callable[[random.Random, int, int], Step]:
    KINDS.append(make)
    return make


def numbers(r: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(r.randrange(2**31)), dtype=torch.float64)


def places(r: random.Random, length: int, count: int) -> Tensor:
    return torch.tensor([r.randrange(length) for _ in range(count)])


def mask(r: random.Random, length: int) -> Tensor:
    """Which keys a query sees: always one, often not all."""
    seen = torch.tensor([[r.random() < 0.4 for _ in range(length)] for _ in range(length)])
    return seen | torch.eye(length, dtype=torch.bool).roll(r.randrange(length), 1)


kind(lambda r, T, D: torch.tanh)
kind(lambda r, T, D: lambda x: torch.sin(x) + 0.5 * x)
kind(lambda r, T, D: lambda x: x * torch.sigmoid(x))
kind(lambda r, T, D: lambda x: F.gelu(x).add_(x))
kind(lambda r, T, D: (lambda w: lambda x: x + w.to(x.dtype))(numbers(r, T, D)))
kind(lambda r, T, D: (lambda s: lambda x: x.roll(s, 1))(r.randrange(T)))
kind(lambda r, T, D: lambda x: x.flip(1))
kind(lambda r, T, D: (lambda i: lambda x: x[:, i])(places(r, T, T)))
kind(lambda r, T, D: (lambda i: lambda x: x.index_select(1, i))(places(r, T, T)))
kind(lambda r, T, D: (lambda i: lambda x: x.gather(1, i.view(1, T, 1).expand_as(x)))(places(r, T, T)))
kind(lambda r, T, D: lambda x: x.mean(1, keepdim=True) + torch.zeros_like(x))
kind(lambda r, T, D: lambda x: F.pad(x, (0, 0, 1, 0))[:, :-1])
kind(lambda r, T, D: lambda x: x.cumsum(1))
kind(lambda r, T, D: lambda x: x.cummax(1).values)
kind(lambda r, T, D: lambda x: torch.tanh(x).cumprod(1))
kind(lambda r, T, D: lambda x: F.layer_norm(x, x.shape[-1:]))
kind(lambda r, T, D: lambda x: x.softmax(1) * x.softmax(2))
kind(lambda r, T, D: lambda x: x - x.logsumexp(1, keepdim=True))
kind(lambda r, T, D: lambda x: x.sort(1).values)
kind(lambda r, T, D: lambda x: x.topk(1, dim=1).values.expand_as(x) + x)
kind(lambda r, T, D: lambda x: torch.where(x > 0, x.roll(1, 1), x * 0.5))
kind(lambda r, T, D: lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=2), n=x.shape[2], dim=2))
kind(lambda r, T, D: lambda x: torch.stack([each * (1 + t) for t, each in enumerate(x.unbind(1))], 1))
kind(
    lambda r, T, D: (
        lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(2, (-1, 2)).contiguous()) * 1j).flatten(2)
    )
)
kind(lambda r, T, D: lambda x: F.pad(x, (0, 0, 1, 1)).unfold(1, 3, 1).mean(-1))
kind(lambda r, T, D: lambda x: x.transpose(1, 2).reshape(x.shape[0], -1).view(x.shape[0], D, T).transpose(1, 2).clone())


@kind
def constant_zeros(r: random.Random, T: int, D: int) -> Step:
    keep = torch.tensor([[float(r.random() < 0.5)] for _ in range(T)])
    return lambda x: x * keep.to(x.dtype) + 1


@kind
def chosen(r: random.Random, T: int, D: int) -> Step:
    which = torch.tensor([[r.random() < 0.5] for _ in range(T)])
    return lambda x: torch.where(which, x, x.roll(1, 1)).masked_fill(~which.flip(0), 0.5)


@kind
def written_in_place(r: random.Random, T: int, D: int) -> Step:
    to, start = r.randrange(T), r.randrange(T)

    def step(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 1:] += x[:, :-1]
        y[:, to] = y[:, start] * 2
        y.transpose(1, 2)[:, 0].mul_(0.5)
        return y

    return step


@kind
def over_constants(r: random.Random, T: int, D: int) -> Step:
    """Constants that take up data in place: where those are zero, nothing is hidden."""
    way = r.randrange(4)

    def step(x: Tensor) -> Tensor:
        shifted = torch.relu(x.roll(1, 1))
        if way == 0:
            return torch.ones_like(x).mul_(shifted).mul_(x)
        if way == 1:
            return torch.zeros_like(x).add_(shifted).mul_(x)
        if way == 2:
            return torch.full_like(x, -2e4).add_(2e4).add_(x).mul_(shifted)
        return torch.zeros_like(x).addcmul_(x, shifted).copysign_(x)

    return step


@kind
def recurrence(r: random.Random, T: int, D: int) -> Step:
    def step(x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        state = torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            state = torch.tanh(state + x[:, t])
            out[:, t] = state
        return out

    return step


@kind
def mixed(r: random.Random, T: int, D: int) -> Step:
    weights = numbers(r, T, T) * mask(r, T)
    return lambda x: weights.to(x.dtype) @ x


@kind
def projected(r: random.Random, T: int, D: int) -> Step:
    weights, bias = numbers(r, D, D).triu(), numbers(r, D)
    return lambda x: F.linear(x, weights.to(x.dtype), bias.to(x.dtype))


@kind
def attention(r: random.Random, T: int, D: int) -> Step:
    seen, way = mask(r, T), r.randrange(5)
    low = (-float("inf"), -1e9, torch.finfo(torch.float32).min)[way % 3]

    def step(x: Tensor) -> Tensor:
        if way == 3:
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)
        if way == 4:
            return F.scaled_dot_product_attention(x, x, x, attn_mask=seen)
        scores = x @ x.mT / 2
        if way == 1:
            scores = scores + torch.where(seen, 0.0, low)
            scores = (scores - scores.amax(-1, keepdim=True)).exp()
            return (scores / scores.sum(-1, keepdim=True)) @ x
        return scores.masked_fill(~seen, low).softmax(-1) @ x

    return step


@kind
def convolution(r: random.Random, T: int, D: int) -> Step:
    groups, dilation = r.choice((1, 2)), r.choice((1, 2))
    kernel = numbers(r, D, D // groups, 3)
    left = r.choice((0, dilation, 2 * dilation))

    def step(x: Tensor) -> Tensor:
        padded = F.pad(x.transpose(1, 2), (left, 2 * dilation - left))
        return F.conv1d(padded, kernel.to(x.dtype), dilation=dilation, groups=groups).transpose(1, 2)

    return step


@kind
def transposed_convolution(r: random.Random, T: int, D: int) -> Step:
    kernel = numbers(r, D, D, 3)
    return lambda x: F.conv_transpose1d(x.transpose(1, 2), kernel.to(x.dtype), padding=1).transpose(1, 2)


@kind
def scattered(r: random.Random, T: int, D: int) -> Step:
    index, way = places(r, T, T), r.randrange(4)

    def step(x: Tensor) -> Tensor:
        if way == 0:
            return x.index_add(1, index, x)
        if way == 1:
            return torch.zeros_like(x).scatter_add(1, index.view(1, T, 1).expand_as(x), x)
        if way == 2:
            return x.scatter(1, index[:1].view(1, 1, 1).expand(len(x), 1, D), x[:, :1])
        y = x.clone()
        y[:, index[:2]] = x[:, index[2:4]]
        return y

    return step


def program(seed: int, length: int, width: int) -> Step:
    """The program of a seed."""
    r = random.Random(seed)
    steps = [r.choice(KINDS)(r, length, width) for _ in range(r.randint(1, 5))]

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run
