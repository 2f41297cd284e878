"""Subjects: the kinds of thing that are specified. A file of `spec/` defines one by defining it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from seqlaws.errors import Misunderstood
from seqlaws.formats import Array, Format
from seqlaws.inputs import Inputs
from seqlaws.verdict import per_entry

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from seqlaws.law import Law

SUBJECTS: dict[str, Subject] = {}


class Case(Protocol):
    """One drawn input: sizes, flags, a fill and a seed, but no numbers."""

    def inputs(self, format: Format) -> Inputs:
        """The case made concrete in one format."""


@dataclass(frozen=True)
class Claims:
    """What an implementation says of itself: its capabilities and its dialect."""

    can: frozenset[str]
    dialect: Mapping[str, str]


@dataclass(frozen=True)
class Cases:
    """Where the cases of a law come from: some that always run first, and a strategy for the rest."""

    always: Callable[[Claims], Iterable[Case]]
    strategy: Callable[[Claims], SearchStrategy[Any]]


def nothing(*_: Any) -> tuple[()]:
    """A hook that is not given."""
    return ()


@dataclass(frozen=True)
class Subject:
    """A kind of thing that is specified.

    ``arrange`` turns tensors (by name) and options into the arguments of a call; ``shape`` gives
    the shape of the output; ``exact`` the exact value of the output and the rounding error
    allowed to it; ``exact_gradient`` the same for the gradients of ⟨output, cotangent⟩.
    Where a call returns several tensors, ``unpack`` puts them into one tuple and ``pieces`` gives
    their shapes: laws see them as one output [B,N,W], one after another along the second axis.
    ``dialects`` lists the values of each convention, the default first. ``valid`` says whether inputs make sense at
    all, and ``is_claimed`` whether an implementation with some claims must accept them. ``simpler`` proposes
    plainer inputs to the reducer, and ``others`` proposes inputs of other sizes or contents that whoever
    accepts these accepts too. ``takes`` says what goes in: "arrays", of which the floating ones decide
    the result's dtype; "positions", which do not decide it, even where they are floating; or "sizes"
    and no array at all. ``slack`` widens a bound so that it covers outputs that are wrong but of the
    right size (see `Output`).

    Some implementations are not functions of tensors. ``complaint`` says what is wrong with a thing that
    cannot be one (by default: that it cannot be called), ``perform`` how to make it answer, where that is
    more than a call, and ``around`` puts a change around that answer. Without ``exact`` there is no
    reference, and an implementation is compared with its own rounding error. Where ``tensors`` is False
    there are no numbers in it: laws `ask` it, the contract says nothing, and it is judged once, not for
    every device and dtype.

    Three hooks serve the contract; a law that needs one is stated only where it is given.
    ``free_axes`` names the axes whose length may be anything, 0 too, under given claims; letters
    in one word change together (``("B", "QK")``). ``with_nan`` puts NaN into an input and says (by
    a mask that broadcasts to the output) which outputs must be NaN then. ``malformed`` makes inputs
    that contradict themselves, and that any program refuses by itself. ``misfits`` makes more of these, which some
    programs never come upon: a loop over the keys reads as many values. They are refused where the dialect says so.
    """

    name: str
    signature: str
    capabilities: Mapping[str, str]
    dialects: Mapping[str, tuple[str, ...]]
    arrange: Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]
    shape: Callable[[Inputs], tuple[int, ...]]
    exact: Callable[[Inputs, Mapping[str, str]], tuple[Array, Array]] | None
    exact_gradient: Callable[[Inputs, Array, Mapping[str, str]], Mapping[str, tuple[Array, Array]]] | None
    cases: Cases
    differentiable: tuple[str, ...]
    simpler: Callable[[Inputs], Iterable[Inputs]]
    valid: Callable[[Inputs], bool] = field(default=lambda x: True)
    is_claimed: Callable[[Inputs, Claims], bool] = field(default=lambda x, claims: True)
    complaint: Callable[[Any], str] = field(default=lambda call: "" if callable(call) else "not something to call")
    perform: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any] = field(
        default=lambda call, arguments, options: call(*arguments, **options)
    )
    around: Callable[[Any, Callable[[Any], Any]], Any] = field(default=lambda call, change: change(call))
    tensors: bool = True
    unpack: Callable[[Any], Any] = field(default=lambda result: result)
    pieces: Callable[[Inputs], tuple[tuple[int, ...], ...]] = nothing
    slack: Callable[[Inputs, Array], Array] = field(default=lambda x, bound: per_entry(bound))
    others: Callable[[Inputs], Iterable[Inputs]] = nothing
    takes: str = "arrays"
    free_axes: Callable[[Claims], Iterable[str]] = nothing
    with_nan: Callable[[Inputs, Mapping[str, str]], Iterable[tuple[Inputs, Array]]] = nothing
    malformed: Callable[[Inputs], Iterable[Inputs]] = nothing
    misfits: Callable[[Inputs], Iterable[Inputs]] = nothing

    def __post_init__(self) -> None:
        SUBJECTS[self.name] = self

    @property
    def laws(self) -> list[Law]:
        """The laws of this subject, in the order in which they are judged."""
        from seqlaws.law import laws_of

        return laws_of(self.name)

    def claims(self, can: Iterable[str] | None, dialect: Mapping[str, str]) -> Claims:
        """Declared capabilities and dialect, completed by the defaults; one line if they are unknown."""
        declared = frozenset(self.capabilities if can is None else can)
        for name in sorted(declared - set(self.capabilities)):
            raise Misunderstood(
                f"unknown capability {name!r} of {self.name}; there are: {', '.join(self.capabilities)}"
            )
        for key, value in dialect.items():
            if key not in self.dialects:
                raise Misunderstood(
                    f"unknown dialect {key!r} of {self.name}; there are: {', '.join(self.dialects) or 'none'}"
                )
            if value not in self.dialects[key]:
                raise Misunderstood(
                    f"unknown dialect {key}={value!r} of {self.name}; there are: {', '.join(self.dialects[key])}"
                )
        return Claims(declared, {key: values[0] for key, values in self.dialects.items()} | dict(dialect))
