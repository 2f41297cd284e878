"""What becomes of words and gradients where many layers are stacked."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from seqlaws.claim import Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Figure, Series
from seqlaws.instruments.layers import SelfAttention
from seqlaws.reference import norm
from seqlaws.reference.rounding import gamma
from seqlaws.spec.claims.rounding import SINGLE, exact


@claim("E7", Refuted("without skip connections and feed-forward parts, all words become one within six layers"),
       articles="S0", source="Dong et al. 2021")  # fmt: skip
def attention_alone_solves_the_problems(see: Evidence) -> None:
    """Attention replaced recurrence entirely, and solved its problems in one stroke.

    x ↦ softmax(x·W_Q·(x·W_K)ᵀ/√d)·x·W_V, again and again: the residual ‖x − mean over words‖/‖x‖ falls doubly
    exponentially with depth

    Rule: 32 random words of width 32 in float64 through random layers of attention alone. The residual is
    below 10⁻⁶ after six layers, where it has long reached rounding; with a skip connection around each it
    stays a thousand times above that after twelve.
    """
    width, depth = 32, 12
    layers = [SelfAttention(width).double() for _ in range(depth)]
    for parameter in (each for layer in layers for each in layer.parameters()):
        nn.init.normal_(parameter, std=width**-0.5)
    start = torch.randn(1, 32, width, dtype=torch.float64)

    def residuals(*, skip: bool) -> list[float]:
        x, found = start, [_residual(start)]
        for layer in layers:
            x = layer(x) + (x if skip else 0)
            found.append(_residual(x))
        return found

    with torch.no_grad():
        alone, skipped = residuals(skip=False), residuals(skip=True)
    see.supports("attention alone, 1 layer: residual", alone[1], above=1e-3)
    see.refutes("attention alone, 6 layers: residual", alone[6], below=1e-6)
    see.refutes("with skip connections, 12 layers: residual", skipped[12], above=1e-3)
    see.picture(
        Figure(
            "How far words are from their mean",
            "layers",
            "‖x − mean‖ / ‖x‖",
            (
                Series("attention alone", range(depth + 1), alone),
                Series("with skip connections", range(depth + 1), skipped),
            ),
            y_log=True,
        )
    )


def _residual(x: Tensor) -> float:
    return float((x - x.mean(1, keepdim=True)).norm() / x.norm())


@claim("H12", HoldsIf("the derivative of every branch has a norm below 1"), articles="S3", source="He et al. 2016")
def skip_connections_stabilise_the_flow_of_gradients(see: Evidence) -> None:
    """Skip connections help to stabilise the flow of gradients.

    x ↦ x + F_l(x): ∏(1 − ‖F'_l‖) ≤ σ_i ≤ ∏(1 + ‖F'_l‖) for all singular values of the Jacobian, a lower bound
    only while ‖F'_l‖ < 1. Without skip connections σ_i ≤ ∏‖F'_l‖

    Rule: 24 branches tanh(W·x) with ‖W‖ = 0.1 in float64: singular values and the norms along the way,
    measured, keep both bounds, and without skip connections the largest lies below ∏‖F'_l‖ ≤ 10⁻²⁴. One
    branch −x leaves a gradient of exactly 0; ten quarter turns, of norm 1, double squared lengths ten times.
    """
    width, depth = 8, 24
    matrices = [torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0] / 10 for _ in range(depth)]
    start = torch.randn(width, dtype=torch.float64)

    def extremes(*, skip: bool) -> tuple[list[float], list[float], list[float]]:
        """After each block: the largest and the smallest singular value, and the norm of its branch's
        derivative.
        """
        x, whole, found = start, torch.eye(width, dtype=torch.float64), list[tuple[float, float, float]]()
        for matrix in matrices:
            branch = torch.tanh(matrix @ x)
            slope = (1 - branch**2)[:, None] * matrix
            whole = slope @ whole + (whole if skip else 0)
            x = branch + (x if skip else 0)
            values = torch.linalg.svdvals(whole)
            found.append((values[0].item(), values[-1].item(), torch.linalg.matrix_norm(slope, 2).item()))
        largest, smallest, norms = zip(*found, strict=True)
        return list(largest), list(smallest), list(norms)

    largest, smallest, norms = extremes(skip=True)
    see.supports("24 blocks, skipped: largest norm of a branch's derivative", max(norms), below=1.0)
    least, most = math.prod(1 - each for each in norms), math.prod(1 + each for each in norms)
    see.supports("24 blocks, skipped: smallest singular value and ∏(1 − ‖F'‖)", smallest[-1], at_least=least)
    see.supports("24 blocks, skipped: largest singular value and ∏(1 + ‖F'‖)", largest[-1], at_most=most)
    bare, _, norms = extremes(skip=False)
    # products of matrices and singular values are good to a few d² roundings each
    product = math.prod(norms) * (1 + gamma(4 * depth * width**2, 2.0**-53))
    see.supports("24 blocks, not skipped: largest singular value and ∏‖F'‖", bare[-1], at_most=product)
    x = torch.randn(width, requires_grad=True)
    left = torch.autograd.grad((x + -x).sum(), x)[0]
    see.refutes("branch −x, skipped: largest gradient", left.abs().max().item(), equals=0.0)
    turn = torch.tensor([[0, -1], [1, 0]])
    turned = torch.tensor([3, 4])
    for _ in range(10):
        turned = turned + turn @ turned
    see.refutes("ten quarter turns, skipped: growth of a squared length", int(turned @ turned) // 25, equals=2**10)
    steps = range(1, depth + 1)
    see.picture(
        Figure(
            "Singular values of ∂x_l/∂x_0 where ‖F'‖ ≤ 0.1",
            "block l",
            "singular value",
            (
                Series("largest, skipped", steps, largest),
                Series("smallest, skipped", steps, smallest),
                Series("largest, not skipped", steps, bare),
            ),
            y_log=True,
        )
    )


def amplification(scale: float) -> tuple[float, float, float]:
    """Of layer normalisation at an input of this scale: ‖J‖₂, 1/√(var + ε), and how far rounding may part
    them.
    """
    x = (torch.randn(16) * scale).requires_grad_()
    layer = nn.LayerNorm(16)
    jacobian = torch.autograd.functional.jacobian(layer, x)  # type: ignore[no-untyped-call]
    m = norm.evaluate(exact(x), np.ones(16), np.zeros(16), layer.eps)
    rows = [norm.gradient_bound(m, row, SINGLE)["x"] for row in np.eye(16)]
    spectral = float(np.linalg.norm(exact(jacobian), 2))
    return spectral, float(1 / m.s[0]), float(np.linalg.norm(rows)) + gamma(300, 2.0**-53) * spectral


def last_gradient(*, norm_first: bool, depth: int) -> float:
    """The norm of the gradient at the last feed-forward matrix before training, a mean of three draws."""
    norms = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(3):
            torch.manual_seed(seed)
            blocks = [
                nn.TransformerEncoderLayer(32, 4, 128, 0.0, batch_first=True, norm_first=norm_first)
                for _ in range(depth)
            ]
            out = nn.Sequential(*blocks, nn.LayerNorm(32) if norm_first else nn.Identity())(torch.randn(2, 16, 32))
            slope = torch.autograd.grad(out, blocks[-1].linear2.weight, torch.randn_like(out))[0]
            norms.append(slope.norm().item())
    return sum(norms) / len(norms)


@claim("H13", Refuted("layer normalisation multiplies gradients by up to 1/√ε = 316, and where it stands decides"),
       articles="S3", source="Xiong et al. 2020")  # fmt: skip
def normalisation_prevents_instability(see: Evidence) -> None:
    """Normalisation layers improve convergence, and prevent instability in deep networks.

    ‖J‖₂ = 1/√(var + ε) for d > 2, and > 1/(2·√ε) where var < 3·ε. Before training, the gradient at the last
    block falls like 1/√L with L blocks where normalisation comes first in each and once at the end, and stays
    as it is where it comes last in each

    Rule: the Jacobian of nn.LayerNorm agrees with the formula within its rounding bound, and exceeds 1/(2·√ε)
    = 158 at scales 0.001 and 0.0001. From 6 blocks to 48, the gradient at the last falls by more than half of
    √8 in the one arrangement, and by less than that in the other: mean of three draws.
    """
    for scale in (10.0, 0.1, 0.001, 0.0001):
        got, formula, allowed = amplification(scale)
        side = see.refutes if formula > 1 else see.supports
        side(f"scale {scale:g}: ‖J‖₂ and 1/√(var + ε), difference as a share of its bound",
             abs(got - formula) / allowed, at_most=1.0)  # fmt: skip
        if scale < 0.01:
            see.refutes(f"scale {scale:g}: ‖J‖₂ of one layer", got, above=0.5 * nn.LayerNorm(1).eps ** -0.5)
    depths = (6, 12, 24, 48)
    last = {
        name: [last_gradient(norm_first=first, depth=depth) for depth in depths]
        for name, first in (("normalised first", True), ("normalised last", False))
    }
    half = math.sqrt(8) / 2
    first, after = (found[0] / found[-1] for found in last.values())
    see.supports("normalised first, 6 and 48 blocks: ratio of the last gradients", first, above=half)
    see.refutes("normalised last, 6 and 48 blocks: ratio of the last gradients", after, below=half)
    see.picture(
        Figure(
            "Gradient at the last feed-forward matrix, before training",
            "blocks",
            "Frobenius norm",
            tuple(Series(name, depths, found) for name, found in last.items()),
            x_log=True,
            y_log=True,
        )
    )
