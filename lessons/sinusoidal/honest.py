"""Honest variants: other ways to the same codes. No law may flag them."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import honest
from seqlaws.lessons.sinusoidal import angles, rates, waves


@honest("sinusoidal")
def textbook(positions: Tensor, d_model: int) -> Tensor:
    """Exponentials of a logarithm for the rates, and sines and cosines of the angles, in float32."""
    return waves(angles(positions, d_model))


@honest("sinusoidal", dialect={"precision": "full"})
def in_double(positions: Tensor, d_model: int) -> Tensor:
    """Everything in float64, written into every second channel."""
    exponents = torch.arange(0, d_model, 2, dtype=torch.float64, device=positions.device) / d_model
    theta = positions.double().unsqueeze(-1) / 10_000.0**exponents
    codes = torch.empty(*positions.shape, d_model, dtype=torch.float64, device=positions.device)
    codes[..., 0::2], codes[..., 1::2] = torch.sin(theta), torch.cos(theta)
    return codes


@honest("sinusoidal", can={"batched"})
def rows_of_a_table(positions: Tensor, d_model: int) -> Tensor:
    """A table up to the largest position, from which rows are gathered."""
    rows = int(positions.max()) + 1 if positions.numel() else 0
    return waves(torch.arange(rows, device=positions.device).unsqueeze(-1) * rates(d_model, positions.device))[
        positions
    ]


@honest("sinusoidal")
def complex_numbers(positions: Tensor, d_model: int) -> Tensor:
    """e^{iθ}, with imaginary parts first."""
    theta = angles(positions, d_model)
    return torch.view_as_real(torch.polar(torch.ones_like(theta), theta)).flip(-1).flatten(-2)


@honest("sinusoidal", dialect={"layout": "halves"})
def sines_first(positions: Tensor, d_model: int) -> Tensor:
    """All sines, then all cosines, with the rates as powers."""
    exponents = torch.arange(d_model // 2, device=positions.device) / (d_model / 2)
    theta = torch.einsum("...,i->...i", positions.float(), 1.0 / torch.pow(10_000.0, exponents))
    return torch.cat([theta.sin(), theta.cos()], -1)


@honest("sinusoidal")
def kept_in_half_precision(positions: Tensor, d_model: int) -> Tensor:
    """Computed in float32 and stored in bfloat16, as a model in half precision keeps its buffer."""
    return waves(angles(positions, d_model)).bfloat16()


@honest("sinusoidal", can={"batched", "negative"})
def channel_by_channel(positions: Tensor, d_model: int) -> Tensor:
    """Loops over the channels, the cosines as sines a quarter turn ahead in float64."""
    codes = []
    for channel in range(d_model):
        theta = positions.double() * 10_000.0 ** -(channel // 2 * 2 / d_model)
        codes.append(torch.sin(theta + channel % 2 * torch.pi / 2))
    return torch.stack(codes, -1).float()


@honest("sinusoidal")
def with_turns_taken_off(positions: Tensor, d_model: int) -> Tensor:
    """Angles are brought between 0 and 2π in float32, the negative ones too."""
    return waves(torch.remainder(angles(positions, d_model), 2 * torch.pi))
