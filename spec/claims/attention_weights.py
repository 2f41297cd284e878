"""What attention weights say, and what makes them large or small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Bars, Figure, Series
from seqlaws.reference import attention
from seqlaws.spec.claims.rounding import SINGLE, exact, share


def mixed(weights: Sequence[Fraction], values: Sequence[Fraction]) -> Fraction:
    """Σ_j w_j·v_j / Σ_j w_j: what attention returns, where weights need not sum to 1."""
    return sum((w * v for w, v in zip(weights, values, strict=True)), Fraction(0)) / sum(weights)


@claim("E4", HoldsIf("contributing means entering the sum with the weights held fixed"), articles="S3")
def the_attention_matrix_says_how_much_each_word_contributes(see: Evidence) -> None:
    """The attention matrix captures how much each word contributes to the representation of another.

    ∂o_i/∂v_j = a_ij·I and ⟨w, o_i⟩ ≤ max_j ⟨w, v_j⟩; but left out, word j changes o_i by a_ij/(1 − a_ij)·(o_i
    − v_j), and ∂o_i/∂k_j = a_ij·(v_j − o_i)·q_iᵀ/√d: nothing, where v_j = o_i

    Rule: autograd gives the weights as derivatives, within the rounding bound; in 500 directions no output
    lies beyond the values. In exact fractions, a word of weight 9/10 changes nothing when it is left out, one
    of 1/20 does; and autograd finds no gradient at its key beyond rounding.
    """
    q, k, v = torch.randn(3, 1, 1, 8, 4)
    own = attention.evaluate(exact(q), exact(k), exact(v))
    values = v.clone().requires_grad_()
    found = torch.autograd.grad(F.scaled_dot_product_attention(q, k, values)[0, 0, 3, 1], values)[0]
    cotangent = np.zeros_like(own.out)
    cotangent[0, 0, 3, 1] = 1
    bound = attention.gradient_bound(own, cotangent, SINGLE).v
    wanted = np.zeros_like(own.v)
    wanted[0, 0, :, 1] = own.p[0, 0, 3]
    see.supports("∂o/∂v and weights: difference as a share of its bound",
                 share(found, wanted, bound), at_most=1.0)  # fmt: skip
    ways, out = exact(torch.randn(4, 500)), exact(F.scaled_dot_product_attention(q, k, v))
    beyond = out[0, 0] @ ways - (own.v[0, 0] @ ways).max(0)
    allowed = attention.bound(own, SINGLE)[0, 0] @ np.abs(ways)
    see.supports("500 directions: output beyond all values, as a share of its bound",
                 float((beyond / allowed).max()), at_most=1.0)  # fmt: skip

    weights, words = [Fraction(9, 10), Fraction(1, 20), Fraction(1, 20)], [Fraction(1), Fraction(0), Fraction(2)]
    whole = mixed(weights, words)
    changes = [abs(mixed(weights[:j] + weights[j + 1 :], words[:j] + words[j + 1 :]) - whole) for j in range(3)]
    see.refutes("weight 9/10: change of the output without that word", changes[0], equals=Fraction(0))
    see.refutes("weight 1/20: change of the output without that word", changes[1], above=changes[0])

    q, k, v = torch.ones(1, 1, 1, 1), torch.tensor([3.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 2.0])
    keys = k.reshape(1, 1, 3, 1).requires_grad_()
    found = torch.autograd.grad(F.scaled_dot_product_attention(q, keys, v.reshape(1, 1, 3, 1)).sum(), keys)[0]
    own = attention.evaluate(exact(q), exact(keys), exact(v).reshape(1, 1, 3, 1))
    bound = attention.gradient_bound(own, np.ones((1, 1, 1, 1)), SINGLE).k
    see.refutes(f"weight {own.p.max():.2f}: gradient at its key as a share of its bound",
                abs(found[0, 0, 0, 0].item()) / float(bound[0, 0, 0, 0]), at_most=1.0)  # fmt: skip
    see.picture(
        Bars(
            "A word of weight 0.9 that contributes nothing",
            "weight; change of the output",
            ["v = 1", "v = 0", "v = 2"],
            {"weight": [float(each) for each in weights], "change without it": [float(each) for each in changes]},
        )
    )


@claim("E5", HOLDS, articles="S1 S3", source="Vaswani et al. 2017")
def attention_weights_are_dynamic(see: Evidence) -> None:
    """Attention weights each part of the input anew for every input.

    ∂o_i/∂q_i = Cov_a(v, k)/√d, with the covariance of values and keys under the weights a of the query

    Rule: autograd gives the covariance within the rounding bound; it is not zero. Two queries weight the same
    words differently.
    """
    q, k, v = torch.randn(3, 1, 1, 8, 4)
    own = attention.evaluate(exact(q), exact(k), exact(v))
    cotangent = torch.randn(1, 1, 8, 4)
    query = q.clone().requires_grad_()
    found = torch.autograd.grad(F.scaled_dot_product_attention(query, k, v), query, cotangent)[0]
    keys, values, slope = own.k[0, 0], own.v[0, 0], np.zeros_like(own.q)
    for i, weights in enumerate(own.p[0, 0]):
        covariance = (values - weights @ values).T @ (weights[:, None] * (keys - weights @ keys))
        slope[0, 0, i] = exact(cotangent)[0, 0, i] @ covariance / 2
    bound = attention.gradient_bound(own, exact(cotangent), SINGLE).q
    see.supports("∂o/∂q and covariance: difference as a share of its bound",
                 share(found, slope, bound), at_most=1.0)  # fmt: skip
    see.supports("largest ∂o/∂q as a share of the bound", share(found, 0 * slope, bound), above=1.0)
    weights = (q @ k.mT / 2).softmax(-1)[0, 0]
    shift = (weights[0] - weights[1]).abs().sum().item() / 2
    see.supports("two queries: weight that lies elsewhere", shift, above=0.0)


def null_vector(rows: Sequence[Sequence[int]]) -> list[Fraction]:
    """Exact numbers, not all zero, whose products with each row sum to zero; there are more columns than
    rows.
    """
    left = [[Fraction(each) for each in row] for row in rows]
    width, pivots = len(left[0]), list[int]()
    for column in range(width):
        place = len(pivots)
        found = next((i for i in range(place, len(left)) if left[i][column]), None)
        if found is None:
            continue
        left[place], left[found] = left[found], left[place]
        left[place] = [each / left[place][column] for each in left[place]]
        for i, row in enumerate(left):
            if i != place:
                left[i] = [a - row[column] * b for a, b in zip(row, left[place], strict=True)]
        pivots.append(column)
    free = next(column for column in range(width) if column not in pivots)
    answer = [Fraction(column == free) for column in range(width)]
    for place, column in enumerate(pivots):
        answer[column] = -left[place][free]
    return answer


@claim("E6", Refuted("different weights give the same output, as soon as T > d_v + 1"), articles="S1",
       source="Brunner et al. 2020; Jain & Wallace 2019; Wiegreffe & Pinter 2019")  # fmt: skip
def attention_weights_show_what_the_model_attends_to(see: Evidence) -> None:
    """Attention is interpretable: its weights show what the model attends to.

    T > d_v + 1: some δ ≠ 0 has Σ_j δ_j·v_j = 0 and Σ_j δ_j = 0, so that p and p + ε·δ give one output

    Rule: for 8 words and values of width 4, all integers, δ is found in exact fractions. Both distributions
    are positive and sum to 1, their outputs are equal, and more than a hundredth of the weight lies
    elsewhere. The fused kernel with either gives one output within its bounds.
    """
    words, width = 8, 4
    values = torch.randint(-9, 10, (words, width))
    raw = [Fraction(each) for each in torch.randn(words, dtype=torch.float64).softmax(0).tolist()]
    one = [each / sum(raw) for each in raw]
    delta = null_vector([*values.T.tolist(), [1] * words])
    # nine tenths of the way to where the first weight becomes zero
    most = min(p / -d for p, d in zip(one, delta, strict=True) if d < 0) * Fraction(9, 10)
    other = [p + most * d for p, d in zip(one, delta, strict=True)]
    columns = [[Fraction(each) for each in column] for column in values.T.tolist()]
    difference = max(abs(mixed(one, column) - mixed(other, column)) for column in columns)
    elsewhere = sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
    see.refutes("smallest weight of the other distribution", float(min(other)), above=0.0)
    see.refutes("sum of the other distribution", sum(other), equals=Fraction(1))
    see.refutes("weight that lies elsewhere", float(elsewhere), above=0.01)
    see.refutes("largest difference of the outputs, in fractions", difference, equals=Fraction(0))

    v = values[None, None].float()
    q, k = torch.zeros(1, 1, 1, width), torch.zeros(1, 1, words, width)
    masks = [torch.tensor([[math.log(each) for each in p]]) for p in (one, other)]
    outs = [F.scaled_dot_product_attention(q, k, v, attn_mask=mask) for mask in masks]
    allowed = np.zeros((1, 1, 1, width))
    for mask in masks:
        allowed = allowed + attention.bound(attention.evaluate(exact(q), exact(k), exact(v), mask=exact(mask)), SINGLE)
        # a logarithm s rounded by u·|s| moves at most u·max|s|/2 of the weight, over twice the largest value
        allowed = allowed + SINGLE.unit * float(mask.abs().max() * v.abs().max())
    see.refutes("fused kernel: difference of the outputs as a share of its bounds",
                share(outs[0], exact(outs[1]), allowed), at_most=1.0)  # fmt: skip
    see.picture(
        Bars(
            "Two distributions over the same words, one output",
            "weight",
            [str(place) for place in range(1, words + 1)],
            {"one": [float(each) for each in one], "other": [float(each) for each in other]},
        )
    )


def draw(width: int, *, scaled: bool = True, longer: float = 1.0, own: bool = False) -> Tensor:
    """The weights that 256 queries give 64 keys each, all components independent N(0, 1).

    Queries are ``longer`` by a factor. With ``own``, the first key is the query itself.
    """
    queries, keys = torch.randn(256, 1, width), torch.randn(256, 64, width)
    if own:
        keys[:, :1] = queries
    scores = longer * (queries @ keys.mT)[:, 0]
    return (scores / width**0.5 if scaled else scores).softmax(-1)


def slope(weights: Tensor) -> float:
    """The mean Frobenius norm of diag(p) − p·pᵀ."""
    jacobians = torch.diag_embed(weights) - weights[:, :, None] * weights[:, None]
    return float(torch.linalg.matrix_norm(jacobians).mean())


@claim("E12", HoldsIf("keys are wide, and the components of q and k are independent with mean 0 and variance 1"),
       articles="S3", source="Vaswani et al. 2017")  # fmt: skip
def scaling_by_the_root_of_the_width_stabilises_gradients(see: Evidence) -> None:
    """Division by the root of the key width stabilises gradients.

    Var⟨q, k⟩ = d_k, so Var(s) = 1 after the division, for independent components of variance 1

    Rule: over all pairs of vectors of signs the variance is exactly d_k. The mean norm of the softmax
    Jacobian, over 256 queries and 64 keys, is larger with the division at d_k = 512 and 2048, and smaller at
    16. Where one key is the query itself, it is smaller at 512 than it would be without the division for
    independent ones.
    """
    for width in (2, 5):
        signs = 1 - 2 * (torch.arange(2**width)[:, None] >> torch.arange(width) & 1)
        products = (signs @ signs.T).flatten()
        variance = Fraction(int(products.square().sum()), products.numel()) - Fraction(
            int(products.sum()), products.numel()
        ) ** 2  # fmt: skip
        see.supports(f"signs, d_k = {width}: variance of ⟨q, k⟩", variance, equals=Fraction(width))
    widths = (8, 16, 64, 256, 512, 2048)
    plain = {width: slope(draw(width, scaled=False)) for width in widths}
    divided = {width: slope(draw(width)) for width in widths}
    for width in (512, 2048):
        see.supports(f"d_k = {width}: mean ‖J‖ with the division, and without", divided[width], above=plain[width])
    see.refutes("d_k = 16: mean ‖J‖ with the division, and without", divided[16], below=plain[16])
    see.refutes(
        "d_k = 512, the query is a key: mean ‖J‖ with the division", slope(draw(512, own=True)), below=plain[512]
    )
    see.picture(
        Figure(
            "Mean norm of the softmax Jacobian, 64 keys",
            "d_k",
            "‖diag(p) − p·pᵀ‖",
            (
                Series("with division", widths, list(divided.values())),
                Series("without", widths, list(plain.values())),
            ),
            x_log=True,
        )
    )


@claim("E13", Refuted("the division bounds nothing: queries ten times as long let one key dominate at every width"),
       articles="S3", source="Zhai et al. 2023; Henry et al. 2020")  # fmt: skip
def scaling_prevents_single_values_from_dominating_the_softmax(see: Evidence) -> None:
    """The division by √d_k ensures stability: it keeps large or small values from dominating the softmax.

    max_j p_j → 1 as ‖q‖ → ∞, whatever d_k; in float32 max p = 1 and all others are 0 once the scores lie 104
    apart

    Rule: a key dominates if it has more weight than all others together, ½. The mean of max p, over 256
    queries and 64 keys, exceeds that for queries ten times as long. A single long query leaves the other keys
    exactly nothing.
    """
    widths, factors = (16, 64, 256), (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0)
    largest = {width: [draw(width, longer=factor).amax(-1).mean().item() for factor in factors] for width in widths}
    for width, means in largest.items():
        see.supports(f"d_k = {width}, ‖q‖ ≈ √d_k: mean largest weight of 64", means[2], below=0.5)
        see.refutes(f"d_k = {width}, ‖q‖ ≈ 10·√d_k: mean largest weight of 64", means[5], above=0.5)
    keys = torch.eye(64)
    weights = (832 * keys[:1] @ keys.T / 64**0.5).softmax(-1)  # a score of 104, and zeros
    see.refutes("d_k = 64, ‖q‖ = 832: sum of all weights but the largest", weights[0, 1:].sum().item(), equals=0.0)
    see.picture(
        Figure(
            "Mean largest weight of 64 keys, scores divided by √d_k",
            "length of the query, in units of √d_k",
            "max p",
            tuple(Series(f"d_k = {width}", factors, means) for width, means in largest.items()),
            x_log=True,
        )
    )
