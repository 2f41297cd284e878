"""What scaled dot-product attention computes, step by step."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import sequential_depth
from seqlaws.reference import attention, multihead
from seqlaws.reference.rounding import gamma
from seqlaws.reference.softmax import softmax_bound, softmax_gradient, softmax_gradient_bound
from seqlaws.spec.claims.rounding import SINGLE, exact, share, weights_of_attention


@claim("E8", HOLDS, articles="S3", source="Vaswani et al. 2017, section 3.2")
def queries_keys_and_values_are_products_with_trained_matrices(see: Evidence) -> None:
    """Queries, keys and values are the inputs multiplied by trainable weight matrices.

    Q = X·W_Q, K = X·W_K, V = X·W_V

    Rule: attention computed from these three products agrees with a module that was given X, within the
    rounding bound; and a loss sends a gradient to each of the three matrices.
    """
    module = nn.MultiheadAttention(16, 1, bias=False, batch_first=True)
    x = torch.randn(2, 9, 16)
    out = module(x, x, x, need_weights=False)[0]
    tokens = exact(x)
    own = multihead.evaluate(tokens, tokens, tokens, weights_of_attention(module), num_heads=1)
    see.supports("module and formula: difference as a share of its bound",
                 share(out, own.out, multihead.bound(own, SINGLE)), at_most=1.0)  # fmt: skip
    gradients = torch.autograd.grad(out.square().sum(), module.in_proj_weight)[0].chunk(3)
    for name, gradient in zip(("W_Q", "W_K", "W_V"), gradients, strict=True):
        see.supports(f"largest gradient of {name}", gradient.abs().max().item(), above=0.0)


@claim("E9", HoldsIf("the matrices differ, and have fewer rows than columns; nothing forces either"), articles="S3")
def queries_keys_and_values_lie_in_different_subspaces(see: Evidence) -> None:
    """The trained matrices project the inputs into different subspaces for queries, keys and values.

    the directions of x that q = W_Q·x and k = W_K·x see: rank [W_Q; W_K], which is 2·d_k if they share none,
    and d_k if they are the same

    Rule: the rank is counted for a head of width d_k = 4 in d = 16 at random, for the same head with W_Q =
    W_K, and for a single head as wide as its input, d_k = d, which sees every direction with each of the
    matrices.
    """
    width, narrow = 16, 4

    def together(one: Tensor, other: Tensor) -> int:
        return int(torch.linalg.matrix_rank(torch.cat([one, other])))

    query, key = torch.randn(2, narrow, width, dtype=torch.float64)
    see.supports("random, d_k = 4: rank of both matrices together", together(query, key), equals=2 * narrow)
    see.refutes("W_Q = W_K, d_k = 4: rank of both matrices together", together(query, query.clone()), equals=narrow)
    query, key = torch.randn(2, width, width, dtype=torch.float64)
    alone = int(torch.linalg.matrix_rank(query))
    see.refutes("random, d_k = d = 16: rank of both, and of one", together(query, key), equals=alone)


@claim("E11", HOLDS, articles="S3", source="Vaswani et al. 2017, equation 1")
def attention_is_products_scaled_softmax_and_a_weighted_sum(see: Evidence) -> None:
    """Attention takes dot products of queries and keys, divides by the root of the key width, takes the
    softmax, and weights the values with it.

    o = softmax(Q·Kᵀ/√d_k)·V

    Rule: F.scaled_dot_product_attention, as plain operators and as the fused kernel, agrees with the formula
    in float64 within the derived bound for every output, in float32 and in bfloat16.
    """
    for kind in (torch.float32, torch.bfloat16):
        format = FORMATS[str(kind).removeprefix("torch.")]
        for length, width, size in ((7, 4, 1.0), (130, 64, 1.0), (33, 16, 8.0)):
            q, k, v = (torch.randn(3, 1, 2, length, width) * size).to(kind)
            own = attention.evaluate(exact(q), exact(k), exact(v))
            allowed = attention.bound(own, format)
            for name, backend in (("plain", SDPBackend.MATH), ("fused", SDPBackend.FLASH_ATTENTION)):
                with sdpa_kernel(backend):
                    out = F.scaled_dot_product_attention(q, k, v)
                case = f"{name}, {format.name}, T = {length}, d = {width}: error as a share of its bound"
                see.supports(case, share(out, own.out, allowed), at_most=1.0)


@claim("E14", HoldsIf("zero counts as a share, and a sum as 1 up to rounding; real numbers need neither"),
       articles="S3", source="Blanchard, Higham & Higham 2021")  # fmt: skip
def softmax_normalises_the_scores(see: Evidence) -> None:
    """The softmax function normalises the scores.

    p_j > 0 and Σ_j p_j = 1 in real numbers. In float32 p_j = 0 where max s − s_j ≥ 104, as exp(−104) lies
    below half the smallest number; and |Σ_j p_j − 1| ≤ Σ_j b_j with the rounding bounds b_j

    Rule: the smaller of two weights is positive for a gap of 80 and exactly zero for 104. The exact sums of
    500 rows stay within their bounds; some of them are not 1.
    """
    for gap, side, wanted in ((80.0, see.supports, "above"), (104.0, see.refutes, "equals")):
        side(f"scores {gap:g} and 0: smaller weight", torch.tensor([gap, 0.0]).softmax(0)[1].item(), **{wanted: 0.0})
    scores = torch.randn(500, 100) * 5
    off = np.array([abs(math.fsum(row) - 1) for row in scores.softmax(1).tolist()])
    allowed = softmax_bound(exact(scores), 1, SINGLE).sum(1)
    see.supports("500 rows: largest |sum − 1| as a share of its bound", float((off / allowed).max()), at_most=1.0)
    see.refutes("500 rows: how many do not sum to 1", int((off > 0).sum()), above=0)


@claim("E15", HOLDS, articles="S3")
def attention_weights_are_differentiable(see: Evidence) -> None:
    """The function that gives attention weights is differentiable.

    J = diag(p) − p·pᵀ, ‖J‖₂ ≤ ½, equal for p = (½, ½, 0, …); ‖softmax(x + h) − softmax(x) − J·h‖₁ ≤ (max h −
    min h)²/4

    Rule: autograd gives J within its rounding bound; for h that shrinks by 16 the remainder stays below this
    second order; no row of |J|, which is symmetric, sums to more than ½ beyond rounding; and where two scores
    share all the weight, J·(1, −1, 0, …) is exactly half of that vector.
    """
    x, cotangent = torch.randn(200, 10, requires_grad=True), torch.randn(200, 10)
    gradient = torch.autograd.grad(x.softmax(1), x, cotangent)[0]
    wanted, allowed = (
        softmax_gradient(exact(x), 1, exact(cotangent)),
        softmax_gradient_bound(exact(x), 1, exact(cotangent), SINGLE),
    )
    see.supports(
        "autograd and formula: difference as a share of its bound", share(gradient, wanted, allowed), at_most=1.0
    )

    point, way = torch.randn(2, 10, dtype=torch.float64)
    slope = softmax_gradient(exact(point), 0, exact(way))  # J is symmetric
    for part in (1, 1 / 16, 1 / 256):
        rest = exact((point + way * part).softmax(0)) - exact(point.softmax(0)) - slope * part
        # many orders of magnitude above rounding, which is left out
        most = float(np.ptp(exact(way * part))) ** 2 / 4
        see.supports(f"h = h₀ · {part:.2g}: remainder", float(np.abs(rest).sum()), at_most=most)

    p = (torch.randn(500, 6, dtype=torch.float64) * 4).softmax(1)
    jacobians = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    most = 0.5 * (1 + gamma(16, FORMATS["float64"].unit))
    see.supports("500 draws: largest row of |J|", jacobians.abs().sum(2).max().item(), at_most=most)
    halves = torch.tensor([0.0, 0.0, -2000.0, -2000.0], dtype=torch.float64, requires_grad=True)
    along = torch.autograd.grad(halves.softmax(0), halves, torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=torch.float64))[0]
    see.supports("p = (½, ½, 0, 0): J·(1, −1, 0, 0)", tuple(along.tolist()), equals=(0.5, -0.5, 0.0, 0.0))


@claim("E16", HOLDS, articles="S3", source="Vaswani et al. 2017, section 3.2.2")
def multi_head_attention_is_several_attentions_side_by_side(see: Evidence) -> None:
    """Multi-head attention applies several attention mechanisms in parallel.

    out = W_O·(o_1 ‖ … ‖ o_H) + b_O, o_h = attention(q_h, k_h, v_h); 4·d² + 4·d parameters and a depth that do
    not depend on H

    Rule: heads computed one by one, in float64, and put side by side agree with the module within its bound.
    Counted parameters and the longest chain of operators are the same for every number of heads.
    """
    width = 64
    x = torch.randn(1, 10, width)
    tokens = exact(x)
    modules = {heads: nn.MultiheadAttention(width, heads, batch_first=True).eval() for heads in (1, 2, 8, 64)}
    for heads, module in modules.items():
        w = weights_of_attention(module)
        together = multihead.evaluate(tokens, tokens, tokens, w, num_heads=heads)
        each = [
            attention.attend(*(part[:, [head]] for part in (together.inner.q, together.inner.k, together.inner.v)))
            for head in range(heads)
        ]
        alone = multihead.merge(np.concatenate(each, 1)) @ w.W_o.T + w.b_o
        out = module(x, x, x, need_weights=False)[0]
        see.supports(f"H = {heads}: module and single heads, difference as a share of its bound",
                     share(out, alone, multihead.bound(together, SINGLE)), at_most=1.0)  # fmt: skip
        count = sum(each.numel() for each in module.parameters())
        see.supports(f"H = {heads}, d = 64: parameters", count, equals=4 * width**2 + 4 * width)
    depths = {heads: sequential_depth(module, 4).unit for heads, module in modules.items()}
    for fewer, more in pairwise(depths):
        see.supports(f"longest chain, H = {more} and H = {fewer}", depths[more], equals=depths[fewer])


@claim("E17", HoldsIf("their symmetry is broken: heads that start alike stay alike"), articles="S3",
       source="Bhojanapalli et al. 2020; Michel et al. 2019")  # fmt: skip
def heads_capture_different_aspects(see: Evidence) -> None:
    """Several attention heads capture different aspects of meaning.

    The gradients of heads with equal weights are equal, so equal heads stay equal. Scores of one head have
    rank ≤ d_k, those of H different heads together rank ≤ H·d_k

    Rule: four heads of width 2 in d = 8 take 50 gradient steps. Alike at first, they do not differ in a
    single bit after, and the sum of all their scores has the rank of one head; drawn at random, they differ,
    and it has rank 8.
    """
    width, heads, length = 8, 4, 12
    narrow = width // heads
    x, target = torch.randn(2, length, width, dtype=torch.float64)

    def trained(start: list[Tensor]) -> list[Tensor]:
        weights = [each.clone().requires_grad_() for each in start]
        for _ in range(50):
            parts = []
            for each in weights:
                q, k, v = (x @ matrix for matrix in each[:3])
                parts.append((q @ k.T / narrow**0.5).softmax(-1) @ v @ each[3].T)
            loss = (torch.stack(parts).sum(0) - target).square().mean()
            gradients = torch.autograd.grad(loss, weights)
            weights = [
                (each - 0.1 * slope).detach().requires_grad_() for each, slope in zip(weights, gradients, strict=True)
            ]
        return weights

    drawn = [torch.randn(4, width, narrow, dtype=torch.float64) / width**0.5 for _ in range(heads)]
    for name, start, side in (("drawn at random", drawn, see.supports), ("alike", [drawn[0]] * heads, see.refutes)):
        after = trained(start)
        moved = (after[0] - start[0]).abs().max().item()
        side(f"heads {name}: largest step of a weight in 50", moved, above=0.0)
        apart = max((each - after[0]).abs().max().item() for each in after[1:])
        side(
            f"heads {name}: largest difference after 50 steps", apart, **{"equals" if name == "alike" else "above": 0.0}
        )
        scores = torch.stack([x @ each[0] @ (x @ each[1]).T for each in after]).sum(0)
        rank = int(torch.linalg.matrix_rank(scores))
        side(f"heads {name}: rank of the sum of their scores", rank, equals=narrow if name == "alike" else width)
