"""ALiBi: the subject, the sizes that its laws draw, and the laws.

Every head lowers its scores in proportion to the distance, at a slope of its own (Press et al. 2022).
Query i stands at key k_len − q_len + i, so there are no more queries than keys; later keys are hidden
by −∞. Nothing goes in but sizes, so that dtype and device of the result are the implementation's choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, STRUCTURE, VALUES, law
from seqlaws.reference import alibi as reference
from seqlaws.subject import Cases, Subject
from seqlaws.verdict import Output, Verdict, below, consistent, differs, every, finite, identical, vacuous, within

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

HIDDEN = ("hides_the_future",)
PLACED = (*HIDDEN, "stands_at_the_end_of_the_keys")
STARTED = (*PLACED, "costs_nothing_at_distance_zero")
STRAIGHT = (*STARTED, "depends_on_the_offset_alone", "falls_in_a_straight_line")

POWERS = (1, 2, 4, 8, 16, 32, 64, 128)
OTHERS = tuple(count for count in (*range(1, 50), 56, 60, 63, 65, 71, 80, 96, 112, 127, 129) if count not in POWERS)


@dataclass(frozen=True)
class AlibiCase:
    """The number of heads, of queries and of keys."""

    heads: int
    queries: int
    keys: int

    def inputs(self, format: Format) -> Inputs:
        """Every row of biases is a sub-case."""
        sizes = {"num_heads": self.heads, "q_len": self.queries, "k_len": self.keys}
        return Inputs("alibi", format, {}, sizes, {}, self.keys, max(1, self.heads * self.queries))


TRAPS = (
    AlibiCase(8, 5, 11),
    AlibiCase(3, 7, 7),
    AlibiCase(4, 1, 13),
    AlibiCase(12, 3, 5),
    AlibiCase(6, 6, 6),  # every size the same
    AlibiCase(1, 2, 3),
    AlibiCase(16, 2, 601),
    AlibiCase(2, 1, 2100),
    AlibiCase(5, 37, 41),
)


def cases(heads: tuple[int, ...] = POWERS + OTHERS) -> Cases:
    """Every one of these numbers of heads, the traps that have one, and drawn cases."""

    def strategy(claims: Any) -> SearchStrategy[AlibiCase]:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> AlibiCase:
            keys = draw(st.sampled_from((1, 2, 3, 4, 5, 8, 13, 16, 17, 33, 64, 65, 130, 257, 513)))
            queries = draw(st.sampled_from([1, 2, 3, 7, keys - 1, keys, keys]))
            return AlibiCase(draw(st.sampled_from(heads)), max(1, min(queries, keys, 12_000 // keys)), keys)

        return build()

    # every number of heads, and the traps that have one of these
    swept = [*(case for case in TRAPS if case.heads in heads), *(AlibiCase(count, 2, 3) for count in heads)]
    return Cases(lambda claims: swept, strategy)


def some() -> Cases:
    """The traps and drawn cases."""
    return Cases(lambda claims: TRAPS, cases().strategy)


def every_length() -> Cases:
    """One case of every number of keys about which a program may have ideas."""
    lengths = (*range(1, 67), 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4097)
    swept = [AlibiCase(2, 1 + length % 2, length) for length in lengths if length > 1]
    # one head: who cuts the last row out of a square has many numbers to fill, and for a longer row too many
    return Cases(lambda claims: [*TRAPS, *swept, AlibiCase(1, 1, 8601)], cases().strategy)


def every_size() -> Cases:
    """One case of every number of queries about which a program may have ideas, with as many keys and with more."""
    borders = (31, 32, 33, 63, 64, 65, 127, 128, 129, 257)
    swept = [AlibiCase(2, queries, queries + more) for queries in borders for more in (0, 5)]
    long = [AlibiCase(1, queries, queries + more) for queries, more in ((513, 0), (515, 5))]
    heads = [AlibiCase(33, 33, 40), AlibiCase(65, 3, 65), AlibiCase(16, 16, 16)]
    return Cases(lambda claims: [*swept, *long, *heads], cases().strategy)


def _sizes(x: Inputs) -> tuple[int, int, int]:
    return x.num_heads, x.q_len, x.k_len


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    return reference.alibi(*_sizes(x), x.format.wide), reference.bound(*_sizes(x), x.format)


def _simpler(x: Inputs) -> Iterator[Inputs]:
    yield from (x.but(num_heads=count) for count in (1, 2, 3, x.num_heads - 1) if 0 < count < x.num_heads)
    for queries, keys in ((1, 2), (2, 2), (1, 3), (x.q_len // 2, x.k_len // 2), (x.q_len - 1, x.k_len)):
        if 0 < queries <= keys and (queries, keys) != (x.q_len, x.k_len) and keys <= x.k_len:
            yield x.but(q_len=queries, k_len=keys)
    if x.q_len < x.k_len:
        yield x.but(k_len=x.k_len - 1)


def _others(x: Inputs) -> Iterator[Inputs]:
    """Other sizes, larger and smaller."""
    yield x.but(q_len=1, k_len=max(1, x.k_len - 1))
    yield x.but(q_len=x.q_len + 1, k_len=x.k_len + 3)
    yield x.but(num_heads=x.num_heads + 1)
    yield x.but(num_heads=2 * x.num_heads)


alibi = Subject(
    name="alibi",
    signature="alibi(num_heads, q_len, k_len) -> [H, q_len, k_len]",
    capabilities={},
    dialects={},
    arrange=lambda tensors, options: ((options["num_heads"], options["q_len"], options["k_len"]), {}),
    shape=_sizes,
    exact=_exact,
    exact_gradient=lambda x, cotangent, dialect: {},
    cases=some(),
    differentiable=(),
    simpler=_simpler,
    others=_others,
    takes="sizes",
    valid=lambda x: x.num_heads > 0 and 0 <= x.q_len <= x.k_len,
)


def behind(x: Inputs) -> Array:
    """How far every key lies behind every query, [q_len,k_len]."""
    return reference.distances(x.q_len, x.k_len)


@law(alibi, STRUCTURE)
def hides_the_future(alibi: Any, x: Inputs) -> Verdict:
    """Later keys have −∞, and all others a finite bias; here with as many queries as keys.

    b_hij = −∞ ⟺ j > i

    Why: the bias is all that keeps a causal model from reading ahead. A large negative number instead is
    a small weight, which grows where scores are large.
    """
    length = min(x.k_len, 64)  # a square of more is large and shows nothing new
    square = x.but(q_len=length, k_len=length)
    value = alibi(square).value
    ahead = np.broadcast_to(behind(square) < 0, value.shape)
    return every(
        identical(np.where(ahead, value, 0.0), np.where(ahead, -np.inf, 0.0)), finite(np.where(ahead, 0.0, value))
    )


@law(alibi, STRUCTURE, after=HIDDEN)
def stands_at_the_end_of_the_keys(alibi: Any, x: Inputs) -> Verdict:
    """With fewer queries than keys, the queries are the last ones: the last rows of the square.

    alibi(H, q, k) = alibi(H, k, k)_{k−q…}

    Why: a decoder with a cache has one query and all keys. Aligned at the start, that query sees the
    first key alone.
    """
    if x.q_len == x.k_len or x.k_len * x.k_len * x.num_heads > 500_000:
        return vacuous()
    whole = alibi(x.but(q_len=x.k_len))
    return consistent(alibi(x), whole[:, x.k_len - x.q_len :])


@law(alibi, STRUCTURE, after=PLACED)
def costs_nothing_at_distance_zero(alibi: Any, x: Inputs) -> Verdict:
    """The key at the query's own place has the bias 0.

    b_hij = 0 where j = k_len − q_len + i

    Why: distances count from 0. Softmax does not notice a constant along a row; thresholds, sinks and
    sums with other biases do.
    """
    return identical(np.where(behind(x) == 0, alibi(x).value, 0.0), np.zeros(_sizes(x)))


@law(alibi, STRUCTURE, after=STARTED)
def depends_on_the_offset_alone(alibi: Any, x: Inputs) -> Verdict:
    """One query further and one key further, the bias is the same.

    b_h,i+1,j+1 = b_hij

    Why: it replaces positions. A bias that depends on where the query stands is another model at the
    end of a text than at its start.
    """
    if min(x.q_len, x.k_len) < 2:
        return vacuous()
    biases = alibi(x)
    return consistent(biases[:, 1:, 1:], biases[:, :-1, :-1])


@law(alibi, STRUCTURE, cases=every_length(), after=(*STARTED, "depends_on_the_offset_alone"))
def falls_in_a_straight_line(alibi: Any, x: Inputs) -> Verdict:
    """Every further step costs as much as the first.

    b_h(d) = d · b_h(1)

    Why: the line goes on beyond the lengths of the training, which is what makes longer texts possible.
    A bias that levels off, or is clamped at some distance, stops telling far keys apart.
    """
    if x.k_len < 2 or not x.q_len:
        return vacuous()
    last = alibi(x)[:, -1]
    steps = behind(x)[-1]
    return consistent(last, last.take(np.full(x.k_len, x.k_len - 2), 1) * steps)


@law(alibi, STRUCTURE, after=STRAIGHT)
def prefers_near_keys(alibi: Any, x: Inputs) -> Verdict:
    """A key further away has a smaller bias.

    b_h(1) < 0

    Why: with the sign turned, the model reads the oldest keys best. It trains, and it is worse.
    """
    if x.k_len < 2 or not x.q_len:
        return vacuous()
    first = alibi(x)[:, -1, -2:-1]
    return every(below(first, 0.0), differs(first, np.zeros(first.shape)))


@law(alibi, STRUCTURE, after=(*STRAIGHT, "prefers_near_keys"))
def gives_every_head_a_slope_of_its_own(alibi: Any, x: Inputs) -> Verdict:
    """No two heads have the same slope.

    m_g ≠ m_h for g ≠ h

    Why: some heads look near and some look far. Heads of one slope are heads of one range.
    """
    if x.num_heads < 2 or x.k_len < 2 or not x.q_len:
        return vacuous()
    slopes = alibi(x)[:, -1, -2:-1]
    order = np.argsort(slopes.value[:, 0])
    rising = slopes.take(order, 0)
    return differs(rising[1:], rising[:-1], among=_clear(rising))


def _clear(rising: Output) -> Array:
    """Which neighbours are further apart than their rounding: all, but for many heads in half precision."""
    due = np.sort(rising.reference[:, 0])
    return np.asarray(np.diff(due) > 2 * rising.slack.max(initial=0.0))


@law(alibi, VALUES, cases=cases(POWERS))
def agrees_with_its_definition(alibi: Any, x: Inputs) -> Verdict:
    """With a power of two of heads, slopes run in equal ratios down to 1/256.

    m_h = 2^(−8h/n), h = 1 … n

    Why: trained weights expect these slopes. A range that begins at 1 or ends elsewhere lets every head
    see too much or too little.

    Source: Press et al. 2022, section 3
    """
    return within(alibi(x))


@law(alibi, VALUES, cases=cases(OTHERS), after=("agrees_with_its_definition",))
def agrees_for_any_number_of_heads(alibi: Any, x: Inputs) -> Verdict:
    """With other numbers of heads, the slopes for the power of two below come first, then every second
    slope for the power above.

    n = 3:  2⁻⁴, 2⁻⁸, 2⁻²

    Why: models have 12, 20 or 71 heads. The formula for powers of two gives slopes for them as well, and
    no error, but not those that the weights were trained with.

    Source: Press et al. 2022, appendix A
    """
    return within(alibi(x))


@law(alibi, VALUES, cases=every_size(), after=("agrees_for_any_number_of_heads",), examples=0.25)
def agrees_at_every_size(alibi: Any, x: Inputs) -> Verdict:
    """The definition holds for many queries too, with as many keys as queries and with more.

    the definition, at q_len = 31 … 33, 63 … 65, 127 … 129, 257, 513 and 515

    Why: biases are filled in block by block, and whole blocks of the future are skipped. The first block
    is right in every small test.
    """
    return within(alibi(x))


@law(alibi, EDGES)
def accepts_empty_and_single_sizes(alibi: Any, x: Inputs) -> Verdict:
    """There may be no query, no key, or one of each.

    alibi(H, 0, k) is empty, alibi(H, 1, 1) = 0

    Why: the first step has one key, and a chunk of a prompt may have no query left. Slices from −0 on
    are everything instead of nothing.
    """
    sizes = ((0, 0), (0, x.k_len), (1, 1), (1, x.k_len))
    return every(*(within(alibi(x.but(q_len=queries, k_len=keys))) for queries, keys in sizes if queries <= keys))
