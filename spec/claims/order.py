"""Whether a model that is told no positions knows the order of its tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seqlaws.claim import Evidence, HoldsIf, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Bars
from seqlaws.reference import encoder, sinusoidal
from seqlaws.reference.rounding import Array, gamma

WIDTH, HEADS, LENGTH = 16, 2, 12
BEGIN = 0
"""The token that stands before every sequence, where there is one."""
FAR = 1e-3
"""Differences above this are no rounding: bounds of these layers lie near 10⁻¹²."""
SENTENCES = "The student is eating an apple", "An apple is eating the student"


@dataclass
class Weights:
    """The weights of torch's encoder layer, by the names of the reference."""

    W_q: Array
    W_k: Array
    W_v: Array
    W_o: Array
    b_q: Array
    b_k: Array
    b_v: Array
    b_o: Array
    W_1: Array
    b_1: Array
    W_2: Array
    b_2: Array
    g_1: Array
    s_1: Array
    g_2: Array
    s_2: Array

    @classmethod
    def of(cls, layer: nn.TransformerEncoderLayer) -> Weights:
        """Those of one layer."""
        attention = layer.self_attn
        projections = [each for of in (attention.in_proj_weight, attention.in_proj_bias) for each in of.chunk(3)]
        by_row = (*projections[:3], attention.out_proj.weight, *projections[3:], attention.out_proj.bias)
        parts = [
            part for each in (layer.linear1, layer.linear2, layer.norm1, layer.norm2) for part in each.parameters()
        ]
        return cls(*(each.detach().numpy() for each in (*by_row, *parts)))


