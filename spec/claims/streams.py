"""Streams: what one more token costs, and what must be kept until it comes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from seqlaws.claim import HOLDS, Evidence, HoldsIf, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Figure, Series, streaming_state, transparent
from seqlaws.instruments.layers import RestrictedAttention
from seqlaws.reference import attention

WIDTH = 16
MOMENTS = (1, 4, 16, 64, 256)
WIDE = torch.float64


@dataclass(frozen=True)
class Step:
    """What a stream did for one token: pairs of factors multiplied, and numbers kept afterwards."""

    products: int
    kept: int


class Stream(nn.Module):
    """A layer that is given one token after the other."""

    @property
    def kept(self) -> int:
        """How many numbers it keeps until the next token."""
        raise NotImplementedError


class Lstm(Stream):
    """An LSTM, token by token."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(WIDTH, WIDTH, dtype=WIDE)
        self.state = (torch.zeros(1, WIDTH, dtype=WIDE), torch.zeros(1, WIDTH, dtype=WIDE))

    def forward(self, token: Tensor) -> Tensor:
        """The output for the next token [1, d]."""
        self.state = self.cell(token, self.state)
        return self.state[0]

    @property
    def kept(self) -> int:
        """How many numbers the state has."""
        return sum(each.numel() for each in self.state)


