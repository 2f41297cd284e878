"""The sinusoidal encoding of positions: how large it is, how it repeats, and when two positions coincide."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Bars, Figure, Heat, Series, sequential_depth, work
from seqlaws.reference import sinusoidal
from seqlaws.reference.rounding import Array, gamma

DOUBLE = FORMATS["float64"]
MANY = 1_000_000
SLIGHT = 0.1


def table(positions: Array, width: int) -> Tensor:
    """The encoding [T, d] of positions, in float64."""
    return torch.from_numpy(sinusoidal.sinusoidal(positions.astype(np.float64), width))


def rounding(positions: Array, width: int) -> Tensor:
    """How far it may be off, [T, d]."""
    return torch.from_numpy(sinusoidal.bound(positions.astype(np.float64), width, "interleaved", "full", DOUBLE))


def counted_in(dtype: torch.dtype, positions: Array) -> Array:
    """Positions after they were rounded to a floating-point type."""
    return torch.from_numpy(positions).to(dtype).double().numpy()


@cache
def nearest() -> tuple[int, float]:
    """Which k below MANY brings the first pair of coordinates closest to where it began, and how close."""
    every = (table(np.arange(1, MANY), 2) - table(np.zeros(1), 2)).norm(dim=-1)
    return int(every.argmin()) + 1, float(every.min())


def _different(rows: Tensor) -> int:
    """How many of the rows differ."""
    return len(np.unique(rows.double().numpy(), axis=0))


class Positioned(nn.Module):
    """An encoder layer behind the sum with a table of positions."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("table", table(np.arange(256), width).float())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for x + PE."""
        out: Tensor = self.layer(x + self.get_buffer("table")[: x.shape[1]])
        return out


@claim(
    "G4",
    Refuted("its norm is √(d/2), which is 71 % of that of an embedding"),
    articles="S3",
    source="Vaswani et al. 2017",
)
def positions_are_slight_perturbations(see: Evidence) -> None:
    """Positional encoding adds slight perturbations to the embeddings.

    ‖PE(p)‖² = Σ_i sin²(p·ω_i) + cos²(p·ω_i) = d/2 for every p;  E‖e‖² = d·σ² for an embedding e ~ N(0, σ²)

    Rule: norms of 1,000 positions, d = 512, against √(d/2) within rounding; then in units of the root
    mean square norm of 1,000 embeddings: torch's own, scaled by √d as Vaswani et al. do, and two unscaled.
    "Slight" is read as at most a tenth.
    """
    d, places = 512, np.arange(1000)
    positions, off = table(places, d), rounding(places, d)
    allowed = (2 * off + gamma(d + 2, DOUBLE.unit)).sum(-1).max()
    deviation = (positions.square().sum(-1) - d / 2).abs().max()
    see.refutes("largest |‖PE(p)‖² − d/2|", float(deviation), at_most=float(allowed))
    drawn = torch.randn(1000, d, dtype=torch.float64)
    embeddings = {
        "N(0, 1)": nn.Embedding(1000, d).weight.detach().double(),
        "√d·N(0, 1/d)": d**0.5 * (drawn / d**0.5),
        "N(0, 1/d)": drawn / d**0.5,
        "N(0, 0.02²)": 0.02 * drawn,
    }
    ratios = {
        name: float(positions[1].norm() / each.square().sum(-1).mean().sqrt()) for name, each in embeddings.items()
    }
    for name, ratio in ratios.items():
        see.refutes(f"embeddings {name}: norm of PE, in theirs", ratio, above=SLIGHT)
    title = "Norm of positions, in that of embeddings (d = 512)"
    see.picture(Bars(title, "ratio", list(ratios), {"ratio": list(ratios.values())}, y_log=True))


