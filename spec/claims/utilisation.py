"""Whether many units help: what leaves them idle, what they make faster, and what costs fewer operations."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch.utils.flop_counter import FlopCounterMode

from seqlaws.claim import Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Figure, Heat, Series, transparent
from seqlaws.spec.claims.connections import operators
from seqlaws.spec.claims.machine import load, operations, step
from seqlaws.spec.claims.operations import LAYERS

UNITS = 10_000
"""The articles' own number of parallel units."""
MANY = 10**8
LENGTHS = [2**power for power in range(1, 13)]


def trained(layer: str, length: int, width: int) -> int:
    """Operations in products, for one sequence forward and back."""
    with torch.device("meta"):
        module, x = LAYERS[layer](width), torch.empty(1, length, width, requires_grad=True)
    with transparent(), FlopCounterMode(display=False) as flops:
        out = module(x)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
    return int(flops.get_total_flops())


@claim(
    "A7",
    HoldsIf("a step is small for the machine: B·16d² operations are far below P·(7 + log₂ d)"),
    articles="S0 S2 S3",
    source="Brent 1974",
)
def the_gpu_is_idle_during_a_recurrent_network(see: Evidence) -> None:
    """While a recurrent network runs, a GPU is idle for the largest part.

    W/(W + P·S) ≤ share of P units that work ≤ W/(P·S), for a step of W operations, S of them in a row:
    an LSTM has W = B·(16d² + 13d) and S = 7 + log₂ d

    Rule: W and S are counted on torch.nn.LSTM. The claim is true where the upper bound is below 1/10, and
    false where the lower bound is above 9/10, for P = 10,000 units that wait for nothing but operands. That
    hardware reads every weight for a single product where B = 1 is another cause, which is not counted here.
    """
    for width, batch in ((16, 1), (16, 2)):
        share = step(width, batch).busy(UNITS)[1]
        see.supports(f"d = {width}, B = {batch}: share of units that work, at most", float(share), below=0.1)
    for width, batch in ((512, 1), (16, 1024)):
        share = step(width, batch).busy(UNITS)[0]
        see.refutes(f"d = {width}, B = {batch}: share of units that work, at least", float(share), above=0.9)
    batches = [2**power for power in range(0, 11, 2)]
    see.picture(
        Figure(
            f"An LSTM keeps {UNITS:,} units busy if it is wide, or the batch is large",
            "batch size B",
            "share of units that work, at least",
            tuple(
                Series(f"d = {width}", batches, [float(step(width, batch).busy(UNITS)[0]) for batch in batches])
                for width in (512, 64, 16)
            ),
            x_log=True,
        )
    )


