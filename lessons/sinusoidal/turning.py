"""Lessons about waves: their rates, their order in the channels and their precision."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.sinusoidal import angles, rates, waves


@lesson("sinusoidal", "easy", caught_by=("starts_with_zeros_and_ones",))
def puts_cosines_first(positions: Tensor, d_model: int) -> Tensor:
    """Cosines stand at even channels and sines at odd ones.

    All laws of distances hold; weights from elsewhere read every channel as its neighbour.
    """
    theta = angles(positions, d_model)
    return torch.stack([theta.cos(), theta.sin()], -1).flatten(-2)


@lesson("sinusoidal", "easy", caught_by=("starts_with_zeros_and_ones",))
def puts_all_sines_first(positions: Tensor, d_model: int) -> Tensor:
    """All sines come before all cosines, where they should alternate.

    Many libraries do it, and say so. Codes from here and weights from there do not fit.
    """
    theta = angles(positions, d_model)
    return torch.cat([theta.sin(), theta.cos()], -1)


@lesson("sinusoidal", "nasty", caught_by=("has_one_length",))
def gives_every_channel_its_own_rate(positions: Tensor, d_model: int) -> Tensor:
    """The exponent is channel/d instead of that of the pair, so sine and cosine have different rates.

    The formula has 2i in both lines, and the code has one index for all channels. No pair is a point on
    a circle any more.
    """
    channel = torch.arange(d_model, device=positions.device)
    theta = positions.float().unsqueeze(-1) * 10_000.0 ** -(channel / d_model)
    return torch.where(channel % 2 == 0, theta.sin(), theta.cos())


@lesson("sinusoidal", "medium", caught_by=("turns_with_the_position",))
def looks_up_whole_degrees(positions: Tensor, d_model: int) -> Tensor:
    """Angles are rounded to whole degrees, as sines and cosines come from a table of 360.

    Slow pairs, which turn by less than a degree, stand still.
    """
    return waves(torch.deg2rad(torch.rad2deg(angles(positions, d_model)).round()))


@lesson("sinusoidal", "nasty", caught_by=("turns_with_the_position",))
def counts_in_logarithms(positions: Tensor, d_model: int) -> Tensor:
    """Angles grow with the logarithm of the position.

    Borrowed from relative buckets, so that far positions move less. Looking back by k is no longer one map.
    """
    return waves(torch.log1p(positions.float()).unsqueeze(-1) * 8 * rates(d_model, positions.device))


@lesson("sinusoidal", "medium", caught_by=("turns_with_the_position", "agrees_far_out"))
def computes_in_half_precision(positions: Tensor, d_model: int) -> Tensor:
    """Rates and angles are computed in bfloat16.

    With 8 bits, angles of position 100 are off by tenths of a radian, and 257 is 256.
    """
    return waves(positions.bfloat16().unsqueeze(-1) * rates(d_model, positions.device).bfloat16())


@lesson("sinusoidal", "medium", caught_by=("agrees_with_its_definition",))
def halves_the_exponent(positions: Tensor, d_model: int) -> Tensor:
    """The rates are 10000^(−i/d) instead of 10000^(−2i/d).

    The index counts pairs where the formula counts channels: the slowest pair turns a hundred times
    too fast.
    """
    return waves(positions.float().unsqueeze(-1) * rates(d_model, positions.device, base=100.0))


@lesson("sinusoidal", "nasty", caught_by=("agrees_with_its_definition",))
def reaches_the_last_rate(positions: Tensor, d_model: int) -> Tensor:
    """The rates are spread evenly from 1 to 1/10000, both included.

    Dividing by d/2 − 1 instead of d/2, as another library defines it. The first pair is right, and every
    later one a little too slow.
    """
    rate = 10_000.0 ** -torch.linspace(0, 1, d_model // 2, device=positions.device)
    return waves(positions.float().unsqueeze(-1) * rate)


@lesson("sinusoidal", "easy", caught_by=("agrees_with_its_definition",))
def runs_backwards(positions: Tensor, d_model: int) -> Tensor:
    """The sines have the wrong sign.

    The same codes as those of −p. Distances are right, directions are not.
    """
    return waves(-angles(positions, d_model))


@lesson("sinusoidal", "medium", caught_by=("agrees_with_its_definition",))
def squeezes_positions(positions: Tensor, d_model: int) -> Tensor:
    """Positions are divided by 4, as for a context four times as long.

    An interpolation was left on. Neighbours are hard to tell apart for a model that never saw it.
    """
    return waves(angles(positions, d_model) / 4)


@lesson(
    "sinusoidal", "nasty", caught_by=("agrees_with_its_definition",), dialect={"precision": "full"}, dtypes=("float64",)
)
def keeps_its_rates_in_single_precision(positions: Tensor, d_model: int) -> Tensor:
    """Rates come from a float32 buffer, where angles in the result's precision were promised.

    The result is float64 and looks precise; at position 100 000 its angles are off in the third digit.
    """
    return waves(positions.double().unsqueeze(-1) * rates(d_model, positions.device).double())


@lesson("sinusoidal", "medium", caught_by=("refuses_odd_widths_or_gives_their_codes",))
def fills_the_last_channel_of_an_odd_width_with_zero(positions: Tensor, d_model: int) -> Tensor:
    """Of an odd width, the last channel is zero, where the sine of the slowest rate belongs.

    Half of the width was rounded down, and the rest was filled up until the shapes agreed.
    """
    codes = waves(angles(positions, d_model))
    return codes if d_model % 2 == 0 else torch.cat([codes[..., :-2], torch.zeros_like(codes[..., :1])], -1)