@claim("G5", HoldsIf("the word is the same, and positions are counted in a type that tells them apart"), articles="S3")
def words_at_different_positions_get_different_vectors(see: Evidence) -> None:
    """Words at different positions get different vectors.

    PE(p) = PE(q) only if p − q is a multiple of 2π (ω_0 = 1): never for integers p ≠ q;  bf16: 256 = 257,
    fp16: 2,048 = 2,049, fp32: 2²⁴ = 2²⁴ + 1;  words e_1 = −PE(3) and e_2 = −PE(5) meet in zero

    Rule: among 10⁶ positions the first pair alone stays farther from its start than rounding could bring
    it; 8,192 rows of width 64 are counted, also as stored in bf16; and the first p whose row is that of
    p + 1 is searched, where positions themselves are rounded. Two words that meet are constructed.
    """
    k, gap = nearest()
    allowed = float(rounding(np.array([k]), 2).sum())
    see.supports(f"d = 2, p < 10⁶: least distance, at {k:,} apart", gap, above=2 * allowed)
    rows = table(np.arange(8192), 64)
    see.supports("d = 64: different rows of 8,192", _different(rows), equals=8192)
    see.supports("d = 64, stored in bf16: different rows", _different(rows.bfloat16()), equals=8192)
    for dtype, first in ((torch.bfloat16, 0), (torch.float16, 0), (torch.float32, 2**24 - 2048)):
        places = counted_in(dtype, np.arange(first, first + 4096))
        same = (table(places[:-1], 4) == table(places[1:], 4)).all(-1)
        digits = round(1 - math.log2(torch.finfo(dtype).eps))
        see.refutes(f"counted in {dtype}: first p like p + 1", first + int(same.int().argmax()), equals=2**digits)
    words = -table(np.array([3, 5]), 64)  # two words whose embeddings undo what their positions add
    sums = words + table(np.array([3, 5]), 64)
    see.refutes("two words at positions 3 and 5: the same vector", torch.equal(sums[0], sums[1]), equals=True)
    apart = (table(np.arange(32), 64)[:, None] - table(np.arange(32), 64)).norm(dim=-1)
    names = [str(place) for place in range(32)]
    see.picture(Heat("Distance of two positions, d = 64", "position", "position", names, names, apart.tolist()))
    lengths = [2**i for i in range(5, 14)]
    types = (torch.float32, torch.float16, torch.bfloat16)
    see.picture(
        Figure(
            "Different rows where positions are rounded before the sine",
            "positions",
            "different rows",
            tuple(
                Series(str(dtype), lengths, [len(np.unique(counted_in(dtype, np.arange(n)))) for n in lengths])
                for dtype in types
            ),
            x_log=True,
            y_log=True,
        )
    )


