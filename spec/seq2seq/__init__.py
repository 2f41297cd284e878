"""Encoder–decoders: the subject, its cases, and what laws ask of a model.

A factory `make(seed, d_model)` gives a model with `encode(source, *, padding=None) -> memory` and
`decode(target, memory) -> y`: [B,S,E] and [B,T,E] → [B,T,E], with teacher forcing. Padding [B,S] is
True where a token is real. By default y_t sees target_t and what stands before it; a model that shifts its
target to the right by itself, so that y_t predicts target_t, declares target="shifted". There is no
reference: a model is compared with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.factory import built
from seqlaws.formats import FORMATS, Array, Format
from seqlaws.inputs import Inputs
from seqlaws.subject import Cases, Claims, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from seqlaws.run import Run

PADDINGS = {"right": ("none", "right"), "anywhere": ("none", "right", "left", "holes")}


@dataclass(frozen=True)
class Seq2seqCase:
    """Sizes, the padding of the source ("none", "right", "left", "holes"), the seeds of the model and of the inputs."""

    batch: int
    s_len: int
    t_len: int
    width: int
    padding: str = "none"
    model: int = 0
    seed: int = 0

    def inputs(self, format: Format) -> Inputs:
        """Every batch row is a sub-case."""
        rng = np.random.default_rng(self.seed)
        arrays: dict[str, Array | None] = {
            "source": rng.standard_normal((self.batch, self.s_len, self.width)),
            "target": rng.standard_normal((self.batch, self.t_len, self.width)),
            "padding": self._real(rng),
        }
        axes = {"source": "BSE", "target": "BTE", "padding": "BS"}
        options = {"model": self.model, "d_model": self.width}
        return Inputs("seq2seq", format, arrays, options, axes, self.seed, self.batch)

    def _real(self, rng: np.random.Generator) -> Array | None:
        """Which tokens are real; in every entry one at least."""
        if self.padding == "none":
            return None
        count = rng.integers(1, self.s_len + 1, (self.batch, 1))
        real = np.arange(self.s_len) < count
        if self.padding == "left":
            return real[:, ::-1].copy()
        if self.padding == "holes":
            real = rng.permuted(real, axis=1)
        return real


TRAPS = (
    Seq2seqCase(127, 7, 5, 8, model=1, seed=1),
    Seq2seqCase(113, 9, 4, 8, "right", model=2, seed=2),
    Seq2seqCase(31, 6, 6, 12, "left", model=3, seed=3),
    Seq2seqCase(5, 11, 3, 16, "holes", model=4, seed=4),
    Seq2seqCase(4, 4, 4, 4, "right", model=0, seed=5),  # every size the same, and seed 0
    Seq2seqCase(2, 33, 17, 8, model=6, seed=6),
)


LONG = (
    Seq2seqCase(2, 67, 3, 4, "right", model=1, seed=1),
    Seq2seqCase(2, 3, 67, 4, model=2, seed=2),
    Seq2seqCase(2, 131, 131, 4, "holes", model=3, seed=3),
    Seq2seqCase(1, 1030, 2, 4, model=4, seed=4),
)


def cases(padded: bool = False, traps: tuple[Seq2seqCase, ...] = TRAPS) -> Cases:
    """Traps and drawn cases; with padding in all of them, or as they come."""

    def settle(case: Seq2seqCase, claims: Claims) -> Seq2seqCase:
        allowed = PADDINGS[claims.dialect["padding"]][1 if padded else 0 :]
        padding = case.padding if case.padding in allowed else allowed[case.seed % len(allowed)]
        if "padding" not in claims.can:
            padding = "none"
        return Seq2seqCase(case.batch, case.s_len, case.t_len, case.width, padding, case.model, case.seed)

    def strategy(claims: Claims) -> SearchStrategy[Seq2seqCase]:
        from hypothesis import strategies as st

        lengths = st.sampled_from((1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17))
        drawn = st.builds(
            Seq2seqCase, st.sampled_from((1, 2, 37, 127)), lengths, lengths, st.sampled_from((4, 8, 12)),
            st.sampled_from(PADDINGS["anywhere"]), st.integers(0, 7), st.integers(0, 2**32 - 1),
        )  # fmt: skip
        return drawn.map(lambda case: settle(case, claims))

    return Cases(lambda claims: dict.fromkeys(settle(case, claims) for case in traps), strategy)


def _perform(make: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    source, target, padding = arguments
    model = built(make, source, options["model"], options["d_model"])
    return model.decode(target, encode(model, source, padding))


def encode(model: Any, source: Any, padding: Any) -> Any:
    """The memory of a source."""
    return model.encode(source) if padding is None else model.encode(source, padding=padding)


def _around(make: Any, change: Callable[[Any], Any]) -> Any:
    """A factory of the same models with a change around what they decode."""

    def changed(seed: int, d_model: int) -> Any:
        model = make(seed, d_model)
        model.decode = change(model.decode)
        return model

    return changed


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if x.padding is not None:
        yield x.but(padding=None)


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    source, place = x.source.copy(), 0 if x.padding is None else np.argmax(x.padding, axis=1)
    source[np.arange(len(source)), place, 0] = np.nan
    yield x.but(source=source), np.ones((*x.target.shape[:2], 1), dtype=bool)
    target, last = x.target.copy(), np.arange(x.target.shape[1]) == x.target.shape[1] - 1
    target[:, np.roll(last, -delay(dialect)) & (last.size > delay(dialect)), 0] = np.nan
    yield x.but(target=target), last[:, None] & (last.size > delay(dialect))


def delay(dialect: Mapping[str, str]) -> int:
    """How many places after a token of the target stands the first output that sees it."""
    return int(dialect["target"] == "shifted")


seq2seq = Subject(
    name="seq2seq",
    signature="make(seed, d_model) -> model: encode(source, *, padding=None) -> memory, decode(target, memory) -> y",
    capabilities={
        "padding": "accepts a padding mask of the source",
        "cross_attention": "the memory holds every token of the source, and the decoder reads them all",
        "gradient": "can be differentiated",
    },
    dialects={"padding": ("right", "anywhere"), "target": ("as_given", "shifted")},
    arrange=lambda tensors, options: ((tensors["source"], tensors["target"], tensors["padding"]), dict(options)),
    perform=_perform,
    around=_around,
    shape=lambda x: x.target.shape,
    exact=None,
    exact_gradient=None,
    cases=cases(),
    differentiable=(),
    simpler=_simpler,
    valid=lambda x: x.source.shape[2] == x.d_model and x.source.shape[1] > 0
    and (x.padding is None or bool(x.padding.any(axis=1).all())),
    free_axes=lambda claims: ("B", "T"),
    with_nan=_with_nan,
)  # fmt: skip


def asked(model: Run, x: Inputs, question: Callable[[Any, Mapping[str, Any]], Any]) -> list[Array]:
    """The numbers of the tensors that a question to the model of x gives: ``question(it, tensors by name)``."""

    def put(make: Any, tensors: Mapping[str, Any]) -> Any:
        found = question(built(make, tensors["source"], x.model, x.d_model), tensors)
        return found if isinstance(found, tuple) else (found,)

    return [model.numbers(each) for each in model.ask(x, put)]


def finest(model: Run) -> Format:
    """The format in which least is rounded away, of those that the implementation declares."""
    return min((FORMATS[name] for name in model.implementation.dtypes), key=lambda each: each.unit)


def memory_of(it: Any, tensors: Mapping[str, Any]) -> Any:
    """The memory of a source."""
    return encode(it, tensors["source"], tensors["padding"])
