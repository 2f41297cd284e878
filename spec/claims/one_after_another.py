"""How many operators must follow one another: recurrences, Transformers that read, and Transformers that write."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import Figure, SequentialDepth, Series, sequential_depth
from seqlaws.spec.claims.recurrences import Gated

WIDTH, LAYERS = 8, 2


class Reader(nn.Module):
    """A causal Transformer that is given the whole text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 2, 4 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        """Every position reads those up to itself."""
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        out: Tensor = self.layers(x, mask=hidden)
        return out


class Writer(Reader):
    """The same, which is given the first position only, and chooses the token of every later one."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.scores = nn.Linear(width, 5, bias=False)
        self.tokens = nn.Embedding(5, width)

    def forward(self, x: Tensor) -> Tensor:
        """As many tokens as x has positions."""
        text = x[:, :1]
        for _ in range(x.shape[1]):
            likeliest = self.scores(super().forward(text)[:, -1:]).argmax(-1)
            text = torch.cat((text, self.tokens(likeliest)), 1)
        return text[:, 1:]


@cache
def depth(kind: type[nn.Module]) -> SequentialDepth:
    """The sequential depth of a layer of this kind: at 2 … 64 positions, or up to 8 tokens that are written."""
    sizes = [WIDTH] * (2 if issubclass(kind, nn.RNNBase) else 1)
    with torch.random.fork_rng():
        return sequential_depth(kind(*sizes), length=8 if kind is Writer else 64, width=WIDTH)


def depth_of_backward(cell: nn.Module, length: int) -> int:
    """The longest chain in the graph that autograd keeps of a cell applied ``length`` times."""
    state = None
    for x in torch.randn(length, 1, WIDTH):
        state = cell(x, state)
    last = state[0] if isinstance(state, tuple) else state
    assert last is not None
    longest: dict[object, int] = {}
    waiting = [last.grad_fn]
    while waiting:
        node = waiting[-1]
        behind = [each for each, _ in node.next_functions if each is not None]
        unknown = [each for each in behind if each not in longest]
        waiting += unknown
        if not unknown:
            longest[waiting.pop()] = 1 + max((longest[each] for each in behind), default=0)
    return longest[last.grad_fn]


@claim("A1", HOLDS, articles="S0 S1 S2 S3", source="Vaswani et al. 2017, Table 1")
def a_recurrence_takes_one_step_after_the_other(see: Evidence) -> None:
    """A recurrent network works through its positions one by one: step 5 has to wait for step 4.

    depth(T) = a + b·T with b > 0, for the longest chain of operators from an input to an output, and
    for the longest chain of the backward pass

    Rule: the instrument counts the chain of torch.nn layers at T = 2 … 64, and a walk through autograd's
    graph that of unrolled cells. The values at the first two lengths fix the line; its slope is positive
    and every later value lies on it, exactly. It is the depth of the recurrence as a program: A2 shows
    other programs for the same function.
    """
    for kind in (nn.RNN, nn.LSTM):
        found = depth(kind).unit_growth
        slope = (found.values[1] - found.values[0]) // 2
        see.supports(f"{kind.__name__}: operators that a position adds", slope, above=0)
        line = tuple(found.values[0] + slope * (n - 2) for n in found.lengths)
        see.supports(f"{kind.__name__}: longest chain for T = 2 … 64", found.values, equals=line)
    for cell in (nn.RNNCell(WIDTH, WIDTH), nn.LSTMCell(WIDTH, WIDTH)):
        name, first, second = type(cell).__name__, depth_of_backward(cell, 2), depth_of_backward(cell, 4)
        see.supports(f"{name}, backward: operators that a step adds", (second - first) // 2, above=0)
        line = tuple(first + (second - first) // 2 * (n - 2) for n in (8, 64, 256))
        see.supports(
            f"{name}, backward: longest chain for T = 8, 64, 256",
            tuple(depth_of_backward(cell, n) for n in (8, 64, 256)),
            equals=line,
        )
    kinds = {
        "LSTM": nn.LSTM,
        "tanh RNN": nn.RNN,
        "gated linear, by a scan": Gated,
        "Transformer that reads": Reader,
        "Transformer that writes": Writer,
    }
    series = [
        Series(name, depth(kind).unit_growth.lengths, depth(kind).unit_growth.values) for name, kind in kinds.items()
    ]
    see.picture(
        Figure(
            "Recurrence and writing take T steps, reading and scans do not",
            "positions T",
            "operators in a row",
            tuple(series),
            x_log=True,
            y_log=True,
        )
    )


@claim(
    "A4",
    HoldsIf("all positions are given beforehand, as in training and in reading a prompt"),
    articles="S0 S1 S2 S3",
    source="Vaswani et al. 2017, Table 1",
    picture="A1",
)
def a_transformer_processes_all_positions_at_once(see: Evidence) -> None:
    """A Transformer processes all positions of a sequence at the same time.

    reading: depth(T) = depth(2) for every T. Writing: token t + 1 is a function of token t, and
    depth(T) > depth(T − 1)

    Rule: the longest chain of a causal Transformer of two layers that is given T positions is one number
    for T = 2 … 64; that of the same layers choosing T tokens greedily grows with every doubling of T.
    """
    read = depth(Reader).unit_growth
    see.supports("reading T = 2 … 64: longest chain", read.values, equals=(read.values[0],) * len(read.values))
    written = depth(Writer).unit_growth
    for tokens, (before, after) in zip(written.lengths[1:], pairwise(written.values), strict=True):
        see.refutes(f"writing {tokens} tokens: longest chain, against half as many", after, above=before)


@claim(
    "A5",
    Refuted("text is written token by token, and every token waits for a whole pass after the one before"),
    articles="S3",
    picture="A1",
)
def transformers_remove_the_constraints_of_sequential_processing(see: Evidence) -> None:
    """Transformers are free of every constraint of sequential processing.

    greedy choice of T ≥ 2 tokens: depth(T) = depth(2) + b·(T − 2), where b is at least the depth of a pass over
    the whole text, and above what a step adds to the chain of an LSTM

    Rule: the chain behind 8 tokens lies on the line through 2 and 4, exactly, and the slope of that line is
    compared with the depth of a pass over T given positions, and with the slope of an LSTM.
    """
    two, four, eight = depth(Writer).unit_growth.values
    slope = (four - two) // 2
    see.refutes("8 tokens: longest chain", eight, equals=four + 4 * slope)
    see.refutes("operators that a token adds, against those of a whole pass", slope, at_least=depth(Reader).unit)
    lstm = depth(nn.LSTM).unit_growth.values
    see.refutes("operators that a token adds, against a step of an LSTM", slope, above=(lstm[1] - lstm[0]) // 2)


@claim("A6", HOLDS, articles="S3", source="Vaswani et al. 2017, Table 1")
def the_number_of_layers_does_not_depend_on_the_length(see: Evidence) -> None:
    """A sequence passes through as many layers of a Transformer, however long it is.

    layers run = L and depth(T) = depth(2) for every T, where a sum over any number of keys counts as one operator;
    with adders of two inputs each sum takes ⌈log₂ T⌉ steps

    Rule: hooks count the layers that run for T = 1 … 1024 positions, and the instrument the longest chain for
    T = 2 … 64; both are one number for all lengths.
    """
    reader, runs = Reader(WIDTH), [0]

    def count(*_: object) -> None:
        runs[0] += 1

    for layer in reader.layers.layers:
        layer.register_forward_hook(count)
    for length in (1, 32, 1024):
        runs[0] = 0
        with torch.no_grad():
            reader(torch.randn(1, length, WIDTH))
        see.supports(f"T = {length}: layers run", runs[0], equals=LAYERS)
    read = depth(Reader).unit_growth
    see.supports("longest chain for T = 2 … 64", read.values, equals=(read.values[0],) * len(read.values))