@claim("G6", HOLDS, articles="S3", source="Vaswani et al. 2017")
def the_encoding_is_of_different_wavelengths(see: Evidence) -> None:
    """Positional encoding consists of sines and cosines of different wavelengths.

    λ_i = 2π·10⁴^(2i/d), i = 0 … d/2 − 1: from 2π to 2π·10⁴^((d−2)/d), which stays below 2π·10⁴

    Rule: the angle of each pair at position 1 is read back from its sine and cosine. The wavelength that
    follows must be λ_i within the rounding of sine, cosine and arc tangent. All are different.
    """
    for d in (8, 512):
        row, off = table(np.ones(1), d)[0], rounding(np.ones(1), d)[0]
        angles = torch.atan2(row[0::2], row[1::2])
        allowed = 2 * (off[0::2] + off[1::2]) / angles + 16 * DOUBLE.unit
        wanted = torch.tensor([2 * math.pi * 10_000 ** (2 * i / d) for i in range(d // 2)], dtype=torch.float64)
        found = 2 * math.pi / angles
        see.supports(
            f"d = {d}: relative error ÷ bound", float(((found / wanted - 1).abs() / allowed).max()), at_most=1.0
        )
        see.supports(f"d = {d}: different wavelengths", _different(found), equals=d // 2)
        see.supports(f"d = {d}: longest wavelength, and 2π·10⁴", float(found.max()), below=2 * math.pi * 1e4)
    see.supports("d = 512: longest wavelength, rounded", round(float(found.max())), equals=60_611)
    places = list(range(0, 96, 2))
    channels = table(np.array(places), 32)
    title = "Sinusoidal positions, d = 32: sines and cosines in turn"
    names, rows = [str(place) for place in places], [str(channel) for channel in range(32)]
    see.picture(Heat(title, "position", "channel", names, rows, channels.T.tolist()))


@claim("G7", HoldsIf("each coordinate is seen alone, over real positions"), articles="S3")
def the_encoding_is_periodic(see: Evidence) -> None:
    """Positional encoding is made of periodic functions.

    PE_2i(p + λ_i) = PE_2i(p) for real p;  PE(p + k) ≠ PE(p) for integers k ≠ 0, because π is irrational

    Rule: each coordinate one wavelength later, d = 64, within the sum of the rounding bounds and that of
    p + λ. Then for k below 10⁶ the first pair alone must stay farther from its start than rounding.
    """
    d, places = 64, np.arange(50.0)
    worst = 0.0
    for i in range(d // 2):
        wave = 2 * math.pi * 10_000 ** (2 * i / d)
        pair = slice(2 * i, 2 * i + 2)
        off = (table(places + wave, d)[:, pair] - table(places, d)[:, pair]).abs()
        moved = torch.from_numpy((places + wave) * 16 * DOUBLE.unit / (wave / (2 * math.pi)))[:, None]
        allowed = rounding(places + wave, d)[:, pair] + rounding(places, d)[:, pair] + moved
        worst = max(worst, float((off / allowed).max()))
    see.supports("each coordinate, one wavelength later: difference ÷ bound", worst, at_most=1.0)
    k, gap = nearest()
    allowed_gap = 2 * float(rounding(np.array([k]), 2).sum())
    see.refutes(f"both of the first pair, k < 10⁶: least distance, at k = {k:,}", gap, above=allowed_gap)


@claim("G10", HOLDS, articles="S3")
def the_encoding_has_the_width_of_the_embedding(see: Evidence) -> None:
    """Positional vectors have as many dimensions as embeddings, so that both can be added.

    PE ∈ R^(T×d), d even: one sine and one cosine for each of d/2 rates

    Rule: the shape of the table is that of torch's embedding of as many tokens, and the sum has it too;
    a table of another width cannot be added.
    """
    for d in (2, 64, 512):
        embedded = nn.Embedding(10, d)(torch.randint(0, 10, (7,)))
        positions = table(np.arange(7), d)
        see.supports(f"d = {d}: shape of the table", tuple(positions.shape), equals=tuple(embedded.shape))
        see.supports(f"d = {d}: shape of the sum", tuple((embedded + positions).shape), equals=tuple(embedded.shape))
    try:
        added = bool((embedded + table(np.arange(7), 64)).numel())
    except RuntimeError:
        added = False
    see.supports("d = 512 and a table of width 64: can be added", added, equals=False)


@claim("G12", HOLDS, articles="S3")
def the_encoding_keeps_the_parallelism(see: Evidence) -> None:
    """With positional encoding a Transformer still processes all positions in parallel.

    depth(x ↦ f(x + PE)) = depth(f) + 1 for every T: one sum for all positions;  no further product

    Rule: the longest chain of operators of an encoder layer, with and without the table before it, at
    six lengths; and the counted operations in products.
    """
    layer = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True)
    alone, summed = sequential_depth(layer).unit_growth, sequential_depth(Positioned(layer, 8), width=8).unit_growth
    for n, one, other in zip(alone.lengths, alone.values, summed.values, strict=True):
        see.supports(f"T = {n}: longest chain, and that without positions plus one", other, equals=one + 1)
    see.supports("with positions: growth of the longest chain", summed.order, equals="O(1)")
    counts = [str(work(each, width=8).contractions) for each in (layer, Positioned(layer, 8))]
    see.supports("with positions: operations in products", counts[1], equals=counts[0])
