"""How many operations the layers take, counted, and where one becomes cheaper than another."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Heat, path_length, sequential_depth, transparent, work
from seqlaws.instruments.polynomial import Polynomial

WIDTHS = (64, 512, 4096, 12_288)


class Attention(nn.Module):
    """softmax(X·Xᵀ/√d)·X: attention without the four projections."""

    def forward(self, x: Tensor) -> Tensor:
        """The attended values."""
        return (x @ x.mT / x.shape[-1] ** 0.5).softmax(-1) @ x


def encoder_layer(width: int) -> nn.Module:
    """A layer of an encoder, its feed-forward part four times as wide."""
    return nn.TransformerEncoderLayer(width, 2, 4 * width, dropout=0.0, batch_first=True)


def rnn(width: int) -> nn.Module:
    """A recurrent layer."""
    return nn.RNN(width, width, batch_first=True)


def lstm(width: int) -> nn.Module:
    """An LSTM layer."""
    return nn.LSTM(width, width, batch_first=True)


def attention(width: int) -> nn.Module:
    """Attention alone, of any width."""
    return Attention()


LAYERS = {"attention": attention, "encoder layer": encoder_layer, "RNN": rnn, "LSTM": lstm}


@cache
def operations(layer: str) -> Polynomial:
    """Multiplications and additions in products, as a polynomial in T and D."""
    found = work(LAYERS[layer]).contractions
    assert found is not None
    return found


def counted(layer: str, length: int, width: int) -> int:
    """The same for one sequence, as torch's own counter sees it at full size; nothing is computed."""
    with torch.device("meta"):
        module, x = LAYERS[layer](width), torch.empty(1, length, width)
    with torch.no_grad(), transparent(), FlopCounterMode(display=False) as counter:
        module(x)
    return int(counter.get_total_flops())


def quadratic_share(length: int, width: int) -> Fraction:
    """The part of an encoder layer's operations that grows with T²."""
    every = operations("encoder layer")
    return every.coefficients[2, 1] * length**2 * width / every(length, width)


@claim("F6", HOLDS, articles="S2", source="Vaswani et al. 2017, Table 1")
def attention_costs_quadratic_work(see: Evidence) -> None:
    """To compute attention takes on the order of T²·d operations.

    operations = 4·T²·d: two for each pair of factors in Q·Kᵀ, and in P·V

    Rule: the count is a polynomial in T and d, found at small sizes, and it is what torch's own counter
    sees at T = 128, d = 64.
    """
    see.supports("attention: operations in T and D", str(operations("attention")), equals="4·D·T²")
    found = int(operations("attention")(128, 64))
    see.supports("T = 128, d = 64: operations", counted("attention", 128, 64), equals=found)


@claim("F7", HOLDS, articles="S2", source="Vaswani et al. 2017, Table 1")
def recurrence_costs_linear_work(see: Evidence) -> None:
    """A step of a recurrent network takes on the order of d² operations, so that T steps are linear in T.

    operations = 4·T·d² for an RNN, 16·T·d² for an LSTM

    Rule: the counts are polynomials in T and d, found at small sizes, and the last is what torch's own
    counter sees at T = 128, d = 64.
    """
    for layer, factor in (("RNN", 4), ("LSTM", 16)):
        see.supports(f"{layer}: operations in T and D", str(operations(layer)), equals=f"{factor}·D²·T")
    see.supports("LSTM, T = 128, d = 64: operations", counted("LSTM", 128, 64), equals=int(operations("LSTM")(128, 64)))


@claim("F8", HoldsIf("the sequence is longer than six times the width"), articles="S2")
def transformers_are_quadratic(see: Evidence) -> None:
    """The work of a Transformer is quadratic in the length of the sequence.

    24·T·d² + 4·T²·d in a layer: the quadratic part exceeds one half if and only if T > 6·d

    Rule: the share of the T² term in the counted operations, as an exact fraction, on both sides of 6·d.
    At T = 6·d twice the length takes three times the work: between two (linear) and four (quadratic).
    """
    every = operations("encoder layer")
    for d in WIDTHS:
        see.supports(f"d = {d:,}, T = {6 * d + 1:,}: share of T²", quadratic_share(6 * d + 1, d), above=Fraction(1, 2))
        see.refutes(f"d = {d:,}, T = {6 * d - 1:,}: share of T²", quadratic_share(6 * d - 1, d), below=Fraction(1, 2))
    see.refutes("d = 512, T from 3,072 to 6,144: factor of work", every(6144, 512) / every(3072, 512), equals=3)
    lengths = [4**i for i in range(4, 9)]
    see.picture(
        Heat(
            "Share of an encoder layer's operations that is quadratic in T",
            "sequence length T",
            "width d",
            [f"{length:,}" for length in lengths],
            [f"{d:,}" for d in WIDTHS],
            [[round(float(quadratic_share(length, d)), 3) for length in lengths] for d in WIDTHS],
        )
    )


