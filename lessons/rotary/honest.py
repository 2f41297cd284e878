"""Honest variants: other ways to compute the same rotation. No law may flag them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import honest
from seqlaws.lessons.rotary import angles, as_pairs, quarter_turn, rates, tables, turned


@honest("rotary")
def textbook(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """x cos θ + (x turned by a quarter) sin θ, with tables in the dtype of x."""
    return turned(x, *tables(x, positions, base))


@honest("rotary", dialect={"pairing": "interleaved"})
def complex_numbers(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Neighbouring channels as one complex number, multiplied by e^{iθ} in single precision."""
    turn = torch.polar(torch.ones_like(theta := angles(x, positions, base)), theta)
    numbers = torch.view_as_complex(as_pairs(x.float()).contiguous())
    return torch.view_as_real(numbers * turn).flatten(-2).to(x.dtype)


@honest("rotary", dialect={"precision": "full"})
def in_double(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Everything in float64, rounded once."""
    exponents = torch.arange(0, x.shape[-1], 2, dtype=torch.float64, device=x.device) / x.shape[-1]
    theta = positions.double().unsqueeze(-1) * torch.exp(-math.log(base) * exponents)
    theta = theta.unsqueeze(1) if positions.dim() == 2 else theta
    theta = torch.cat([theta, theta], -1)
    wide = x.double()
    return (wide * theta.cos() + quarter_turn(wide) * theta.sin()).to(x.dtype)


@honest("rotary")
def from_a_table(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """A table of all positions up to the largest, from which rows are gathered; products in float32 at least."""
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = int(positions.max()) + 1 if positions.numel() else 0
    theta = torch.outer(torch.arange(rows, dtype=torch.float32, device=x.device), rates(x.shape[-1], base, x.device))
    cos, sin = theta.cos()[positions].to(wide), theta.sin()[positions].to(wide)
    if positions.dim() == 2:
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    a, b = x.to(wide).chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


@honest("rotary")
def pair_by_pair(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Loops over the pairs and writes into an empty result, in the dtype of x throughout."""
    theta, half = angles(x, positions, base), x.shape[-1] // 2
    result = torch.empty_like(x)
    for i in range(half):
        cos, sin = theta[..., i].cos().to(x.dtype), theta[..., i].sin().to(x.dtype)
        result[..., i] = x[..., i] * cos - x[..., half + i] * sin
        result[..., half + i] = x[..., half + i] * cos + x[..., i] * sin
    return result


@honest("rotary")
def as_matrices(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """A rotation matrix [D,D] for every position, and one product with each."""
    theta = angles(x, positions, base)
    cos, sin = torch.diag_embed(theta.cos()), torch.diag_embed(theta.sin())
    matrix = torch.cat([torch.cat([cos, -sin], -1), torch.cat([sin, cos], -1)], -2)
    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.einsum("...ij,...j->...i", matrix.to(wide), x.to(wide)).to(x.dtype)


@honest("rotary", dialect={"rotated": "half"})
def half_of_the_channels(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The first half of the channels is rotated, the second passes."""
    part, rest = x.chunk(2, -1)
    return torch.cat([turned(part, *tables(part, positions, base)), rest], -1)


@honest("rotary", dialect={"rotated": "half"})
def half_of_the_channels_in_single_precision(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Everything is done in float32, also the part that passes, and converted back at the end."""
    part, rest = x.float().chunk(2, -1)
    return torch.cat([turned(part, *tables(part, positions, base)), rest], -1).to(x.dtype)


@honest("rotary", dialect={"pairing": "interleaved", "rotated": "quarter"})
def a_quarter_of_the_channels(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The first quarter of the channels is rotated in neighbouring pairs, with repeated angles."""
    width = x.shape[-1] // 4
    part, rest = x[..., :width], x[..., width:]
    theta = angles(part, positions, base).repeat_interleave(2, -1)
    quarter = torch.stack([-part[..., 1::2], part[..., 0::2]], -1).flatten(-2)
    return torch.cat([part * theta.cos().to(x.dtype) + quarter * theta.sin().to(x.dtype), rest], -1)
