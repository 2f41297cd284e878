"""What the factors of a gradient through time say of their product."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Figure, Series, gradient_profile
from seqlaws.reference.rounding import gamma

UNIT = 2.0**-53
"""The roundoff of float64, in which everything here is computed."""


def states(cell: nn.RNNCell, x: Tensor, first: Tensor) -> list[Tensor]:
    """The states of a cell from h_0 on, one for every row of x, joined by the autograd graph."""
    found = [first]
    for each in x:
        found.append(cell(each, found[-1]))
    return found


def descending(row: Tensor, factors: list[Tensor]) -> Tensor:
    """row · J_T · … · J_1, for the factors J_1 … J_T."""
    for each in reversed(factors):
        row = row @ each
    return row


def rectifiers(width: int) -> nn.RNNCell:
    """A cell of rectifiers whose weights are small integers: all that it computes in float64 is exact."""
    cell = nn.RNNCell(width, width, nonlinearity="relu").double()
    with torch.no_grad():
        for each in cell.parameters():
            each.copy_(torch.randint(-1, 2, each.shape))
    return cell


@claim("C1", HoldsIf("the factors stand in descending order and the loss reads the last state alone"), articles="S1")
def the_gradient_through_time_is_a_product(see: Evidence) -> None:
    """The gradient at the first state is that at the last, times the derivatives of all steps between.

    ∂L/∂h₀ = ∂L/∂h_T · J_T ⋯ J₂ · J₁, with J_t = ∂h_t/∂h_{t−1} and gradients as rows;
    not ∏_{t=1..T} J_t = J₁ · J₂ ⋯ J_T, as S1 has it: matrices do not commute

    Rule: rectifiers with integer weights compute exactly, so autograd and the product must be equal. For tanh
    they may differ by 2·γ_k·|∂L/∂h_T|·∏|J_t|, k = T·(n + 2 + max 1/(1 − h²)) roundings, and the other order
    must differ by more.
    """
    width, length = 5, 8
    cell = rectifiers(width)
    first = torch.ones(1, width, dtype=torch.float64, requires_grad=True)
    every = states(cell, torch.randint(0, 3, (length, 1, width)).double(), first)
    row = torch.arange(1.0, width + 1, dtype=torch.float64)
    factors = [(h > 0).double().T * cell.weight_hh.detach() for h in every[1:]]
    last = torch.autograd.grad((every[-1] * row).sum(), first, retain_graph=True)[0][0]
    total = torch.autograd.grad(sum(((h * row).sum() for h in every[1:]), torch.zeros(())), first)[0][0]
    product = descending(row, factors)
    see.supports("rectifiers, loss on h_T: autograd is the product J_T ⋯ J_1", integers(last), equals=integers(product))
    see.refutes(
        "rectifiers: the product J_1 ⋯ J_T differs by",
        int((descending(row, factors[::-1]) - last).abs().max()),
        above=0,
    )
    see.refutes("rectifiers, loss on every state: one product differs by", int((total - product).abs().max()), above=0)
    prefixes = sum((descending(row, factors[:t]) for t in range(1, length + 1)), torch.zeros(width))
    see.supports("rectifiers, loss on every state: sum of T products", integers(total), equals=integers(prefixes))

    width, length = 6, 20
    smooth = nn.RNNCell(width, width).double()
    first = torch.randn(1, width, dtype=torch.float64, requires_grad=True)
    every = states(smooth, torch.randn(length, 1, width, dtype=torch.float64), first)
    row = torch.randn(width, dtype=torch.float64)
    slopes = [(1 - h.detach() ** 2).T for h in every[1:]]
    factors = [slope * smooth.weight_hh.detach() for slope in slopes]
    (gradient,) = torch.autograd.grad((every[-1] * row).sum(), first)
    steepest = max(float((1 / slope).max()) for slope in slopes)
    rounding = 2 * gamma(length * (width + 2 + math.ceil(steepest)), UNIT)
    allowed = rounding * descending(row.abs(), [each.abs() for each in factors])
    for order, chosen, report, relation in (
        ("J_T ⋯ J_1", factors, see.supports, "at_most"),
        ("J_1 ⋯ J_T", factors[::-1], see.refutes, "above"),
    ):
        excess = float(((descending(row, chosen) - gradient[0]).abs() / allowed).max())
        report(f"tanh, T = {length}, {order}: difference over its bound", excess, **{relation: 1.0})


def integers(row: Tensor) -> tuple[int, ...]:
    """A row of exact integers."""
    return tuple(int(each) for each in row)


@claim("C2", HOLDS, articles="S1", source="Pascanu et al. 2013")
def one_step_multiplies_by_slopes_and_weights(see: Evidence) -> None:
    """Each factor of that product is the recurrent matrix, its rows scaled by the slopes of the activation.

    ∂h_t/∂h_{t−1} = diag(1 − h_t²) · W_hh for f = tanh

    Rule: the Jacobian by autograd and the formula may differ by 6u·|W_hh| in every entry: 1 − h² is wrong by
    at most 2u and the product by u more, in either of them. Saturated units are among those that are
    measured.
    """
    for width, scale in ((1, 1.0), (4, 1.0), (16, 1.0), (16, 30.0)):
        cell = nn.RNNCell(width, width).double()
        x, h = scale * torch.randn(width, dtype=torch.float64), torch.rand(width, dtype=torch.float64)

        def step(state: Tensor, cell: nn.RNNCell = cell, x: Tensor = x) -> Tensor:
            return cell(x, state)

        jacobian = torch.autograd.functional.jacobian(step, h)  # type: ignore[no-untyped-call]
        weights = cell.weight_hh.detach()
        formula = torch.diag(1 - step(h).detach() ** 2) @ weights
        worst = float(((jacobian - formula).abs() / weights.abs()).max()) / UNIT
        see.supports(f"width {width}, inputs of size {scale:g}: largest difference in u·|W|", worst, at_most=6.0)


def norm_of_product(factors: list[Tensor]) -> list[float]:
    """‖J_t ⋯ J_1‖₂ for t = 1, 2 … ."""
    product, norms = torch.eye(factors[0].shape[0], dtype=torch.float64), []
    for each in factors:
        product = each @ product
        norms.append(float(torch.linalg.matrix_norm(product, 2)))
    return norms


@claim(
    "C3",
    HoldsIf("one number g < 1 bounds the norms of all steps"),
    articles="S0 S1 S3",
    source="Hochreiter 1991; Bengio et al. 1994",
)
def derivatives_below_one_vanish(see: Evidence) -> None:
    """If the derivatives of the steps are below one, the gradient vanishes.

    sup ‖J_t‖ ≤ g < 1 gives ‖J_T ⋯ J₁‖ ≤ g^T. It is not enough that
    every factor is below one: ∏_{t=2..n} (1 − 1/t²) = (n + 1)/(2n) → ½;
    every eigenvalue is below one: A = [[0, 2], [0, 0]] and B = Aᵀ have 0 alone, and (AB)^k has the entry 4^k;
    N = [[.9, 50], [0, .9]] grows before it fades

    Rule: the bound holds for a tanh network with ‖W_hh‖ = .9. The product of fractions and that of A and B
    are computed exactly; max ‖N^k‖ exceeds 100.
    """
    width, length = 16, 200
    layer = nn.RNN(width, width, batch_first=True).double()
    with torch.no_grad():
        given, recurrent, *_ = layer.all_weights[0]
        recurrent.mul_(0.9 / torch.linalg.matrix_norm(recurrent, 2))
        first = float(torch.linalg.matrix_norm(given, 2))
    norms = gradient_profile(layer, length).norms
    for lag in (1, 10, 100, 199):
        see.supports(f"tanh, ‖W_hh‖ = .9, lag {lag}: gradient", norms[lag], at_most=0.9**lag * first)

    factors, product = [1 - Fraction(1, t * t) for t in range(2, 1001)], Fraction(1)
    kept = []
    for each in factors:
        product *= each
        kept.append(float(product))
    see.refutes("1 − 1/t², t = 2 … 1000, each below 1: product", product, equals=Fraction(1001, 2000))
    see.refutes("the largest of these factors", max(factors), below=1)
    shear = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    pair = [shear, shear.T]
    see.refutes("A and B in turn: largest entry of A² and B²", int(max((m @ m).max() for m in pair)), equals=0)
    both = torch.linalg.matrix_power(shear @ shear.T, 25)
    see.refutes("A and B in turn, eigenvalues 0: largest entry after 50 steps", int(both.max()), equals=4**25)
    slow = norm_of_product([torch.tensor([[0.9, 50.0], [0.0, 0.9]], dtype=torch.float64)] * 50)
    see.refutes(f"eigenvalues .9: norm after {slow.index(max(slow)) + 1} steps", max(slow), above=100.0)
    steps = range(1, 51)
    see.picture(
        Figure(
            "Factors below one, four products",
            "steps t",
            "‖J_t ⋯ J_1‖",
            (
                Series("eigenvalues 0: A, B in turn", steps, norm_of_product(pair * 25)),
                Series("eigenvalues .9: shear of 50", steps, slow),
                Series("each below 1: 1 − 1/t²", steps, kept[:50]),
                Series("tanh, ‖W_hh‖ = .9", steps, [norm / first for norm in norms[1:51]]),
            ),
            y_log=True,
        )
    )


def resting_slope(weight: float) -> float:
    """The derivative of h ↦ tanh(w·h) at its positive fixed point, for w > 1, which bisection finds."""
    cell = nn.RNNCell(1, 1, bias=False).double()
    with torch.no_grad():
        cell.weight_hh.fill_(weight)
    low, high = 1e-9, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.tanh(weight * middle) > middle else (low, middle)
    h = torch.tensor([[low]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cell(torch.zeros(1, 1, dtype=torch.float64), h).sum(), h)
    return float(slope)


@claim(
    "C4",
    Refuted("a shear of norm 100 whose square is 0, and tanh, which contracts where it rests for every weight > 1"),
    articles="S0 S1 S3",
    source="Pascanu et al. 2013",
)
def derivatives_above_one_explode(see: Evidence) -> None:
    """If the derivatives of the steps are above one, the gradient explodes.

    σ_min(J_t) ≥ g > 1 for all t is sufficient; ‖J_t‖ > 1 is necessary, and no more:
    [[0, 100], [0, 0]]² = 0; diag(2, ½) shrinks e₂; ∏ (1 + 1/t²) → sinh(π)/π;
    at the fixed point h* > 0 of tanh(w·h), w > 1, the derivative is 0 < w(1 − h*²) < 1: tanh is concave

    Rule: products of integers and powers of two by autograd are exact, that of fractions as well. The slope
    at the fixed point, found by bisection, lies between 0 and 1 for every w.
    """
    steps = 50
    for name, matrix, start, wanted, report in (
        (
            "2·(a permutation), smallest singular value 2",
            [[0.0, 2.0], [2.0, 0.0]],
            [1.0, 0.0],
            2.0**steps,
            see.supports,
        ),
        ("diag(2, ½) along e₁", [[2.0, 0.0], [0.0, 0.5]], [1.0, 0.0], 2.0**steps, see.supports),
        ("diag(2, ½) along e₂", [[2.0, 0.0], [0.0, 0.5]], [0.0, 1.0], 2.0**-steps, see.refutes),
        ("shear of norm 100", [[0.0, 100.0], [0.0, 0.0]], [1.0, 1.0], 0.0, see.refutes),
    ):
        report(f"{name}: gradient after {steps} steps", through(matrix, start, steps), equals=wanted)
    product = Fraction(1)
    for t in range(1, 501):
        product *= 1 + Fraction(1, t * t)
    see.refutes("1 + 1/t², t = 1 … 500, each above 1: product", float(product), below=math.sinh(math.pi) / math.pi)
    weights = [1.001, 1.01, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0]
    slopes = [resting_slope(weight) for weight in weights]
    see.refutes("tanh(w·h) at rest, 1 < w ≤ 8: largest derivative", max(slopes), below=1.0)
    see.refutes("tanh(w·h) at rest, 1 < w ≤ 8: smallest derivative", min(slopes), above=0.0)
    see.picture(
        Figure(
            "A weight above one contracts where the unit rests",
            "weight w",
            "derivative of tanh(w·h) at its fixed point",
            (Series("w(1 − h*²)", weights, slopes),),
        )
    )


def through(matrix: list[list[float]], start: list[float], steps: int) -> float:
    """The largest entry of the gradient at h_0 of ``start`` · h_T, in the linear network h_t = M·h_{t−1}."""
    factor = torch.tensor(matrix, dtype=torch.float64)
    first = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    h = first
    for _ in range(steps):
        h = factor @ h
    (gradient,) = torch.autograd.grad(h @ torch.tensor(start, dtype=torch.float64), first)
    return float(gradient.abs().max())
