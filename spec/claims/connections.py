"""Which words reach which, in how many operations."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.instruments import Heat, path_length, sequential_depth, transparent
from seqlaws.instruments.layers import Recurrent, RestrictedAttention, SelfAttention
from seqlaws.instruments.modes import Seeing
from seqlaws.reference import attention, encoder
from seqlaws.spec.claims.rounding import SINGLE, exact, share, weights_of_encoder

WORDS, WIDTH = 16, 8


class Encoder(nn.Module):
    """Two encoder blocks, in float64; causal, each word sees only itself and those before it."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, batch_first=True, dtype=torch.float64)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False).eval()
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """The representations."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype) if self.causal else None
        result: Tensor = self.blocks(x, mask=mask)
        return result


def influence(model: nn.Module, words: int = WORDS) -> Tensor:
    """The largest entry of ∂y_t/∂x_s, for every t and s."""
    x = torch.randn(1, words, WIDTH, dtype=torch.float64)
    jacobian: Tensor = torch.autograd.functional.jacobian(model, x)  # type: ignore[no-untyped-call]
    return jacobian[0, :, :, 0].abs().amax((1, 3))


@cache
def influences() -> tuple[Tensor, Tensor]:
    """Of an encoder, and of one with a causal mask."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return influence(Encoder()), influence(Encoder(causal=True))


def operations(queries: int, keys: int) -> int:
    """Multiplications and additions of one attention, projections left out."""
    q, k = torch.randn(1, queries, WIDTH), torch.randn(1, keys, WIDTH)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        F.scaled_dot_product_attention(q, k, k)
    return int(counter.get_total_flops())


class Operators(Seeing):  # type: ignore[no-untyped-call]
    """Counts what runs: matrix products, and softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Count one operator, and run it."""
        name = func.overloadpacket.__name__
        self.counts["product"] += name in ("mm", "addmm", "bmm", "baddbmm")
        self.counts["softmax"] += name.endswith("softmax")
        return func(*args, **kwargs)


def operators(run: Any, *args: Any, **kwargs: Any) -> Counter[str]:
    """How many of them a call takes, where nothing is fused."""
    with torch.no_grad(), transparent(), Operators() as seen:
        run(*args, **kwargs)
    return seen.counts


@claim(
    "E1", HoldsIf("the path is counted; the work for one output grows with the length"), articles="S1 S2",
    source="Vaswani et al. 2017, Table 1", picture="B8",
)  # fmt: skip
def any_two_positions_connect_in_constantly_many_operations(see: Evidence) -> None:
    """Attention connects any two positions in a number of operations that does not depend on their distance.

    path: O(1) operators. Work for one output: 4·T·d multiplications and additions; for all: 4·T²·d

    Rule: the longest path through one layer of attention is the same for n = 2 and n = 64, and FlopCounter
    finds 4·T·d and 4·T²·d operations in the formula itself, without projections.
    """
    growth = path_length(SelfAttention(WIDTH), 64, certify=False).growth
    assert growth is not None
    see.supports("operators on the longest path, n = 64 and n = 2", growth.values[-1], equals=growth.values[0])
    for length in (64, 512):
        see.refutes(f"T = {length}, d = 8: operations for one output", operations(1, length), equals=4 * length * 8)
        see.refutes(
            f"T = {length}, d = 8: operations for all outputs", operations(length, length), equals=4 * length**2 * 8
        )