def network(layers: int) -> nn.TransformerEncoder:
    """Some layers of an encoder in float64, without positions."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True, dtype=torch.float64
    )
    stack = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
    for each in stack.parameters():  # the layers are copies of one: draw each anew
        if each.dim() > 1:
            nn.init.xavier_uniform_(each)
    return stack


@torch.no_grad()
def run(stack: nn.TransformerEncoder, x: Tensor, causal: bool) -> Tensor:
    """The outputs for x [B, T, d]; causal as in a decoder."""
    hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if causal else None
    out: Tensor = stack(x, mask=hidden, is_causal=causal)
    return out


def rounding(stack: nn.TransformerEncoder, x: Tensor, causal: bool) -> Tensor:
    """How far a single layer may be off by rounding, [B, T, d]."""
    (layer,) = stack.layers
    seen = np.tri(x.shape[1], dtype=bool) if causal else None
    exact = encoder.evaluate(x.numpy(), Weights.of(layer), num_heads=HEADS, norm_first=True, mask=seen)
    return torch.from_numpy(encoder.bound(exact, FORMATS["float64"]))


def tokens(words: int = LENGTH) -> Tensor:
    """A sequence of embedded words, [1, T, d], all different."""
    return torch.randn(1, words, WIDTH, dtype=torch.float64)


def positions(length: int) -> Tensor:
    """The sinusoidal encoding of positions 0, 1, …, [T, d]."""
    return torch.from_numpy(sinusoidal.sinusoidal(np.arange(length, dtype=np.float64), WIDTH))


def pooled_gap(stack: nn.TransformerEncoder, one: Tensor, other: Tensor, causal: bool = False) -> float:
    """How far the means over all positions of two sequences are apart."""
    return float((run(stack, one, causal).mean(1) - run(stack, other, causal).mean(1)).abs().max())


def pooled_rounding(stack: nn.TransformerEncoder, x: Tensor) -> float:
    """How far the means of two orders of x may differ by rounding: twice that of layer and mean."""
    size, off = run(stack, x, False).abs(), rounding(stack, x, False)
    return float((2 * (off + gamma(x.shape[1], 2.0**-53) * (size + off)).mean(1)).max())


def readable_position(causal: bool, begun: bool) -> float:
    """How well log t is read from outputs of a random network without positions: R² on unseen sequences.

    The reader is linear in the outputs and in their products: an average over t tokens shows t in its
    variance. Sequences are of random words out of four, after BEGIN if ``begun``.
    """
    table, words = torch.randn(5, WIDTH, dtype=torch.float64), torch.randint(1, 5, (256, 32))
    if begun:
        words[:, 0] = BEGIN
    first = int(begun)
    out = run(network(2), table[words], causal)[:, first:]
    left, right = torch.triu_indices(WIDTH, WIDTH)
    features = torch.cat([torch.ones_like(out[..., :1]), out, out[..., left] * out[..., right]], -1)
    wanted = torch.arange(first + 1.0, 33.0, dtype=torch.float64).log().repeat(128)
    learned = torch.linalg.lstsq(features[:128].flatten(0, 1), wanted[:, None]).solution
    missed = wanted - (features[128:].flatten(0, 1) @ learned)[:, 0]
    return 1 - float(missed.square().sum() / (wanted - wanted.mean()).square().sum())


@claim(
    "G1",
    HoldsIf("no position is hidden from another; causal decoders of two layers, or with a first token, know the order"),
    articles="S3",
    source="Yun et al. 2020; Haviv et al. 2022; Kazemnejad et al. 2023",
)
def a_transformer_without_positions_is_blind_to_order(see: Evidence) -> None:
    """Processing in parallel removes the order: without positions a Transformer cannot tell orders apart.

    encoder: f(P·X) = P·f(X) for every permutation P;  causal, one layer: the last output depends on the
    last token and on the multiset before it;  causal, on a first token alone with uniform weights: 1/t

    Rule: tokens are permuted, and outputs compared within the sum of their rounding bounds. In a causal
    decoder of two layers the last output moves. Then log t is read from outputs of three random networks
    by least squares: R² on unseen sequences must stay below a tenth where positions are exchangeable,
    and exceed three tenths where they are not.
    """
    x, order = tokens(), torch.randperm(LENGTH)
    stack = network(1)
    off = (run(stack, x[:, order], False) - run(stack, x, False)[:, order]).abs()
    share = off / (rounding(stack, x[:, order], False) + rounding(stack, x, False)[:, order])
    see.supports("encoder, permuted: difference ÷ bounds", float(share.max()), at_most=1.0)
    prefix = torch.cat([torch.randperm(LENGTH - 1), torch.tensor([LENGTH - 1])])
    off = (run(stack, x[:, prefix], True) - run(stack, x, True))[:, -1].abs()
    share = off / (rounding(stack, x[:, prefix], True) + rounding(stack, x, True))[:, -1]
    see.supports("causal, one layer, prefix permuted: last output ÷ bounds", float(share.max()), at_most=1.0)
    deep = network(2)
    moved = float((run(deep, x[:, prefix], True) - run(deep, x, True))[:, -1].abs().max())
    see.refutes("causal, two layers, prefix permuted: last output moves by", moved, above=FAR)
    read = {
        name: [readable_position(causal, begun) for _ in range(3)]
        for name, causal, begun in (("encoder", False, False), ("causal", True, False), ("causal, begun", True, True))
    }
    see.supports("encoder: largest R² of log t", max(read["encoder"]), below=0.1)
    see.refutes("causal: least R² of log t", min(read["causal"]), above=0.3)
    see.refutes("causal, after a first token: least R² of log t", min(read["causal, begun"]), above=0.3)
    far = 64
    first = torch.eye(far, dtype=torch.float64)[:1].mT[None]  # [1, T, 1]: one at the first token, else zero
    zero = torch.zeros_like(first)
    seen = nn.functional.scaled_dot_product_attention(zero, zero, first, is_causal=True)[0, :, 0]
    place = 1 / torch.arange(1, far + 1, dtype=torch.float64)
    off = ((seen - place).abs() / place).max()
    see.refutes("causal, a first token, uniform weights: error of 1/t", float(off), at_most=gamma(far + 8, 2.0**-53))
    title = "How well log t is read from three networks each without positions"
    networks = {f"network {i + 1}": [round(each[i], 2) for each in read.values()] for i in range(3)}
    see.picture(Bars(title, "R² on unseen sequences", list(read), networks))


@claim("G2", HoldsIf("updates do not commute; a sum of tokens has no order"), articles="S3")
def recurrence_retains_order(see: Evidence) -> None:
    """Recurrent networks retain the order of words by themselves.

    h_T = Σ_t W^(T−t)·U·x_t in a linear recurrence: for W = I it is U·Σ_t x_t, whatever the order

    Rule: the last state after a sequence and after its reverse. Random networks give different states; a
    linear recurrence with W = I gives the same bits on integers, and with another W it does not.
    """
    x = torch.randn(1, LENGTH, WIDTH, dtype=torch.float64)
    for kind in (nn.RNN, nn.GRU, nn.LSTM):
        net = kind(WIDTH, WIDTH, batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            gap = float((net(x)[0][:, -1] - net(x.flip(1))[0][:, -1]).abs().max())
        see.supports(f"{kind.__name__}, reversed: last state moves by", gap, above=FAR)
    whole = torch.randint(-3, 4, (LENGTH, 3), dtype=torch.float64)
    for name, matrix in (("I", torch.eye(3)), ("a cycle", torch.eye(3).roll(1, 0))):
        same = torch.equal(_last(matrix.double(), whole), _last(matrix.double(), whole.flip(0)))
        if name == "I":
            see.refutes("linear, W = I, reversed: the same last state", same, equals=True)
        else:
            see.supports(f"linear, W = {name}, reversed: the same last state", same, equals=False)


def _last(matrix: Tensor, x: Tensor) -> Tensor:
    """The last state of h_t = W·h_(t−1) + x_t."""
    h = torch.zeros_like(x[0])
    for token in x:
        h = matrix @ h + token
    return h


@claim(
    "G3", HoldsIf("the model is an encoder; causal decoders need none"), articles="S3", source="Kazemnejad et al. 2023"
)
def positions_are_needed_to_tell_orders_apart(see: Evidence) -> None:
    """Positional encoding is what lets a model tell apart sequences of the same words in another order.

    encoder: mean_t f(P·X)_t = mean_t f(X)_t, and with positions mean_t f(P·X + E)_t ≠ mean_t f(X + E)_t

    Rule: outputs averaged over all positions, for a sequence and a permutation of it: without positions
    within the sum of their rounding bounds, with sinusoidal ones far apart. In a causal decoder of two
    layers they are far apart without positions.
    """
    x, order, stack = tokens(), torch.randperm(LENGTH), network(1)
    blind = pooled_gap(stack, x, x[:, order])
    see.supports("encoder, no positions: means apart by", blind, at_most=pooled_rounding(stack, x))
    told = pooled_gap(stack, x + positions(LENGTH), x[:, order] + positions(LENGTH))
    see.supports("encoder, sinusoidal positions: means apart by", told, above=FAR)
    decoder = pooled_gap(network(2), x, x[:, order], causal=True)
    see.refutes("causal, two layers, no positions: means apart by", decoder, above=FAR)


@claim("G11", HoldsIf("case is folded; as printed, The/the and An/an already differ"), articles="S3")
def positions_tell_the_student_from_the_apple(see: Evidence) -> None:
    """Positional encoding tells "The student is eating an apple" from "An apple is eating the student".

    multiset(one) = multiset(other) in lower case only;  an encoder sees the multiset alone

    Rule: the words are counted as printed and in lower case. Then both sentences go through an encoder
    without positions, and the means of its outputs are compared.
    """
    printed = [sentence.split() for sentence in SENTENCES]
    folded = [sentence.lower().split() for sentence in SENTENCES]
    vocabulary = sorted({word for sentence in printed + folded for word in sentence})
    table, stack = torch.randn(len(vocabulary), WIDTH, dtype=torch.float64), network(1)
    see.supports("lower case: the same words", Counter(folded[0]) == Counter(folded[1]), equals=True)
    see.refutes("as printed: the same words", Counter(printed[0]) == Counter(printed[1]), equals=False)
    one, other = (table[[vocabulary.index(word) for word in sentence]][None] for sentence in folded)
    gap, told = pooled_gap(stack, one, other), positions(one.shape[1])
    see.supports("lower case, no positions: means apart by", gap, at_most=pooled_rounding(stack, one))
    see.supports("lower case, positions: means apart by", pooled_gap(stack, one + told, other + told), above=FAR)
    one, other = (table[[vocabulary.index(word) for word in sentence]][None] for sentence in printed)
    see.refutes("as printed, no positions: means apart by", pooled_gap(stack, one, other), above=FAR)