@claim("A8", HoldsIf("an operation is a launch; its products take turns on the units"), articles="S2")
def a_matrix_product_is_one_operation_of_the_gpu(see: Evidence) -> None:
    """The product of two 512 × 512 matrices is a single operation for a GPU, with thousands of multiplications at once.

    512³ = 134,217,728 multiplications, one kernel, ⌈512³/P⌉ rounds of P units

    Rule: the dispatcher runs one product, and torch's counter sees 512³ multiplications with their additions.
    It is one operation as a launch; 10,000 units need more than one round for it.
    """
    x = torch.zeros(512, 512)
    with FlopCounterMode(display=False) as flops:
        see.supports("products that run", operators(torch.matmul, x, x)["product"], equals=1)
    multiplications = int(flops.get_total_flops()) // 2
    see.supports("multiplications in it", multiplications, equals=512**3)
    see.refutes(f"rounds of {UNITS:,} units", -(-multiplications // UNITS), above=1)


@claim("A10", Refuted("512 tokens are 597 times the work of one"), articles="S2", source="Brent 1974")
def a_long_sequence_takes_as_long_as_one_token(see: Evidence) -> None:
    """With 10,000 parallel units, a sequence of 512 tokens takes nearly as long as a single token.

    time(512)/time(1) ≥ (W(512)/P) / (W(1)/P + S(1)), with W(T) = 24·T·d² + 4·T²·d in products of a layer

    Rule: work W and span S of an encoder layer are counted. By Brent's theorem the quotient is a lower bound
    of the ratio of times; "nearly as long" is false if it is above 2. With 10⁸ units, which one token does
    not fill, the upper bound of the ratio is below 2.
    """
    products, _ = operations("encoder layer")
    see.refutes("d = 512: work of 512 tokens, in tokens", float(products(512, 512) / products(1, 512)), at_least=512)
    for width in (64, 512):
        one, long = load("encoder layer", 1, width), load("encoder layer", 512, width)
        ratio = long.at_least(UNITS) / one.at_most(UNITS)
        see.refutes(f"d = {width}, {UNITS:,} units: ratio of times, at least", float(ratio), above=2)
    one, long = load("encoder layer", 2, 64), load("encoder layer", 512, 64)
    ratio = long.at_most(MANY) / one.at_least(MANY)
    see.supports("d = 64, 100,000,000 units: ratio to the time of two tokens, at most", float(ratio), below=2)
    see.picture(
        Figure(
            "Time is flat until T tokens fill P units (d = 512)",
            "tokens T",
            "cycles, at most",
            tuple(
                Series(
                    f"P = 10{power}",
                    LENGTHS,
                    [float(load("encoder layer", n, 512).at_most(units)) for n in LENGTHS],
                )
                for units, power in ((UNITS, "⁴"), (10**6, "⁶"), (MANY, "⁸"))
            ),
            x_log=True,
            y_log=True,
        )
    )


@claim(
    "A11",
    HoldsIf("there are more units than the work can fill; otherwise the layer with less work is faster"),
    articles="S0 S1 S3",
    source="Brent 1974",
)
def sequential_processing_makes_training_slow(see: Evidence) -> None:
    """Because a recurrent network is sequential, its training is extremely slow, and too slow for large data sets.

    max(W/P, S) ≤ time ≤ W/P + S, with S of order T for an LSTM, and of order log T for attention; B sequences
    take B·W operations, and the same S

    Rule: work W and span S of a layer of each kind are counted at T = 512. Slow is an LSTM that takes ten times as
    long as an encoder layer of its width, at least. It is not slow where it takes less time, at most: with
    10,000 units, and with more for a larger batch. Both passes of training have such a chain and such work (A1, A12).
    """
    lstm, encoder = load("LSTM", 512, 64), load("encoder layer", 512, 64)
    slower = lstm.at_least(MANY) / encoder.at_most(MANY)
    see.supports("d = 64, B = 1, 10⁸ units: time in encoder layers, at least", float(slower), above=10)
    for width, batch, units in ((512, 1, UNITS), (64, 1024, 10**6)):
        lstm, encoder = load("LSTM", 512, width, batch), load("encoder layer", 512, width, batch)
        faster = lstm.at_most(units) / encoder.at_least(units)
        see.refutes(
            f"d = {width}, B = {batch:,}, {units:,} units: time in encoder layers, at most", float(faster), below=1
        )
    lengths = LENGTHS[1:]
    see.picture(
        Figure(
            "Work and span of a layer, d = 64, T = 4 … 4096",
            "span: operations in a row",
            "work: operations",
            tuple(
                Series(
                    layer,
                    [load(layer, n, 64).span for n in lengths],
                    [float(load(layer, n, 64).work) for n in lengths],
                )
                for layer in ("encoder layer", "LSTM")
            ),
            x_log=True,
            y_log=True,
        )
    )


@claim(
    "A12",
    HoldsIf("time is that of the longest chain; in operations a Transformer is never the more efficient"),
    articles="S0 S3",
    source="Vaswani et al. 2017, Table 1",
)
def transformers_train_dramatically_faster(see: Evidence) -> None:
    """A Transformer trains far faster and more efficiently than a recurrent network.

    span: O(log T) against O(T). Operations in products for each token: (24d² + 4T·d)/(16d²) = 3/2 + T/(4d)
    of those of an LSTM of the same width, which is above 1 for all T and d

    Rule: the spans at T = 512 differ by a factor of ten at least. The ratio of operations is the formula exactly
    forward, from polynomials counted at small sizes; forward and back it is at least that, by torch's counter.
    """
    for width in (64, 512):
        spans = Fraction(load("LSTM", 512, width).span, load("encoder layer", 512, width).span)
        see.supports(f"d = {width}, T = 512: span of an LSTM, in encoder layers", float(spans), above=10)
    products = {layer: operations(layer)[0] for layer in ("encoder layer", "LSTM")}

    def ratio(length: int, width: int) -> Fraction:
        return products["encoder layer"](length, width) / products["LSTM"](length, width)

    for length, width in ((1, 512), (2048, 512), (100_000, 64)):
        formula = Fraction(3, 2) + Fraction(length, 4 * width)
        see.refutes(f"T = {length:,}, d = {width}: operations, in LSTMs", ratio(length, width), equals=formula)
    for length, width in ((2, 512), (64, 16)):
        forward_and_back = Fraction(trained("encoder layer", length, width), trained("LSTM", length, width))
        formula = Fraction(3, 2) + Fraction(length, 4 * width)
        see.refutes(
            f"T = {length}, d = {width}, forward and back: operations, in LSTMs", forward_and_back, at_least=formula
        )
    lengths, widths = [64, 256, 1024, 4096, 16_384, 65_536], [4096, 2048, 1024, 512, 256, 128]
    see.picture(
        Heat(
            "Operations of an encoder layer, in LSTM layers of its width",
            "T",
            "d",
            [str(length) for length in lengths],
            [str(width) for width in widths],
            [[float(ratio(length, width)) for length in lengths] for width in widths],
        )
    )