@claim("E2", HoldsIf("no mask or window forbids it"), articles="S0 S1 S3", source="Vaswani et al. 2017")
def any_token_can_look_at_any_other(see: Evidence) -> None:
    """With attention, every token can look at every other token, however far away.

    ∂y_t/∂x_s ≠ 0 for all t, s in an encoder; = 0 for s > t under a causal mask; = 0 for t − s > L·(w − 1) in
    L layers of window w

    Rule: no block of an encoder's Jacobian is zero. Under a causal mask all blocks above the diagonal are
    exactly zero, and in windows the farthest block that is not zero stands L·(w − 1) from it.
    """
    full, causal = influences()
    see.supports("encoder, T = 16: smallest block of the Jacobian", full.min().item(), above=0.0)
    see.refutes("causal mask, T = 16: largest block above the diagonal", causal.triu(1).max().item(), equals=0.0)
    layers, window = 3, 4
    windows = nn.Sequential(*(RestrictedAttention(WIDTH, window) for _ in range(layers))).double()
    t, s = influence(windows).nonzero().unbind(1)
    see.refutes(
        "3 layers of window 4, T = 16: farthest word that matters", int((t - s).max()), equals=layers * (window - 1)
    )
    names = [str(place) for place in range(WORDS)]
    for title, blocks in (("an encoder", full), ("an encoder with a causal mask", causal)):
        # where a block is exactly zero, the logarithm is not finite, and the place stays grey
        digits = (blocks * 1e4).log10().tolist()
        see.picture(
            Heat(f"log₁₀(10⁴·max |∂y_t/∂x_s|) in {title}; grey: 0", "input s", "output t", names, names, digits)
        )


@claim("E3", HoldsIf("the scores alone are meant"), articles="S2", source="Vaswani et al. 2017, equation 1")
def one_matrix_product_computes_all_interactions(see: Evidence) -> None:
    """A single matrix product of shape T × T computes the interactions of all positions.

    scores Q·Kᵀ: one product. Attention softmax(Q·Kᵀ/√d)·V: two, and a softmax. Multi-head attention: two
    more, with the three input projections in one

    Rule: the dispatcher counts products and softmax operators, with all fused kernels taken apart.
    """
    x = torch.randn(1, 32, WIDTH)
    scores = operators(torch.bmm, x, x.mT)
    see.supports("scores: matrix products", scores["product"], equals=1)
    formula = operators(F.scaled_dot_product_attention, x, x, x)
    see.refutes("attention: matrix products", formula["product"], equals=2)
    see.refutes("attention: softmax operators", formula["softmax"], equals=1)
    module = nn.MultiheadAttention(WIDTH, 2, batch_first=True).eval()
    whole = operators(module, x, x, x, need_weights=False)
    see.refutes("nn.MultiheadAttention: matrix products", whole["product"], equals=4)


@claim("E10", HOLDS, articles="S3", source="Vaswani et al. 2017")
def every_word_is_compared_with_all_the_others(see: Evidence) -> None:
    """Self-attention gives scores to words by comparing each with all others in the sequence.

    s_ij = ⟨q_i, k_j⟩/√d for all T² pairs, each word with itself included; s_ij depends on x_i and x_j alone

    Rule: a module returns T² weights per head, all positive; and the gradient of every score is zero but for
    the words i and j.
    """
    length, heads = 12, 2
    module = nn.MultiheadAttention(WIDTH, heads, batch_first=True)
    x = torch.randn(1, length, WIDTH)
    weights = module(x, x, x, average_attn_weights=False)[1]
    see.supports("12 words: weights of one head", weights[0, 0].numel(), equals=length**2)
    see.supports("12 words: smallest weight", weights.min().item(), above=0.0)

    layer = SelfAttention(WIDTH)
    jacobian = torch.autograd.functional.jacobian(_scores_of(layer), x[0])  # type: ignore[no-untyped-call]
    matters = jacobian.abs().amax(-1) > 0
    i, j, word = matters.nonzero().unbind(1)
    see.supports("scores that no other word moves", bool(((word == i) | (word == j)).all()), equals=True)
    see.supports("words that move a score, summed over all scores", int(matters.sum()), equals=2 * length**2 - length)


def _scores_of(layer: SelfAttention) -> Any:
    def scores(x: Tensor) -> Tensor:
        return layer.q(x) @ layer.k(x).mT / x.shape[-1] ** 0.5

    return scores