class Cached(Stream):
    """One head of causal attention, token by token; keys and values stay in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False, dtype=WIDE) for _ in range(4))
        self.keys, self.values = torch.empty(0, WIDTH, dtype=WIDE), torch.empty(0, WIDTH, dtype=WIDE)

    def forward(self, token: Tensor) -> Tensor:
        """The output for the next token [1, d]."""
        self.keys = torch.cat([self.keys, self.k(token)])
        self.values = torch.cat([self.values, self.v(token)])
        scores = self.q(token) @ self.keys.mT / WIDTH**0.5
        mixed: Tensor = self.o(scores.softmax(-1) @ self.values)
        return mixed

    @property
    def kept(self) -> int:
        """How many numbers the cache has."""
        return self.keys.numel() + self.values.numel()


class Forgetful(Cached):
    """The same without a cache: all tokens are kept, and everything is computed anew."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = torch.empty(0, WIDTH, dtype=WIDE)

    def forward(self, token: Tensor) -> Tensor:
        """The output for the next token [1, d]."""
        self.tokens = torch.cat([self.tokens, token])
        scores = self.q(self.tokens) @ self.k(self.tokens).mT / WIDTH**0.5
        hidden = torch.ones(len(scores), len(scores), dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        mixed: Tensor = self.o(weights @ self.v(self.tokens))
        return mixed[-1:]

    @property
    def kept(self) -> int:
        """How many numbers the tokens have."""
        return self.tokens.numel()


class Linear(Cached):
    """One head of linear attention, token by token: two running sums."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs, self.total = torch.zeros(WIDTH, WIDTH, dtype=WIDE), torch.zeros(WIDTH, dtype=WIDE)

    def forward(self, token: Tensor) -> Tensor:
        """The output for the next token [1, d]."""
        query, key = feature(self.q(token)), feature(self.k(token))
        self.pairs = self.pairs + key.mT @ self.v(token)
        self.total = self.total + key[0]
        mixed: Tensor = self.o(query @ self.pairs / (query * self.total).sum(-1, keepdim=True))
        return mixed

    @property
    def kept(self) -> int:
        """How many numbers the sums have."""
        return self.pairs.numel() + self.total.numel()


def feature(x: Tensor) -> Tensor:
    """A positive feature of a query or a key; of integers it is an integer."""
    return F.relu(x) + 1


STREAMS: dict[str, type[Stream]] = {
    "LSTM": Lstm,
    "attention, cache": Cached,
    "attention, no cache": Forgetful,
    "linear attention": Linear,
}


@cache
def steps(name: str) -> dict[int, Step]:
    """What a stream does for token t, counted by torch's own counter at some moments."""
    stream, found = STREAMS[name](), {}
    with torch.no_grad(), transparent():
        for t in range(1, MOMENTS[-1] + 1):
            with FlopCounterMode(display=False) if t in MOMENTS else nullcontext() as counter:
                stream(torch.randn(1, WIDTH, dtype=WIDE))
            if counter:
                found[t] = Step(counter.get_total_flops() // 2, stream.kept)
    return found


def whole(x: Tensor) -> Tensor:
    """Causal softmax attention over a whole sequence."""
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


def linear(x: Tensor) -> Tensor:
    """Causal linear attention over a whole sequence, as a product with masked weights."""
    weights = (feature(x) @ feature(x).mT).tril()
    return weights @ x / weights.sum(-1, keepdim=True)


@claim("F11", HOLDS, articles="S2")
def a_recurrent_stream_has_constant_cost(see: Evidence) -> None:
    """A recurrent network answers each token of a stream with constant work and constant memory.

    8·d² products for one step of an LSTM, and 2·d numbers between two, for every t

    Rule: products and state are counted at five tokens of one stream, up to the 256th, d = 16. The rank of
    what the past does to the future says that no smaller state would do: it is 2·d too, for d = 8.
    """
    for t, step in steps("LSTM").items():
        see.supports(f"LSTM, token {t:,}: products", step.products, equals=8 * WIDTH**2)
        see.supports(f"LSTM, token {t:,}: numbers kept", step.kept, equals=2 * WIDTH)
    for t, rank in streaming_state(nn.LSTM(8, 8)).ranks.items():
        see.supports(f"LSTM, d = 8, after {t} tokens: numbers that matter", rank, equals=16)
    see.picture(
        Figure(
            f"Work for one more token, d = {WIDTH}",
            "token t",
            "products",
            tuple(Series(name, MOMENTS, [steps(name)[t].products for t in MOMENTS]) for name in STREAMS),
            x_log=True,
            y_log=True,
        )
    )


@claim(
    "F12",
    HoldsIf("attention is a softmax over all that was seen, with a cache; linear attention needs constant cost"),
    articles="S2",
    source="Shazeer 2019; Katharopoulos et al. 2020",
    picture="F11",
)
def a_transformer_must_attend_to_everything_again(see: Evidence) -> None:
    """A Transformer must attend to the whole context again for each token: O(T) a step, with growing memory.

    with a cache 4·d² + 2·t·d products and 2·t·d numbers;  without 4·t·d² + 2·t²·d products;
    linear attention 6·d² products and d² + d numbers for every t:
    S_t = S_(t−1) + φ(k_t)·v_tᵀ,  z_t = z_(t−1) + φ(k_t)

    Rule: products and numbers are counted at tokens 16, 64 and 256, d = 16. On integers, where nothing
    is rounded, the running sums of linear attention and its masked product give the same bits. A cache
    and the whole sequence agree within the sum of their rounding bounds.
    """
    d = WIDTH
    cached, anew, sums = (steps(each) for each in ("attention, cache", "attention, no cache", "linear attention"))
    for t in MOMENTS[2:]:
        see.supports(f"cache, token {t}: products", cached[t].products, equals=4 * d * d + 2 * t * d)
        see.supports(f"cache, token {t}: numbers kept", cached[t].kept, equals=2 * t * d)
        see.supports(f"no cache, token {t}: products", anew[t].products, equals=4 * t * d * d + 2 * t * t * d)
        see.refutes(f"linear attention, token {t}: products", sums[t].products, equals=6 * d * d)
        see.refutes(f"linear attention, token {t}: numbers kept", sums[t].kept, equals=d * d + d)
    x = torch.randint(-3, 4, (64, WIDTH), dtype=WIDE)
    same = torch.equal(_streamed(Linear(), x), linear(x))
    see.refutes("linear attention, 64 tokens: running sums and masked product give the same bits", same, equals=True)
    off = (_streamed(Cached(), x) - whole(x[None, None])[0, 0]).abs().numpy()
    rows = x[None, None].numpy()
    bound = attention.bound(attention.evaluate(rows, rows, rows, is_causal=True), FORMATS["float64"])[0, 0]
    see.supports("64 tokens: cache against whole, error ÷ both bounds", float((off / (2 * bound)).max()), at_most=1.0)


def _streamed(stream: Cached, x: Tensor) -> Tensor:
    """What attention gives token by token where queries, keys and values are the tokens themselves."""
    with torch.no_grad():
        for each in (stream.q, stream.k, stream.v, stream.o):
            nn.init.eye_(each.weight)
        return torch.cat([stream(token) for token in x.chunk(len(x))])


@claim(
    "F17",
    HoldsIf("attention is a softmax over all that was seen"),
    articles="S2",
    source="Katharopoulos et al. 2020",
)
def a_transformer_needs_its_context_in_memory(see: Evidence) -> None:
    """To learn or answer on a stream a Transformer needs its whole context window in memory.

    least state = rank ∂y_(>t)/∂x_(≤t):  t·d for causal attention,  d² + d for linear attention,
    (w − 1)·d for a window of w

    Rule: the rank is computed in float64 after 8 and 16 tokens. No implementation can keep fewer numbers,
    and one that keeps as many is known for each.
    """
    everything, window = streaming_state(whole, width=4), streaming_state(RestrictedAttention(4, 3))
    sums = streaming_state(linear, width=2)
    for name, state in (("causal attention", everything), ("linear attention", sums), ("window", window)):
        assert state.exactness.kind == "exact", f"{name}: {state.exactness}"
    for t in (8, 16):
        see.supports(f"causal attention, d = 4, after {t} tokens: numbers", everything.ranks[t], equals=4 * t)
        see.refutes(f"linear attention, d = 2, after {t} tokens: numbers", sums.ranks[t], equals=6)
        see.refutes(f"window of 3, d = 4, after {t} tokens: numbers", window.ranks[t], equals=8)
    see.supports("causal attention: growth of the state", everything.growth.order, equals="O(n)")