@claim(
    "F9",
    HoldsIf("what counts is the chain of steps that must wait for each other; in operations it never does"),
    articles="S2",
    source="Vaswani et al. 2017, Table 1",
)
def transformers_win_below_2048_tokens(see: Evidence) -> None:
    """On sequences shorter than 2,048 tokens the Transformer wins by far.

    chain: c against O(T);  operations: (24·d + 4·T)/(16·d) > 3/2 for every T and d;  attention alone is
    cheaper than a recurrent layer if and only if T < d

    Rule: the longest chain of operators, where "by far" is read as ten times; the least ratio of the
    counted operations to those of an LSTM over lengths below 2,048; and attention on both sides of T = d.
    """
    one, other = (sequential_depth(LAYERS[each](8)).unit for each in ("encoder layer", "LSTM"))
    see.supports("T = 64: chain in an LSTM, and ten times that in an encoder layer", other, above=10 * one)
    ratios = [operations("encoder layer")(t, d) / operations("LSTM")(t, d) for t in range(1, 2048) for d in WIDTHS]
    see.refutes("T < 2,048: least operations, in those of an LSTM", min(ratios), above=Fraction(3, 2))
    for t in (511, 513, 2047):
        ratio = operations("attention")(t, 512) / operations("RNN")(t, 512)
        if t < 512:
            see.supports(f"d = 512, T = {t:,}: attention alone, in those of an RNN", ratio, below=1)
        else:
            see.refutes(f"d = 512, T = {t:,}: attention alone, in those of an RNN", ratio, above=1)


@claim("F10", Refuted("a layer of width 4,096 takes 3.5 times the work of an LSTM"), articles="S2", picture="F8")
def quadratic_cost_is_prohibitive_beyond_32768_tokens(see: Evidence) -> None:
    """Beyond 32,768 tokens the quadratic cost of attention is prohibitive.

    (24·d + 4·T)/(16·d) = 3/2 + T/(4·d) in operations of an LSTM of the same width;  share of T²: T/(6·d + T)

    Rule: the counted operations of an encoder layer, in those of an LSTM of the same width. "Prohibitive"
    is read as ten times as many. At d = 4,096 torch's own counter sees the same number at full size.
    """
    t = 32_768
    for d in WIDTHS:
        ratio = operations("encoder layer")(t, d) / operations("LSTM")(t, d)
        if d < 1000:
            see.supports(f"d = {d:,}: operations, in those of an LSTM", ratio, above=10)
        else:
            see.refutes(f"d = {d:,}: operations, in those of an LSTM", ratio, below=10)
    see.refutes("d = 4,096: share of the quadratic part", quadratic_share(t, 4096), equals=Fraction(4, 7))
    found = int(operations("encoder layer")(t, 4096))
    see.refutes("d = 4,096: operations", counted("encoder layer", t, 4096), equals=found)


@claim("F22", HoldsIf("what counts is the chain of steps; the work grows with the square"), articles="S3")
def transformers_suit_long_sequences(see: Evidence) -> None:
    """Transformers scale well and are suited to long sequences in particular.

    longest chain O(1) and path O(1) for any T;  operations 4·T²·d + 24·T·d², those of an LSTM 16·T·d²

    Rule: the growth of the longest chain and of the longest path in a layer, from exact counts; against
    them the degree in T of the counted operations, and how many times those of an LSTM they are at
    T = 100,000, d = 512, where ten times is read as ill suited.
    """
    layer = encoder_layer(8)
    paths = path_length(layer, certify=False).growth
    see.supports("encoder layer: longest chain", sequential_depth(layer).unit_growth.order, equals="O(1)")
    see.supports("encoder layer: longest path", paths.order if paths else "", equals="O(1)")
    see.supports("LSTM: longest chain", sequential_depth(lstm(8)).unit_growth.order, equals="O(n)")
    see.refutes("encoder layer: operations", operations("encoder layer").order, equals="O(T²)")
    ratio = operations("encoder layer")(100_000, 512) / operations("LSTM")(100_000, 512)
    see.refutes("T = 100,000, d = 512: operations, in those of an LSTM", ratio, above=10)
