"""Rules of shadow memory for contractions: products of matrices and convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqlaws.instruments.rules import MASKED, rules
from seqlaws.instruments.shadow import CONSTANT, Call

PRODUCTS = ("mm", "bmm", "mv", "dot", "vdot", "addmm", "baddbmm", "addmv", "addbmm")
CONVOLUTIONS = ("convolution", "_convolution", "_slow_conv2d_forward", "mkldnn_convolution", "cudnn_convolution")
CONTRACTIONS = (*PRODUCTS, *CONVOLUTIONS)
CHUNK = 1 << 22
"""Elements of the largest product that is laid out at once."""


@rules(*PRODUCTS)
def _product(call: Call) -> Tensor:
    """Each result depends on a row of one factor and a column of the other, where neither meets a constant zero."""
    left, right = _factors(call)
    a, b = call.of(left), call.of(right)
    vector = b.dim() == 1
    row = a.dim() == 1
    a, left = (a.unsqueeze(0), left.unsqueeze(0)) if row else (a, left)
    b, right = (b.unsqueeze(-1), right.unsqueeze(-1)) if vector else (b, right)
    zero_a, zero_b = (a == CONSTANT) & (left == 0), (b == CONSTANT) & (right == 0)
    reached = torch.minimum(through(a, zero_b), through(b.mT, zero_a.mT).mT)
    reached = reached.squeeze(-1) if vector else reached
    reached = reached.squeeze(0) if row else reached
    if call.name == "addbmm":
        reached = reached.amin(0)
    result = call.plus(reached, steps=1, reductions=1, terms=left.shape[-1])
    bias = call["self"] if call.name.startswith("add") or call.name == "baddbmm" else None
    if bias is None or call["beta"] == 0:
        return result
    known = call.of(bias)
    result = torch.minimum(call.plus(known), result)
    if (constant := known == CONSTANT).any() and not call.overwrites(bias):
        result = torch.where(constant & torch.isinf(bias), CONSTANT, result)
        if (large := constant & (bias <= MASKED)).any():
            call.masked = large
    return result


def _factors(call: Call) -> tuple[Tensor, Tensor]:
    for left, right in (("mat1", "mat2"), ("batch1", "batch2"), ("mat", "vec"), ("self", "mat2"), ("self", "vec")):
        if isinstance(call[left], Tensor) and isinstance(call[right], Tensor):
            return call[left], call[right]
    return call["self"], call["tensor"] if call["tensor"] is not None else call["other"]


def through(a: Tensor, zero: Tensor) -> Tensor:
    """The smallest of a[…, i, k] over those k at which zero[…, k, j] is not set: […, i, j]."""
    columns = zero.shape[-1]
    if a.shape[-1] == 0 or a.numel() == 0:
        return a.new_full((*a.shape[:-1], columns), CONSTANT)
    if not zero.any():
        return a.amin(-1, keepdim=True).expand(*a.shape[:-1], columns)
    if columns > 1 and bool((zero == zero[..., :1]).all()):
        return through(a, zero[..., :1]).expand(*a.shape[:-1], columns)
    if a.shape[-2] > 1 and bool((a == a[..., :1, :]).all()):
        return through(a[..., :1, :], zero).expand(*a.shape[:-1], columns)
    if a.dim() == 3 and a.shape[0] * a.shape[1] * a.shape[2] * columns > CHUNK and a.shape[0] > 1:
        half = a.shape[0] // 2
        return torch.cat([through(a[:half], zero[:half]), through(a[half:], zero[half:])])
    barred = torch.where(zero, CONSTANT, 0.0).mT  # [..., j, k]
    return (a.unsqueeze(-2) + barred.unsqueeze(-3)).amin(-1)


@rules(*CONVOLUTIONS)
def _convolved(call: Call) -> Tensor:
    """Each result depends on the taps below its kernel, in the channels of its group."""
    source, weight, bias = call["input"], call["weight"], call["bias"]
    value, learned = call.of(source), call.of(weight)
    spread = source.dim() - 2
    stride, padding, dilation = (_each(call[name], spread) for name in ("stride", "padding", "dilation"))
    groups = call["groups"] or 1
    kernel = weight.shape[2:]
    zero = (learned == CONSTANT) & (weight == 0)
    outputs = call.out.shape[1]
    if call["transposed"]:
        apart = value.new_full(
            (*value.shape[:2], *((n - 1) * s + 1 for n, s in zip(value.shape[2:], stride, strict=True))), CONSTANT
        )
        apart[_within(slice(None, None, s) for s in stride)] = value
        value = apart
        wider = _each(call["output_padding"], spread)
        margins = [
            (d * (k - 1) - p, d * (k - 1) - p + w) for d, k, p, w in zip(dilation, kernel, padding, wider, strict=True)
        ]
        zero = _swapped(zero, groups).flip(tuple(range(2, 2 + spread)))
        stride = (1,) * spread
    else:
        margins = [(p, p) for p in padding]
    value = pad(value, [side for margin in reversed(margins) for side in margin], value=CONSTANT)
    nearest = value.new_full(call.out.shape, CONSTANT)
    places = call.out.shape[2:]
    for tap in _taps(kernel):
        steps = zip(tap, dilation, places, stride, strict=True)
        window = _within(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in steps)
        seen = value[window]
        barred = zero[(slice(None), slice(None), *tap)].view(groups, outputs // groups, -1)  # [g, o, c]
        grouped = seen.reshape(seen.shape[0], groups, -1, math.prod(places))  # [b, g, c, t]
        for group in range(groups):
            part = through(grouped[:, group].mT.reshape(-1, grouped.shape[2]), barred[group].T)
            part = part.reshape(seen.shape[0], -1, outputs // groups).mT.reshape(seen.shape[0], -1, *places)
            own = slice(group * (outputs // groups), (group + 1) * (outputs // groups))
            nearest[:, own] = torch.minimum(nearest[:, own], part)
    nearest = torch.minimum(nearest, learned.amin())
    if isinstance(bias, Tensor):
        nearest = torch.minimum(nearest, call.of(bias).view(-1, *(1,) * spread))
    return call.plus(nearest, steps=1, reductions=1, terms=math.prod(weight.shape[1:]))


def _within(slices: Iterable[slice]) -> Any:
    """An index of the last axes."""
    return (..., *slices)


def _swapped(zero: Tensor, groups: int) -> Tensor:
    """Weights [in, out/g, …] of a transposed convolution as those [out, in/g, …] of a convolution."""
    parts = zero.view(groups, -1, *zero.shape[1:]).transpose(1, 2)
    return parts.reshape(-1, *parts.shape[2:])


def _taps(kernel: Any) -> list[tuple[int, ...]]:
    return [tuple(tap) for tap in torch.cartesian_prod(*map(torch.arange, kernel)).view(-1, len(kernel)).tolist()]


def _each(value: Any, count: int) -> tuple[int, ...]:
    value = tuple(value) if value else (0,)
    return value * count if len(value) == 1 else value
