"""Lessons about channels: which two turn together, in which heads, and what becomes of the others."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rotary import angles, quarter_turn, rotary, tables, turned


@lesson("rotary", "easy", caught_by=("turns_pairs_of_channels",))
def turns_neighbours(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Channels 2i and 2i + 1 are turned together, where i and i + D/2 belong together.

    Each convention has its models. Weights of one, loaded into the other, give fluent nonsense.
    """
    theta = angles(x, positions, base).repeat_interleave(2, -1)
    quarter = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return x * theta.cos().to(x.dtype) + quarter * theta.sin().to(x.dtype)


@lesson(
    "rotary",
    "medium",
    caught_by=("turns_pairs_of_channels", "keeps_lengths"),
    incident="huggingface/transformers#16298",
)
def turns_neighbours_by_angles_of_halves(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Neighbours are turned together, by tables that are laid out for halves.

    The two members of a pair turn by different angles, which is no rotation any more.
    """
    quarter = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    cos, sin = tables(x, positions, base)
    return x * cos + quarter * sin


@lesson("rotary", "nasty", caught_by=("keeps_lengths",))
def repeats_each_angle_twice(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Halves are turned together, by tables in which every angle stands twice in a row.

    repeat_interleave where cat was meant: the right shape, the right angles, in the wrong places.
    """
    theta = angles(x, positions, base).repeat_interleave(2, -1)
    return turned(x, theta.cos().to(x.dtype), theta.sin().to(x.dtype))


@lesson("rotary", "easy", caught_by=("keeps_lengths",))
def forgets_the_minus(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Both sines are added.

    A symmetric matrix instead of a rotation: lengths change with the angle, by up to √2.
    """
    cos, sin = tables(x, positions, base)
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([b, a], -1) * sin


@lesson("rotary", "easy", caught_by=("rests_at_position_zero",))
def swaps_cosine_and_sine(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The tables are handed over in the wrong order.

    Still an isometry; every token is turned by a quarter too much and backwards.
    """
    cos, sin = tables(x, positions, base)
    return turned(x, sin, cos)


@lesson("rotary", "nasty", caught_by=("can_be_turned_back",))
def mirrors_instead_of_turning(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The minus sign stands before the other cosine, and position 0 is copied, as nothing happens there.

    A reflection keeps lengths as well as a rotation does; but two of them are a rotation, and one is none.
    """
    cos, sin = tables(x, positions, base)
    a, b = x.chunk(2, -1)
    still = (positions == 0).unsqueeze(-1)
    still = still.unsqueeze(1) if positions.dim() == 2 else still
    return torch.where(still, x, torch.cat([a, -b], -1) * cos + torch.cat([b, a], -1) * sin)


@lesson("rotary", "medium", caught_by=("keeps_tokens_apart",))
def turns_before_the_heads_are_split(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The halves are those of all heads side by side, not those of each head.

    Channels of the first heads are turned together with channels of the last ones.
    """
    flat = x.transpose(1, 2).flatten(2)
    cos, sin = tables(x, positions, base)
    repeats = (1,) * (cos.dim() - 1) + (x.shape[1],)
    cos, sin = cos.repeat(repeats), sin.repeat(repeats)
    if positions.dim() == 2:
        cos, sin = cos.squeeze(1), sin.squeeze(1)
    return turned(flat, cos, sin).reshape(x.transpose(1, 2).shape).transpose(1, 2)


@lesson("rotary", "easy", caught_by=("treats_heads_and_entries_alike",))
def turns_the_first_head_only(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """All heads but the first stay as they are.

    A slice for the rotated part was applied to the wrong axis. One head in many still knows the order.
    """
    return torch.cat([rotary(x[:, :1], positions, base), x[:, 1:]], 1)


@lesson("rotary", "medium", caught_by=("is_linear",))
def normalises_on_the_way(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Every token is scaled to length √D before it is turned.

    Query-key normalisation was fused into the rotation; layers that have it already do it twice.
    """
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
    return rotary((wide * scale).to(x.dtype), positions, base)


@lesson("rotary", "nasty", caught_by=("rests_at_position_zero",))
def clamps_what_is_loud(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Numbers beyond ±1000 are clamped before they are turned.

    A guard for half precision that went where it could not be seen. Queries of trained models have such channels.
    """
    return rotary(x.clamp(-1000.0, 1000.0), positions, base)


@lesson("rotary", "nasty", caught_by=("rests_at_position_zero",), dtypes=("bfloat16",))
def turns_in_the_other_half_type(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """bfloat16 is turned in float16, which has more digits, and converted back.

    Beyond 65 504 it has no numbers at all, and below 6·10⁻⁸ none either.
    """
    return rotary(x.half(), positions, base).to(x.dtype)


@lesson("rotary", "medium", caught_by=("rests_at_position_zero",), incident="NVIDIA/TensorRT-LLM#16379")
def leaves_an_attention_factor_on(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Cosines and sines are multiplied by a factor that belongs to another kind of scaling.

    Scores grow by its square, which is a temperature nobody asked for.
    """
    cos, sin = tables(x, positions, base)
    return turned(x, 1.1 * cos, 1.1 * sin)


@lesson("rotary", "nasty", caught_by=("agrees_at_every_size",))
def turns_256_pairs_at_most(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Pairs behind the 256th pass as they are.

    There is a thread for every pair, and no more than 256 to a block. No head was wider than 512 channels until
    latent attention came.
    """
    pair = torch.arange(x.shape[-1] // 2, device=x.device).repeat(2)
    return torch.where(pair < 256, rotary(x, positions, base), x)


@lesson("rotary", "easy", caught_by=("lets_the_rest_pass",), dialect={"rotated": "half"})
def loses_the_rest(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Only the rotated channels are written into the result; the others stay 0.

    Half of every query and key is gone, and the model learns to do without.
    """
    part = x.chunk(2, -1)[0]
    return torch.cat([rotary(part, positions, base), torch.zeros_like(part)], -1)


@lesson(
    "rotary",
    "nasty",
    caught_by=("agrees_with_its_definition",),
    incident="pie-project/pie#602",
    dialect={"rotated": "half"},
)
def takes_rates_of_the_whole_width(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Half of the channels is rotated, at rates base^(−2i/D) of the full width D.

    Everything about it is a rotation, only the slow half of the rates is missing: quality decays with
    the distance.
    """
    part, rest = x.chunk(2, -1)
    theta = angles(x, positions, base)[..., : part.shape[-1] // 2]
    both = torch.cat([theta, theta], -1)
    return torch.cat([part * both.cos().to(x.dtype) + quarter_turn(part) * both.sin().to(x.dtype), rest], -1)


@lesson("rotary", "medium", caught_by=("reads_any_layout",), dialect={"pairing": "interleaved"})
def views_its_input_as_complex(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Neighbours are viewed as complex numbers, which a strided input does not allow.

    Right as long as queries have been copied before; a slice of a packed projection is an error.
    """
    theta = angles(x, positions, base)
    single = x.float() if x.dtype.itemsize == 2 else x
    numbers = torch.view_as_complex(single.view(*x.shape[:-1], x.shape[-1] // 2, 2))
    return torch.view_as_real(numbers * torch.polar(torch.ones_like(theta), theta)).flatten(-2).to(x.dtype)
