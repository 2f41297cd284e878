"""Lessons about angles: their rates, their direction and their precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rotary import HALF, angles, rates, rotary, tables, turned


def turned_by(x: Tensor, theta: Tensor) -> Tensor:
    both = torch.cat([theta, theta], -1)
    return turned(x, both.cos().to(x.dtype), both.sin().to(x.dtype))


def with_rates(x: Tensor, positions: Tensor, rate: Tensor) -> Tensor:
    theta = positions.float().unsqueeze(-1) * rate
    return turned_by(x, theta.unsqueeze(1) if positions.dim() == 2 else theta)


@lesson("rotary", "easy", caught_by=("agrees_with_its_definition",))
def turns_clockwise(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The sine has the wrong sign.

    Queries and keys turn the same way, so nothing about scores is wrong; only weights from elsewhere
    do not fit.
    """
    cos, sin = tables(x, positions, base)
    return turned(x, cos, -sin)


@lesson("rotary", "medium", caught_by=("agrees_with_its_definition",))
def halves_the_exponent(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The rates are base^(−i/D) instead of base^(−2i/D).

    The index counts pairs where the formula counts channels: the slowest pair turns a hundred times
    too fast.
    """
    return rotary(x, positions, math.sqrt(base))


@lesson("rotary", "nasty", caught_by=("agrees_with_its_definition",))
def reaches_the_last_rate(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The rates are spread evenly from 1 to 1/base, both included.

    linspace was used for arange. The first pair is right, and every later one a little too slow.
    """
    count = x.shape[-1] // 2
    return with_rates(x, positions, base ** -torch.linspace(0, 1, count, device=x.device))


@lesson("rotary", "easy", caught_by=("agrees_with_its_definition",))
def puts_the_slowest_pair_first(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The rates run from slow to fast.

    A sign in the exponent, made up for by a division. All laws of rotations hold.
    """
    return turned_by(x, angles(x, positions, base).flip(-1))


@lesson("rotary", "nasty", caught_by=("agrees_with_its_definition",), incident="lablup/mlxcel#1324")
def doubles_every_position(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Every token is turned by twice its angle.

    The factor of an interpolation that is off has the default 2. All scores still depend on the offset
    alone.
    """
    return rotary(x, 2 * positions, base)


@lesson("rotary", "medium", caught_by=("agrees_with_its_definition",))
def squeezes_positions(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Positions are divided by 4, as for a context four times as long.

    Position interpolation was left on. Neighbours are hard to tell apart for a model that never saw it.
    """
    return turned_by(x, angles(x, positions, base) / 4)


@lesson("rotary", "medium", caught_by=("follows_its_base",))
def ignores_its_base(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The base is always 10 000.

    An argument that is accepted and not used. Long-context models lose their long context.
    """
    return rotary(x, positions)


@lesson("rotary", "nasty", caught_by=("follows_its_base",))
def keeps_the_rates_of_its_first_base(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Rates are computed once for every width, with the base of whoever came first.

    One model in a process is right; a second one with another base gets the rates of the first.
    """
    return rotary(x, positions, _BASES.setdefault(x.shape[-1], base))


_BASES: dict[int, float] = {}


@lesson("rotary", "medium", caught_by=("does_not_depend_on_the_length",), incident="huggingface/transformers#25104")
def stretches_its_base_with_the_length(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The base grows with the number of tokens, beyond 4 of them.

    Keys that were cached under a smaller base are compared with queries of a larger one.
    """
    return rotary(x, positions, base * max(1.0, x.shape[2] / 4))


@lesson("rotary", "nasty", caught_by=("adds_up",))
def reads_angles_from_a_table_of_degrees(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Angles are rounded to whole degrees, as sines and cosines come from a table of 360.

    Lengths are exact and neighbours differ; the slow pairs, which turn by less than a degree, stand still.
    """
    return turned_by(x, torch.deg2rad(torch.rad2deg(angles(x, positions, base)).round()))


@lesson("rotary", "medium", caught_by=("adds_up", "agrees_far_out"), dtypes=HALF)
def computes_angles_in_half_precision(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Rates and angles are computed in the dtype of x.

    With 8 bits, angles of position 100 are off by a tenth of a radian. Training in half precision does it
    whenever a buffer of rates is converted together with the model.
    """
    exponents = torch.arange(0, x.shape[-1], 2, device=x.device).to(x.dtype) / x.shape[-1]
    theta = positions.to(x.dtype).unsqueeze(-1) * (1.0 / base**exponents)
    return turned_by(x, theta.unsqueeze(1) if positions.dim() == 2 else theta)


@lesson(
    "rotary", "nasty", caught_by=("agrees_with_its_definition",), dialect={"precision": "full"}, dtypes=("float64",)
)
def keeps_its_rates_in_single_precision(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Rates come from a float32 buffer, where angles in the input's precision were promised.

    Everything after them is float64, so it looks precise and is a rotation to the last digit; at
    position 100 000 the angles are off in the third.
    """
    theta = positions.double().unsqueeze(-1) * rates(x.shape[-1], base, x.device).double()
    return turned_by(x, theta.unsqueeze(1) if positions.dim() == 2 else theta)
