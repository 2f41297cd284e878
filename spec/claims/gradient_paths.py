"""How gradients pass through attention: by which paths, and how large they may become."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor, nn

from seqlaws.claim import Evidence, HoldsIf, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Bars, Figure, Series, gradient_profile, path_length
from seqlaws.reference.rounding import gamma
from seqlaws.spec.claims.gradient_rates import LOST

UNIT = FORMATS["float64"].unit
WIDTH, HEADS = 16, 2


class Reader(nn.Module):
    """One attention over what a mask lets each position see, without a skip connection, in several layers."""

    def __init__(self, layers: int, reach: int | None = None, *, causal: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(layers))
        self.reach, self.causal = reach, causal

    def forward(self, x: Tensor) -> Tensor:
        """What the layers read, one after the other."""
        far = torch.arange(x.shape[1]).unsqueeze(1) - torch.arange(x.shape[1])
        hidden = far.abs() >= (self.reach or x.shape[1])
        if self.causal:
            hidden |= far < 0
        for layer in self.layers:
            x = layer(x, x, x, attn_mask=hidden, need_weights=False)[0]
        return x


def farthest(length: int, seeds: int = 4) -> float:
    """‖∂y_T/∂x₁‖ in Transformers of two layers as torch starts them: the geometric mean of some."""
    logs = []
    for _ in range(seeds):
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
        model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        logs.append(math.log(gradient_profile(model, length).norms[-1]))
    return math.exp(statistics.mean(logs))


@claim(
    "C11",
    HoldsIf("the steps between two positions are counted; the size of the gradient still falls, as 1/T"),
    articles="S3",
)
def transformers_free_gradients_of_the_length(see: Evidence) -> None:
    """The layers that a gradient passes in a Transformer do not depend on the length; vanishing is mitigated
    thereby.

    The path from x₁ to y_T has as many operators for every T. But ‖∂y_T/∂x₁‖ ~ 1/T for spread weights,
    and in L layers without skip connections it is a product of L factors again

    Rule: a path over 15 positions has as many operators as one over 3. At distance 127 the gradient of a
    Transformer, as torch starts it, is above 2⁻²⁴, the roundoff of float32, that of an RNN below. From T = 16
    to 128 it falls more than 2 times (1/T: 8 times; independent: not at all), in the geometric mean of 4
    networks. 24 layers of attention alone bring it below 2⁻²⁴ at any distance.
    """
    lengths = path_length(nn.TransformerEncoderLayer(WIDTH, HEADS, 32, dropout=0.0, batch_first=True), 16).lengths
    see.supports(
        "Transformer: operators from the first to the last of 16, and of 4", lengths[15][0], equals=lengths[3][0]
    )
    sizes = (16, 32, 64, 128)
    far = [farthest(size) for size in sizes]
    plain = gradient_profile(nn.RNN(WIDTH, WIDTH), 128).norms
    see.supports("Transformer, T = 128: gradient of the last output by the first input", far[-1], above=LOST)
    see.supports("RNN, T = 128: gradient of the last output by the first input", plain[-1], below=LOST)
    see.refutes("Transformer: gradient at T = 16 over that at T = 128", far[0] / far[-1], above=2.0)
    deep = gradient_profile(Reader(24), 16).norms
    see.refutes("24 layers of attention without skips, T = 16: largest gradient", max(deep), below=LOST)
    see.picture(
        Figure(
            "From the first input to the last output",
            "length T",
            "‖∂y_T/∂x₁‖",
            (
                Series("Transformer, two layers", sizes, far),
                Series("1/T", sizes, [far[0] * sizes[0] / size for size in sizes]),
                Series("RNN", range(2, 33), [plain[lag] for lag in range(1, 32)]),
            ),
            x_log=True,
            y_log=True,
        )
    )


def gain_of_attention(scale: float) -> float:
    """∂o₁/∂x₁ of attention over the tokens 0, s and −s, which are queries, keys and values as well."""
    x = torch.tensor([[0.0], [scale], [-scale]], dtype=torch.float64, requires_grad=True)
    out = nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], scale=1.0)
    return float(torch.autograd.grad(out[0, 0, 0], x)[0][0])


@claim(
    "C12",
    Refuted("three tokens through which a layer multiplies gradients by (1 + 2s²)/3, for every s"),
    articles="S3",
    source="Kim et al. 2021; Dong et al. 2021; Xiong et al. 2020",
)
def transformers_ensure_stable_training(see: Evidence) -> None:
    """Because gradients neither vanish nor explode in it, a Transformer ensures more stable training.

    Dot-product attention has no Lipschitz constant: for the tokens 0, s, −s, ∂o₁/∂x₁ = (1 + 2s²)/3. Nor is a
    layer norm gentle: ‖J‖ = 1/√(var + ε), 316 for constant inputs and ε = 10⁻⁵

    Rule: by autograd in float64, within γ_32 of the formula: tens of operations. The gain of one layer at s =
    64 is above 1,000.
    """
    scales = [2.0**power for power in range(-2, 9)]
    gains = [gain_of_attention(scale) for scale in scales]
    for scale, gain in zip(scales, gains, strict=True):
        if scale in (1, 4, 16, 64):
            exact = (1 + 2 * scale**2) / 3
            see.refutes(
                f"s = {scale:g}: relative distance from (1 + 2s²)/3", abs(gain / exact - 1), at_most=gamma(32, UNIT)
            )
    see.refutes("s = 64: gradient of one attention", gains[scales.index(64)], above=1000.0)
    norm = nn.LayerNorm(8, eps=1e-5).double()
    jacobian = torch.autograd.functional.jacobian(norm, torch.ones(8, dtype=torch.float64))  # type: ignore[no-untyped-call]
    see.refutes("layer norm of a constant: ‖J‖", float(torch.linalg.matrix_norm(jacobian, 2)), above=316.0)
    see.picture(
        Figure(
            "One attention multiplies gradients without a limit",
            "scale s of the tokens 0, s, −s",
            "∂o₁/∂x₁",
            (
                Series("by autograd", scales, gains, joined=False),
                Series("(1 + 2s²)/3", scales, [(1 + 2 * s**2) / 3 for s in scales]),
            ),
            x_log=True,
            y_log=True,
        )
    )


def paths(layers: int, distance: int) -> list[int]:
    """The paths of h = 0, 1 … hops from a position to one ``distance`` later, counted by gradients.

    Every layer adds to each position the sum over itself and all before, as uniform attention with a skip
    connection does; what has passed h sums is held in channel h.
    """
    first = torch.zeros(layers + 1, dtype=torch.float64, requires_grad=True)
    rest = torch.zeros(distance, layers + 1, dtype=torch.float64)
    x = torch.cat((first[None], rest))
    for _ in range(layers):
        x = x + torch.cumsum(x, 0).roll(1, -1)
    return [int(torch.autograd.grad(hops, first, retain_graph=True)[0][0]) for hops in x[-1].unbind()]


@claim("C13", HoldsIf("one layer is meant, and its mask lets the one position see the other"), articles="S2")
def the_gradient_path_has_length_one(see: Evidence) -> None:
    """In a Transformer the path of the gradient between any two positions has length one.

    One hop is the least there is, for what is visible. In L causal layers with skip connections there are
    C(L, h)·C(k + h − 1, h − 1) paths of h hops over a distance of k

    Rule: in one layer of attention no pair of 100 positions has a zero gradient; with a causal mask that by a
    later position is zero, with a window of 8 that over a distance of 99, exactly. In 6 layers paths are
    counted by autograd, in exact integers: L of one hop, and many more of several.
    """
    see.supports("one layer, 100 positions: least gradient", min(gradient_profile(Reader(1), 100).norms), above=0.0)
    see.supports("one layer, distance 99: paths of one hop", paths(1, 99)[1], equals=1)
    x = torch.randn(1, 100, WIDTH, requires_grad=True)
    (early,) = torch.autograd.grad(Reader(1, causal=True)(x)[0, 0].sum(), x)
    see.refutes(
        "causal mask: gradient of the first output by all later inputs", float(early[0, 1:].abs().max()), equals=0.0
    )
    see.refutes(
        "window of 8: gradient over a distance of 99", gradient_profile(Reader(1, 8), 100).norms[99], equals=0.0
    )
    layers, distance = 6, 99
    found = paths(layers, distance)
    formula = [math.comb(layers, h) * math.comb(distance + h - 1, h - 1) for h in range(1, layers + 1)]
    see.refutes("6 layers, distance 99: paths of 1 … 6 hops", tuple(found[1:]), equals=tuple(formula))
    see.refutes("6 layers, distance 99: paths of more than one hop", sum(found[2:]), above=found[1])
    see.picture(
        Bars(
            f"{sum(found):,} paths over a distance of {distance} in {layers} causal layers",
            "paths",
            [f"{hops} hop{'s' if hops > 1 else ''}" for hops in range(1, layers + 1)],
            {"paths": found[1:]},
            y_log=True,
        )
    )
