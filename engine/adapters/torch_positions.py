"""Position encodings in plain torch. The library itself has none: these are the formulas, as one would write them."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.implementation import Implementation


def _angles(positions: Tensor, width: int, base: float) -> Tensor:
    """Positions times base^(−2i/width), [..., width/2], in double precision."""
    exponents = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / max(width, 1)
    return positions.double().unsqueeze(-1) * base**-exponents


def rotary(x: Tensor, positions: Tensor, base: float = 10_000.0, *, rotated: int | None = None) -> Tensor:
    """x [B,H,T,D] turned at positions [T] or [B,T], channel i with channel i + D/2; or only its first channels."""
    width = x.shape[-1] if rotated is None else rotated
    theta = _angles(positions, width, base)
    theta = theta.unsqueeze(1) if positions.dim() == 2 else theta
    wide = torch.promote_types(x.dtype, torch.float32)
    cos, sin = theta.cos().to(wide), theta.sin().to(wide)
    a, b, rest = torch.tensor_split(x.to(wide), (width // 2, width), -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1).to(x.dtype)


def rotary_interleaved(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """x [B,H,T,D] turned at positions [T] or [B,T], neighbouring channels as complex numbers."""
    theta = _angles(positions, x.shape[-1], base)
    theta = theta.unsqueeze(1) if positions.dim() == 2 else theta
    wide = torch.promote_types(x.dtype, torch.float32)
    numbers = torch.view_as_complex(x.to(wide).reshape(*x.shape[:-1], x.shape[-1] // 2, 2).contiguous())
    turn = torch.complex(theta.cos().to(wide), theta.sin().to(wide))
    return torch.view_as_real(numbers * turn).flatten(-2).to(x.dtype)


def sinusoidal(positions: Tensor, d_model: int) -> Tensor:
    """The codes [..., d_model] of positions of any shape, sines at even channels."""
    theta = _angles(positions, d_model, 10_000.0)
    codes = torch.stack([theta.sin(), theta.cos()], -1).flatten(-2)
    return codes.to(positions.dtype if positions.is_floating_point() else torch.float32)


def sinusoidal_halves(positions: Tensor, d_model: int) -> Tensor:
    """The codes [..., d_model] of positions of any shape in float32, all sines before all cosines."""
    theta = _angles(positions, d_model, 10_000.0)
    return torch.cat([theta.sin(), theta.cos()], -1).float()


def alibi(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The biases [H,q_len,k_len] in float32; the queries are the last of the keys, later keys have −inf."""
    below = 1 << (num_heads.bit_length() - 1)
    steps = torch.arange(1, 2 * below + 1, dtype=torch.float64)
    exponents = torch.cat([8 * steps[:below] / below, 4 * steps[0::2] / below])[:num_heads]
    distance = torch.arange(k_len - q_len, k_len).unsqueeze(-1) - torch.arange(k_len)
    scaled = -torch.exp2(-exponents).reshape(-1, 1, 1) * distance
    return scaled.masked_fill(distance < 0, -torch.inf).float()


def _without_gradients(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    with torch.inference_mode():
        return rotary(x, positions, base)


def _half(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    return rotary(x, positions, base, rotated=x.shape[-1] // 2)


halves = Implementation(
    name="torch.rotary",
    subject="rotary",
    call=rotary,
    dialect={"precision": "full", "misfits": "refused"},
    paths={"inference_mode": _without_gradients},
)
interleaved = Implementation(
    name="torch.rotary.interleaved",
    subject="rotary",
    call=rotary_interleaved,
    dialect={"pairing": "interleaved", "precision": "full", "misfits": "refused"},
)
half = Implementation(
    name="torch.rotary.half",
    subject="rotary",
    call=_half,
    dialect={"rotated": "half", "precision": "full", "misfits": "refused"},
)
interleaved_waves = Implementation(
    name="torch.sinusoidal", subject="sinusoidal", call=sinusoidal, dialect={"precision": "full"}
)
halved_waves = Implementation(
    name="torch.sinusoidal.halves",
    subject="sinusoidal",
    call=sinusoidal_halves,
    dialect={"layout": "halves", "precision": "full"},
)
biases = Implementation(name="torch.alibi", subject="alibi", call=alibi)