@claim("E19", HOLDS, articles="S3", source="Vaswani et al. 2017")
def relations_are_modelled_at_once_and_not_through_hidden_states(see: Evidence) -> None:
    """Self-attention models the relations of all words at the same time, without help of earlier hidden
    states.

    y_i = f(x_i; x_1 … x_T) for each i by itself: the depth of L layers is O(1), that of a recurrence O(n)

    Rule: the longest chain of operators is the same at T = 2 and T = 64; one query alone gives the row that
    it has among all queries, within the sum of both rounding bounds. For comparison, the chain of a
    recurrence grows.
    """
    depth = sequential_depth(Encoder(), width=WIDTH).unit_growth
    see.supports("two encoder blocks: longest chain, T = 64 and T = 2", depth.values[-1], equals=depth.values[0])
    recurrence = sequential_depth(Recurrent(WIDTH)).unit_growth
    see.supports("recurrence, for comparison: growth of the chain", recurrence.order, equals="O(n)")
    q, k, v = torch.randn(3, 1, 1, 64, WIDTH)
    together = F.scaled_dot_product_attention(q, k, v)
    alone = torch.cat([F.scaled_dot_product_attention(q[:, :, [i]], k, v) for i in range(64)], 2)
    bound = attention.bound(attention.evaluate(exact(q), exact(k), exact(v)), SINGLE)
    see.supports("64 queries alone and together: difference as a share of its bound",
                 share(alone, exact(together), 2 * bound), at_most=1.0)  # fmt: skip


@claim("H7", HoldsIf("nothing is masked, and no weight underflows"), articles="S3", picture="E2")
def every_representation_is_influenced_by_the_whole_sequence(see: Evidence) -> None:
    """In the encoder, the representation of each token is influenced by the entire sequence.

    ∂y_t/∂x_s ≠ 0 for all t, s; but in float32 a score that lies 104 below the largest has the weight
    exp(−104) = 0

    Rule: no block of an encoder's Jacobian is zero; above the diagonal of a causal one all are. One query
    with scores 104 and 0: the gradient of its output with respect to the second value is exactly zero.
    """
    full, causal = influences()
    see.supports("encoder, T = 16: smallest block of the Jacobian", full.min().item(), above=0.0)
    see.refutes("causal mask, T = 16: largest block above the diagonal", causal.triu(1).max().item(), equals=0.0)
    for gap in (80.0, 104.0):
        q, k = torch.tensor([[[gap]]]), torch.tensor([[[1.0], [0.0]]])
        v = torch.tensor([[[1.0], [1.0]]], requires_grad=True)
        reached = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v).sum(), v)[0][0, 1].item()
        if gap < 104:
            see.supports("scores 80 and 0, float32: gradient of the second value", reached, above=0.0)
        else:
            see.refutes("scores 104 and 0, float32: gradient of the second value", reached, equals=0.0)


@claim("H8", HoldsIf("no positions are added, and nothing is masked"), articles="S3", source="Lee et al. 2019")
def dependencies_are_seen_regardless_of_position(see: Evidence) -> None:
    """The encoder grasps dependencies between words wherever they stand.

    f(P·x) = P·f(x) for every permutation P without positions; f(P·x + c) ≠ P·f(x + c) with positions c

    Rule: an encoder block runs on 12 words, and on the same in another order; the outputs of each word differ
    by no more than both rounding bounds. With sinusoidal positions, or a causal mask, they differ by more.
    """
    block = nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, batch_first=True).eval()
    x, order = torch.randn(1, 12, WIDTH), torch.randperm(12)
    angles = torch.arange(12.0)[:, None] / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
    positions = torch.cat([angles.sin(), angles.cos()], 1)
    causal = nn.Transformer.generate_square_subsequent_mask(12)
    weights, nothing = weights_of_encoder(block), torch.zeros(12, 12)

    def apart(added: Tensor, mask: Tensor) -> float:
        one, other = x + added, x[:, order] + added
        own, moved = (
            encoder.evaluate(exact(each), weights, num_heads=2, norm_first=False, mask=exact(mask))
            for each in (one, other)
        )
        allowed = encoder.bound(moved, SINGLE) + encoder.bound(own, SINGLE)[:, order.numpy()]
        return share(block(other, src_mask=mask), exact(block(one, src_mask=mask)[:, order]), allowed)

    with torch.no_grad():
        plain = torch.zeros(12, WIDTH)
        see.supports("no positions: difference as a share of its bound", apart(plain, nothing), at_most=1.0)
        see.refutes("sinusoidal positions: difference as a share of its bound", apart(positions, nothing), above=1.0)
        see.refutes("causal mask: difference as a share of its bound", apart(plain, causal), above=1.0)
