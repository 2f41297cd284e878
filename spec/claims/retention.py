"""What becomes of an early input: kept to the last bit, retrievable, or forgotten."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqlaws.claim import Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Figure, Model, Series
from seqlaws.instruments.lyapunov import lyapunov, recurrence_of

BITS = 16


def latch() -> nn.LSTM:
    """An LSTM wired by hand: it stores the 16 bits ±1 that come with a flag, until the next flag."""
    layer = nn.LSTM(BITS + 1, BITS, batch_first=True)
    of = dict(layer.named_parameters())
    with torch.no_grad():
        for weights in of.values():
            weights.zero_()
        store, keep, write, show = range(0, 4 * BITS, BITS)
        of["bias_ih_l0"][store : store + BITS] = -120  # σ(−120) is 0 in float32, σ(30) is 1
        of["bias_ih_l0"][keep : keep + BITS] = 30
        of["bias_ih_l0"][show : show + BITS] = 30
        of["weight_ih_l0"][store : store + BITS, BITS] = 150
        of["weight_ih_l0"][keep : keep + BITS, BITS] = -150
        of["weight_ih_l0"][write : write + BITS, :BITS] = 20 * torch.eye(BITS)  # tanh(±20) is ±1
    return layer


def noisy_words(length: int) -> Tensor:
    """Words [1, T, 17] of 16 random bits, of which the one at position 2 has a flag."""
    words = 2.0 * torch.randint(2, (1, length, BITS + 1)) - 1
    words[..., BITS] = 0.0
    words[0, 1, BITS] = 1.0
    return words


def recurrent(size: int, gain: float) -> nn.RNN:
    """A tanh RNN in float64 with normal weights, the recurrent ones of a spectral radius near ``gain``."""
    layer = nn.RNN(size, size, bias=False, batch_first=True, dtype=torch.float64)
    of = dict(layer.named_parameters())
    nn.init.normal_(of["weight_hh_l0"], 0, gain / math.sqrt(size))
    nn.init.normal_(of["weight_ih_l0"], 0, 1 / math.sqrt(size))
    return layer


@claim(
    "B10",
    Refuted("an LSTM returns word 2 bit for bit after 100,000 words of noise"),
    articles="S0",
    source="Hochreiter & Schmidhuber 1997; Gers et al. 2000",
)
def word_50_has_only_a_faded_echo_of_word_2(see: Evidence) -> None:
    """Word 50 of a recurrent network has only a faded echo of word 2, never the word itself.

    c_t = f_t·c_(t−1) + i_t·g_t with f = σ(30) = 1 and i = σ(−120) = 0 in float32: c_t = c_2 for every t

    Rule: an LSTM wired by hand stores the 16 bits of word 2. At word 50 and at every later one no number of
    its output differs from what it was at word 2. A tanh RNN as torch initialises it does have a faded echo.
    """
    length = 100_000
    words = noisy_words(length)
    with torch.no_grad():
        out = latch()(words)[0][0]
    see.refutes(
        "LSTM, word 50: bits of word 2 that are wrong", int((out[49].sign() != words[0, 1, :BITS]).sum()), equals=0
    )
    see.refutes("LSTM, words 50 to 100,000: numbers that differ", int((out[49:] != out[1]).sum()), equals=0)
    wired, echo = (
        _echo(latch(), words[:, :50]),
        _echo(nn.RNN(BITS + 1, BITS, batch_first=True, dtype=torch.float64), words[:, :50]),
    )
    see.supports("tanh RNN, torch's default: echo of word 2 at word 50, as a share", echo[-1] / echo[0], below=1e-3)
    see.picture(
        Figure(
            "What is left of word 2",
            "word",
            "size of its echo",
            (Series("LSTM wired as a latch", list(range(2, 51)), wired), Series("tanh RNN", list(range(2, 51)), echo)),
            y_log=True,
        )
    )


def _echo(layer: nn.RNNBase, words: Tensor) -> list[float]:
    """How far the states from word 2 on are from those after another word 2, all other words the same."""
    words = words.to(next(layer.parameters()).dtype)
    other = words.clone()
    other[:, 1, :BITS] *= -1
    with torch.no_grad():
        return (layer(words)[0] - layer(other)[0])[0, 1:].norm(dim=-1).tolist()


def keeps_its_sign(length: int) -> int:
    """For how many steps h ← tanh(10·h + x) keeps the sign it has, whatever the x in [−1, 1]."""
    h = torch.tensor(1.0)
    for step, x in enumerate(2 * torch.rand(length) - 1):
        h = (10 * h + x).tanh()
        if h <= 0:
            return step
    return length


@claim(
    "B11",
    HoldsIf("there are no gates, and the network draws any two states together"),
    articles="S3",
    source="Gers et al. 2000; Bengio et al. 1994",
)
def there_is_no_mechanism_to_retain_selectively(see: Evidence) -> None:
    """Recurrent networks lack a robust mechanism to retain relevant information selectively.

    ‖h_t − h'_t‖ → 0 for the same inputs: λ = lim (1/t)·log‖J_t ⋯ J_1‖ < 0, and no second attractor
    gates: c_t = c_(t−1) bit for bit until a flag opens them
    h ← tanh(10h + x): two attractors for |x| ≤ 1

    Rule: the largest Lyapunov exponent of driven tanh networks is below zero, and two states merge. An LSTM
    wired by hand keeps the flagged word and no other; a tanh unit of weight 10 keeps its sign against bounded
    noise.
    """
    for gain in (0.5, 1.0):
        layer = recurrent(32, gain)
        recurrence = recurrence_of(layer, Model.of(layer))
        assert recurrence is not None
        see.supports(f"tanh RNN, gain {gain}: largest Lyapunov exponent", lyapunov(recurrence).spectrum[0], below=0.0)
        see.supports(
            f"tanh RNN, gain {gain}: distance after 200 steps, as a share", distances(layer, drive=1.0)[-1], below=1e-6
        )
    words = noisy_words(1000)
    again = words.clone()
    again[0, 500] = torch.cat([-words[0, 1, :BITS], torch.ones(1)])  # another word, with a flag of its own
    with torch.no_grad():
        once, twice = (latch()(each)[0][0] for each in (words, again))
    signs = words[0, 1, :BITS]
    see.refutes("LSTM, 998 words without a flag: bits that change", int((once[1:].sign() != signs).sum()), equals=0)
    changed = int((twice[500:].sign() != -signs).sum() + (twice[1:500].sign() != signs).sum())
    see.refutes("LSTM, a second flag: bits that are not those of the last flagged word", changed, equals=0)
    see.refutes("ungated tanh unit, w = 10: steps for which it keeps its sign", keeps_its_sign(10_000), equals=10_000)


def distances(layer: nn.RNN, length: int = 200, *, apart: float = 1.0, drive: float = 0.1) -> list[float]:
    """‖h_t − h'_t‖/‖h_0 − h'_0‖, t = 0 … ``length``, for two starts and the same inputs of size ``drive``."""
    x = drive * torch.randn(1, length, layer.input_size, dtype=torch.float64).expand(2, -1, -1)
    start = torch.randn(1, 2, layer.hidden_size, dtype=torch.float64)
    start[0, 1] = start[0, 0] + apart * start[0, 1]
    with torch.no_grad():
        states = torch.cat([start.transpose(0, 1), layer(x, start)[0]], 1)
    gaps = (states[0] - states[1]).norm(dim=-1)
    return (gaps / gaps[0]).tolist()


@claim("B12", HoldsIf("‖J_t‖ ≤ g < 1 at every step"), articles="S3 S0", source="Jaeger 2001")
def early_words_are_forgotten(see: Evidence) -> None:
    """By the time the network reaches the end, early words are forgotten.

    ‖∂h_t/∂h_(t−1)‖ ≤ g < 1 for every t  ⇒  ‖h_T − h'_T‖ ≤ g^T·‖h_0 − h'_0‖ (the echo-state property)

    Rule: tanh networks with ‖W‖ = g get two initial states and the same 200 inputs; their distance stays
    below g^T of what it was at first. A latch of 1,000 steps keeps two words apart exactly; with gain 3, a
    distance of 10⁻⁶ grows.
    """
    curves: dict[str, list[float]] = {}
    for g, length in ((0.5, 40), (0.8, 100), (0.9, 200)):  # as far as the digits of float64 reach
        layer = recurrent(32, 1.0)
        nn.init.orthogonal_(dict(layer.named_parameters())["weight_hh_l0"], g)
        curves[f"‖W‖ = {g}"] = found = distances(layer, length)
        see.supports(f"‖W‖ = {g}, T = {length}: distance, as a share", found[-1], at_most=g**length)
    echo = _echo(latch(), noisy_words(1000))
    see.refutes("LSTM as a latch, T = 1,000: distance, as a share", echo[-1] / echo[0], equals=1.0)
    curves["tanh RNN, gain 3"] = wild = distances(recurrent(32, 3.0), apart=1e-6)
    see.refutes("tanh RNN, gain 3, T = 200: distance, as a share", wild[-1], above=1.0)
    curves["latch"] = [each / echo[0] for each in echo[:200]]
    curves["bound, 0.9^t"] = [0.9**t for t in range(201)]
    see.picture(
        Figure(
            "How far apart two states stay that get the same inputs",
            "step t",
            "distance, as a share of the first",
            tuple(Series(name, list(range(len(each))), each) for name, each in curves.items()),
            y_log=True,
        )
    )
