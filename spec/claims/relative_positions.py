"""Whether distances can be read from sinusoids, and whether only distances are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from seqlaws.claim import Evidence, HoldsIf, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Series
from seqlaws.reference import rotary, sinusoidal
from seqlaws.reference.angles import rates
from seqlaws.reference.rounding import Array, gamma

WIDTH, LENGTH = 64, 48
DOUBLE = FORMATS["float64"]
SHIFTS = (1, 10, 100, 1000, 10_000, 100_000)
PAIRS = rotary.Convention(pairing="interleaved", precision="full")


def table(places: Array) -> Tensor:
    """The encoding [T, d] of positions, in float64."""
    return torch.from_numpy(sinusoidal.sinusoidal(places, WIDTH))


def rounding(places: Array) -> Tensor:
    """How far it may be off, [T, d]."""
    return torch.from_numpy(sinusoidal.bound(places, WIDTH, "interleaved", "full", DOUBLE))


def turn(angles: Tensor) -> Tensor:
    """The matrix [d, d] that turns each pair (sine, cosine) by its angle."""
    cos, sin = angles.cos(), angles.sin()
    return blocks([[c, s], [-s, c]] for c, s in zip(cos.tolist(), sin.tolist(), strict=True))


def blocks(each: Iterable[list[list[float]]]) -> Tensor:
    """The matrix of 2 × 2 blocks along its diagonal."""
    return torch.block_diag(*(torch.tensor(block, dtype=torch.float64) for block in each))  # type: ignore[no-untyped-call]


def spread(scores: Tensor) -> float:
    """How much scores [T, T] vary along a diagonal, where only the distance of two positions is the same."""
    length = len(scores)
    return max(float(np.ptp(scores.diagonal(lag).numpy())) for lag in range(1 - length, length))


def score_rounding(off: float, weights: Tensor) -> float:
    """How far two scores pᵀ·W·q of encodings that are off may differ by rounding: entries are at most one."""
    size = float(weights.abs().sum())
    return 2 * size * ((1 + off) ** 2 * (1 + gamma(2 * WIDTH + 4, DOUBLE.unit)) - 1)


@claim(
    "G8",
    HoldsIf("the weights of a score turn with the pairs: each 2 × 2 block is a·I + b·J"),
    articles="S3",
    source="Vaswani et al. 2017",
)
def sinusoids_let_relative_positions_be_learned(see: Evidence) -> None:
    """Sines and cosines of the position enable a model to learn relative positions.

    PE(p + k) = R(k)·PE(p), R orthogonal and independent of p;  ⟨PE(p), PE(q)⟩ = Σ_i cos((p − q)·ω_i);
    PE(p)ᵀ·W·PE(q) depends on p − q alone for W = blockdiag(a_i·I + b_i·J), J = [[0, 1], [−1, 0]]

    Rule: both identities on 48 positions, d = 64, within rounding. Scores are then computed for such a W
    and for a random one: along each diagonal the first vary no more than by rounding, the second do.
    """
    rate, places = torch.from_numpy(rates(WIDTH, 10_000.0, np.float64)), np.arange(float(LENGTH))
    positions, k = table(places), 17
    moved, off = turn(k * rate), float(rounding(places + k).max())
    error = (table(places + k) - positions @ moved.mT).abs().max()
    # two products of numbers up to one, and the error of each sine and cosine
    see.supports("PE(p + 17) − R(17)·PE(p): largest error", float(error), at_most=8 * off + gamma(4, DOUBLE.unit))
    one = torch.eye(WIDTH, dtype=torch.float64)
    lags = torch.from_numpy(places)[:, None] - torch.from_numpy(places)
    error = (positions @ positions.mT - (lags[..., None] * rate).cos().sum(-1)).abs().max()
    see.supports("⟨PE(p), PE(q)⟩ − Σ cos: largest error", float(error), at_most=2 * score_rounding(off, one))
    turning = blocks([[a, b], [-b, a]] for a, b in torch.randn(WIDTH // 2, 2).tolist())
    varied = spread(positions @ turning @ positions.mT)
    see.supports("W of blocks a·I + b·J: scores vary along a diagonal by", varied, at_most=score_rounding(off, turning))
    drawn = torch.randn(WIDTH, WIDTH, dtype=torch.float64)
    see.refutes("random W: scores vary along a diagonal by", spread(positions @ drawn @ positions.mT), above=1.0)
    wheels = [0, 4, 8, 12]
    see.picture(
        Figure(
            "Phase wheels: four pairs of coordinates at 16 positions",
            "sine",
            "cosine",
            tuple(
                Series(
                    f"pair {i}: {float(rate[i]):.3g} a step",
                    ((place + 1) * positions[:16, 2 * i]).tolist(),
                    ((place + 1) * positions[:16, 2 * i + 1]).tolist(),
                    joined=False,
                )
                for place, i in enumerate(wheels)
            ),
        )
    )


def rotated(x: Tensor, places: Tensor) -> Tensor:
    """The tokens x [T, d], each pair turned by the angle of its position, in the type of the positions."""
    rate = torch.from_numpy(rates(WIDTH, 10_000.0, np.float64)).to(places.dtype)
    angles = places[:, None] * rate
    cos, sin = angles.cos().double(), angles.sin().double()
    first, second = x[:, 0::2], x[:, 1::2]
    return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(1)


def rotary_change(q: Tensor, k: Tensor, shift: int, dtype: torch.dtype) -> float:
    """How much rotary scores change if all positions move, with angles of a type."""
    here = torch.arange(len(q), dtype=torch.float64)
    scores = [
        rotated(q, places.to(dtype)) @ rotated(k, places.to(dtype)).mT / WIDTH**0.5 for places in (here, here + shift)
    ]
    return float((scores[1] - scores[0]).abs().max())


def rotary_rounding(q: Tensor, k: Tensor, shift: int) -> float:
    """How much they may change by rounding, with angles in float64: the bounds of both rotations, twice."""
    places = np.arange(float(len(q)))
    total = 0.0
    for moved in (places, places + shift):
        sizes, errors = [], []
        for each in (q, k):
            x = each.numpy()[None, None]
            sizes.append(np.abs(rotary.rotary(x, moved, 10_000.0, PAIRS))[0, 0])
            errors.append(rotary.bound(x, moved, 10_000.0, PAIRS, DOUBLE)[0, 0])
        most = (sizes[0] + errors[0]) @ (sizes[1] + errors[1]).T
        off = most - sizes[0] @ sizes[1].T + gamma(WIDTH + 4, DOUBLE.unit) * most
        total += float(off.max()) / WIDTH**0.5
    return total


def additive_change(x: Tensor, query: Tensor, key: Tensor, shift: int) -> float:
    """How much scores of tokens with added encodings change if all positions move."""
    here = np.arange(float(len(x)))
    scores = [
        ((x + table(places)) @ query) @ ((x + table(places)) @ key).mT / WIDTH**0.5 for places in (here, here + shift)
    ]
    return float((scores[1] - scores[0]).abs().max())


@claim(
    "G9",
    Refuted("added encodings change scores when all positions shift; rotations do not, in enough precision"),
    articles="S3",
    source="Shaw et al. 2018; Su et al. 2021; Press et al. 2021",
)
def sinusoids_do_not_rely_on_absolute_indices(see: Evidence) -> None:
    """Sinusoidal positions work without relying on absolute indices.

    s(p, q) = (x + PE(p))ᵀ·W_q·W_kᵀ·(y + PE(q))/√d ≠ s(p + k, q + k);  rotary: s depends on p − q alone

    Rule: all positions of 48 random tokens move by k, d = 64. A score moves by more than one hundredth,
    which is orders of magnitude above rounding, or, where only distances count, by no more than the sum
    of the rounding bounds: rotary angles in float64 do so, and in bf16 at k = 100 they do not.
    """
    x = torch.randn(LENGTH, WIDTH, dtype=torch.float64)
    query, key = (torch.randn(WIDTH, WIDTH, dtype=torch.float64) / WIDTH**0.5 for _ in range(2))
    q, k = x @ query, x @ key
    see.refutes("added, k = 100: scores move by", additive_change(x, query, key, 100), above=0.01)
    for shift in (100, 100_000):
        change = rotary_change(q, k, shift, torch.float64)
        see.supports(f"rotary, k = {shift:,}: scores move by", change, at_most=rotary_rounding(q, k, shift))
    see.refutes("rotary, bf16 angles, k = 100: scores move by", rotary_change(q, k, 100, torch.bfloat16), above=0.01)
    types = {"float64": torch.float64, "float32": torch.float32, "bf16": torch.bfloat16}
    see.picture(
        Figure(
            "How far scores move when all positions move",
            "shift of all positions",
            "largest change of a score",
            (
                Series("added encodings", SHIFTS, [additive_change(x, query, key, shift) for shift in SHIFTS]),
                *(
                    Series(f"rotary, {name} angles", SHIFTS, [rotary_change(q, k, shift, dtype) for shift in SHIFTS])
                    for name, dtype in types.items()
                ),
            ),
            x_log=True,
            y_log=True,
        )
    )
