"""How the weight of one position fades: with the distance not at all, with the length always."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqlaws.claim import Evidence, HoldsIf, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Series
from seqlaws.reference.alibi import alibi
from seqlaws.reference.rounding import gamma
from seqlaws.spec.claims.gradient_rates import LOST

UNIT = FORMATS["float64"].unit
LENGTHS = (10, 100, 1000, 10_000, 100_000)


def weights(scores: Tensor, bias: Tensor | None = None) -> Tensor:
    """The weights [T] of one query with these scores: what attention makes of the rows of the identity."""
    key, value = scores[:, None], torch.eye(len(scores), dtype=scores.dtype)
    query = torch.ones(1, 1, dtype=scores.dtype)
    return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)[0]


def sharpest(length: int, bound: float) -> float:
    """The weight of one position with score B, where all others have −B."""
    scores = torch.full((length,), -bound, dtype=torch.float64)
    scores[0] = bound
    return float(torch.softmax(scores, 0)[0])


def ceiling(length: int, bound: float) -> float:
    """1 / (1 + (T − 1) e^(−2B))."""
    return 1 / (1 + (length - 1) * math.exp(-2 * bound))


@claim(
    "C14",
    HoldsIf("scores come from content alone, and the length stays the same"),
    articles="S0 S2",
    source="Hahn 2020; Press et al. 2021",
)
def attention_does_not_fade_with_distance(see: Evidence) -> None:
    """In attention nothing fades, and there is no decay over distance.

    With scores from content alone weights move with their tokens. But |s| ≤ B gives
    w ≤ 1/(1 + (T − 1)·e^(−2B)), attained by one score of B among −B;
    ALiBi multiplies by e^(−m·distance), a window by zero

    Rule: one token is put at each of 128 places among others; its weights differ by no more than the rounding
    of sums of 128 terms and of exp, 2·γ_150. The bound holds at every length, within γ of T + 20, and falls
    below 1/32 for B = 4 at T = 100,000. With the slope ½ of ALiBi the weight at distance 99 is less than 2⁻²⁴
    of that at 0, the roundoff of float32; out of a window it is 0.
    """
    length = 128
    scores = torch.randint(-3, 4, (length,)).double()
    placed = [float(weights(torch.cat((scores[1 : at + 1], scores[:1], scores[at + 1 :])))[at]) for at in range(length)]
    spread = max(placed) / min(placed) - 1
    see.supports("content alone: relative spread of the weight over 128 places", spread, at_most=2 * gamma(150, UNIT))

    sloped = torch.as_tensor(alibi(8, 100, 100))[0, -1:]
    by_distance = weights(torch.zeros(100, dtype=torch.float64), sloped)
    see.refutes(
        "ALiBi, slope ½: weight at distance 99 over that at 0", float(by_distance[0] / by_distance[-1]), below=LOST
    )
    hidden = torch.zeros(1, 100, dtype=torch.float64)
    hidden[0, :-8] = -math.inf
    window = weights(torch.zeros(100, dtype=torch.float64), hidden)
    see.refutes("window of 8: weight at distance 99", float(window[0]), equals=0.0)
    for size in LENGTHS:
        allowed = ceiling(size, 4.0) * (1 + gamma(size + 20, UNIT))
        see.refutes(f"|s| ≤ 4, T = {size:,}: largest weight", sharpest(size, 4.0), at_most=allowed)
    see.refutes("|s| ≤ 4, T = 100,000: largest weight", sharpest(100_000, 4.0), below=1 / 32)
    see.picture(
        Figure(
            "The largest weight that one position can have",
            "length T",
            "weight",
            tuple(
                Series(f"scores within ±{bound:g}", LENGTHS, [sharpest(size, bound) for size in LENGTHS])
                for bound in (1.0, 2.0, 4.0)
            ),
            x_log=True,
            y_log=True,
        )
    )


@claim(
    "C15",
    Refuted("one of T tokens moves the output by at most C/T, and learned positions end"),
    articles="S2",
    source="Hahn 2020",
)
def transformers_model_unlimited_ranges(see: Evidence) -> None:
    """Transformers model dependencies over an unlimited range.

    Scores within an interval of length Δ and values within a diameter D:
    exchanging one token moves the output of an attention by at most 2D/(1 + (T − 1)·e^(−Δ))

    Rule: random tokens of a vocabulary of 8, whose scores and values give Δ and D. The largest change of the
    output, over all words that the first token can be exchanged for, stays below the bound at every T from 10
    to 100,000, and from first to last falls more than 1,000 times (C/T: 10,000). A table of 512 learned
    positions raises an IndexError at the next.
    """
    width = 16
    words, query = torch.randn(8, width, dtype=torch.float64), torch.randn(1, width, dtype=torch.float64)
    keys, values = (words @ torch.randn(width, width, dtype=torch.float64) / math.sqrt(width) for _ in range(2))
    scores = (keys @ query[0]) / math.sqrt(width)
    spread, diameter = float(scores.max() - scores.min()), float(torch.cdist(values, values).max())
    changes, bounds = [], []
    for length in LENGTHS:
        text = torch.randint(8, (length,))
        outputs = []
        for word in range(8):
            text[0] = word
            outputs.append(
                nn.functional.scaled_dot_product_attention(query[None], keys[text][None], values[text][None])[0, 0]
            )
        changes.append(float(torch.cdist(torch.stack(outputs), torch.stack(outputs)).max()))
        bounds.append(2 * diameter / (1 + (length - 1) * math.exp(-spread)))
        see.refutes(f"T = {length:,}: largest change of the output", changes[-1], at_most=bounds[-1])
    see.refutes("change at T = 10 over that at T = 100,000", changes[0] / changes[-1], above=1000.0)
    try:
        nn.Embedding(512, width)(torch.tensor([512]))
        after = "an embedding"
    except IndexError as error:
        after = type(error).__name__
    see.refutes("position 512 in a table of 512", after, equals="IndexError")
    see.picture(
        Figure(
            "What one token can change",
            "length T",
            "distance between outputs",
            (Series("largest, of 8 words", LENGTHS, changes), Series("bound", LENGTHS, bounds)),
            x_log=True,
            y_log=True,
        )
    )
