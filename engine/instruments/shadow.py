"""Shadow memory: beside every number that a program computes, how far it is from the marked inputs.

One dispatch mode sees every operator of the program while it runs on real data. Beside each storage
lies a second one, the shadow, with one float for each element. A view of the storage has the same
view of the shadow, so views, aliases, slices and writes in place need no rule of their own; only
operators that compute do (`rules`). A shadow holds

    v < REACHED     the element depends on a marked input, at distance v
    UNMARKED        it depends on the input, but on no marked position of it
    LEARNED         it depends on parameters or random numbers: it may have any value
    CONSTANT        it is the same in every call, so its value counts: zero times x is no dependence

and an operator gives its result the smallest of what it reads, plus its cost. With positive costs the
minimum is the shortest path. With negative costs it is the longest, with its sign changed: the
sequential depth. What comes out of an operator without a rule is taken to depend on all that went in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._pytree import tree_leaves

from seqlaws.instruments.fused import WRITTEN_OUT
from seqlaws.instruments.modes import Seeing

REACHED, UNMARKED, LEARNED, CONSTANT = 5e5, 1e6, 2e6, math.inf
DATA = 1.5e6  # below: depends on the input

Cost = Callable[[int, int, int], float]
"""The cost of an operator of so many elementwise steps and so many reductions over so many terms."""


def unit(steps: int, reductions: int, terms: int) -> float:
    """Every operator takes one step, whatever its size: the model of published complexity tables."""
    return 1


def fan_in_2(steps: int, reductions: int, terms: int) -> float:
    """An adder has two inputs: a sum over n terms takes ⌈log₂ n⌉ steps."""
    return max(1, steps + reductions * math.ceil(math.log2(max(1, terms))))


def longest(cost: Cost) -> Cost:
    """The same cost counted downwards, so that the smallest value is the longest path."""
    return lambda steps, reductions, terms: -cost(steps, reductions, terms)


@dataclass
class Call:
    """One operator at work: what it was given and what it gave, with their shadows."""

    shadow: Shadow
    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    masked: Tensor | None = None
    """Set by a rule: where the result is masked by a large negative constant."""

    def __getitem__(self, name: str) -> Any:
        """An argument by the name that it has in the operator's schema, or its default."""
        for place, argument in enumerate(self.func._schema.arguments):
            if argument.name == name:
                if place < len(self.args):
                    return self.args[place]
                return self.kwargs.get(name, argument.default_value)
        return None

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor that is read; what is written by `out=` is not."""
        read = {name: value for name, value in self.kwargs.items() if not self.writes(name)}
        return [leaf for leaf in tree_leaves((self.args, read)) if isinstance(leaf, Tensor)]

    @property
    def written(self) -> list[Tensor]:
        """Every tensor that is written to, one by one or in lists."""
        names = [each.name for each in self.func._schema.arguments if each.alias_info and each.alias_info.is_write]
        return [leaf for name in names for leaf in tree_leaves(self[name]) if isinstance(leaf, Tensor)]

    def overwrites(self, tensor: Tensor) -> bool:
        """Whether the numbers of a tensor are no longer those that were read."""
        return bool(self.func._schema.is_mutable) and _key(tensor) in map(_key, self.written)

    def writes(self, name: str) -> bool:
        """Whether an argument is one that the operator writes and does not read."""
        return any(argument.name == name and argument.is_out for argument in self.func._schema.arguments)

    def of(self, tensor: Tensor) -> Tensor:
        """The shadow of a tensor, in its shape."""
        return self.shadow.of(tensor)

    def plus(self, value: Tensor, *, steps: int = 1, reductions: int = 0, terms: int = 1) -> Tensor:
        """A shadow after the cost of one operator."""
        return value + self.shadow.cost(steps, reductions, terms)


class Shadow(Seeing):  # type: ignore[no-untyped-call]
    """Runs a program with its shadow. ``unknown`` counts operators without a rule, by name; ``worst``
    those that move data by data, for which every place is assumed; ``leaks`` those by which data
    left torch."""

    def __init__(self, cost: Cost, learned: Iterable[Tensor] = (), fixed: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.cost = cost
        self.unknown: dict[str, int] = {}
        self.worst: dict[str, int] = {}
        self.leaks: dict[str, int] = {}
        self._bases: dict[int, Tensor] = {}
        self._bytes: dict[int, int] = {}
        self._hidden: dict[int, Tensor] = {}
        self._own: set[int] = set()
        self._alive: list[Any] = []
        for tensor in learned:
            self._new(tensor, LEARNED)
        for tensor in fixed:
            self._new(tensor, CONSTANT)

    def mark(self, tensor: Tensor, value: Tensor) -> None:
        """Give a tensor its shadow before the program runs."""
        self._new(tensor, CONSTANT)
        self.of(tensor).copy_(value)

    def of(self, tensor: Tensor) -> Tensor:
        """The shadow of a tensor: same size and strides, over the shadow of its storage."""
        return self._view(self._base(tensor), tensor)

    def hidden(self, tensor: Tensor) -> Tensor | None:
        """Where a large negative constant was added to a number, as one masks scores; None: nowhere."""
        base = self._hidden.get(_key(tensor))
        return None if base is None else self._view(base, tensor)

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operator, and give its result a shadow."""
        from seqlaws.instruments.rules import rule_of

        schema = func._schema
        if only_views(func):
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self._base(leaf)
            return func(*args, **kwargs)
        rule = rule_of(func)
        if rule is None and (done := self._decomposed(func, args, kwargs)) is not NotImplemented:
            return done
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in given:
            self._base(tensor)
        out = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if not results and not schema.is_mutable:
            self._left(func, given, out)
            return out
        if not schema.is_mutable and all(_key(result) in self._bases for result in results):
            return out  # a view: it has its shadow already
        call = Call(self, base_name(func), func, tuple(args), kwargs, out)
        values = None
        if rule is not None:
            with suppress(Exception):  # a case that the rule did not foresee is one without a rule
                values = rule(call)
        if values is None:
            self.unknown[call.name] = self.unknown.get(call.name, 0) + 1
            values = conservative(call)
        for result, value in zip(results, _each(values, len(results)), strict=True):
            self._write(result, value)
            self._hide(result, call.masked)
        if schema.is_mutable:
            returned = {_key(result) for result in results}
            for tensor in call.written:
                if _key(tensor) not in returned:
                    self._write(tensor, conservative(call))
                    self._hide(tensor, None)
        return out

    def _decomposed(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operator as the simpler ones that it stands for, each seen in turn."""
        simpler = WRITTEN_OUT.get(func) or (None if func._schema.is_mutable else decomposition_table.get(func))
        if simpler is not None:
            with suppress(Exception), self:  # what cannot be taken apart is run as it is
                return simpler(*args, **kwargs)
        return NotImplemented

    def _left(self, func: Any, given: Sequence[Tensor], out: Any) -> None:
        if out is not None and any(bool((self.of(tensor) < DATA).any()) for tensor in given):
            name = base_name(func)
            self.leaks[name] = self.leaks.get(name, 0) + 1

    def _base(self, tensor: Tensor) -> Tensor:
        base = self._bases.get(_key(tensor))
        if base is None or self._bytes[_key(tensor)] != tensor.untyped_storage().nbytes():  # it is new, or resized
            base = self._new(tensor, LEARNED if tensor.requires_grad else CONSTANT)
        return base

    def _new(self, tensor: Tensor, value: float) -> Tensor:
        size = tensor.untyped_storage().nbytes() // tensor.element_size()
        base = torch.full((size,), value, dtype=torch.float32, device=tensor.device)
        return self._keep(tensor, base)

    def _keep(self, tensor: Tensor, base: Tensor) -> Tensor:
        key = _key(tensor)
        if key not in self._bases:
            self._alive.append(tensor.untyped_storage())  # else its place could be given to another one
        self._bases[key] = base
        self._bytes[key] = tensor.untyped_storage().nbytes()
        self._own.add(_key(base))
        return base

    def _view(self, base: Tensor, tensor: Tensor) -> Tensor:
        many = self._smaller(base, tensor)
        if many == 1:
            return base.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
        if many > 1:  # pairs of floats seen as complex numbers
            return _grouped(base, tensor, many).amin(-1)
        base = self._keep(tensor, base.repeat_interleave(round(1 / many)))  # complex numbers seen as pairs
        return base.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())

    def _smaller(self, base: Tensor, tensor: Tensor) -> float:
        """How many elements of the shadow lie beside one element of the tensor."""
        stored = tensor.untyped_storage().nbytes()
        return base.numel() * tensor.element_size() / stored if stored and base.numel() else 1

    def _write(self, result: Tensor, value: Tensor) -> None:
        known = _key(result) in self._bases
        if not known and self._fresh(value, result):
            self._keep(result, value.view(-1))
            return
        base = self._base(result) if known else self._new(result, CONSTANT)
        many = self._smaller(base, result)
        if many > 1:
            _grouped(base, result, round(many)).copy_(value.expand(result.shape).unsqueeze(-1))
        else:
            self._view(base, result).copy_(value)

    def _hide(self, result: Tensor, where: Tensor | None) -> None:
        base = self._hidden.get(_key(result))
        if where is None and base is None:
            return
        if base is None:
            base = self._hidden[_key(result)] = torch.zeros_like(self._bases[_key(result)], dtype=torch.bool)
        self._view(base, result).copy_(torch.tensor(False) if where is None else where)

    def _fresh(self, value: Tensor, result: Tensor) -> bool:
        """Whether a computed shadow can itself be the shadow of the storage of a new result."""
        return (
            value.shape == result.shape
            and value.is_contiguous()
            and result.is_contiguous()
            and result.numel() * result.element_size() == result.untyped_storage().nbytes()
            and result.numel() * value.element_size() == value.untyped_storage().nbytes()
            and _key(value) not in self._own
        )


def _grouped(base: Tensor, tensor: Tensor, many: float) -> Tensor:
    """The shadow of a tensor each of whose elements lies over several of the shadow, those along a last axis."""
    count = round(many)
    strides = tuple(count * each for each in tensor.stride())
    return base.as_strided((*tensor.size(), count), (*strides, 1), count * tensor.storage_offset())


def conservative(call: Call) -> Tensor:
    """Every result depends on everything that was read."""
    nearest = min((call.of(tensor).amin() for tensor in call.tensors if tensor.numel()), default=torch.tensor(CONSTANT))
    return call.plus(nearest)


def base_name(func: Any) -> str:
    """The name of an operator, without the mark of its variant in place."""
    name = str(getattr(func, "overloadpacket", func)).removeprefix("aten.")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


@cache
def only_views(func: Any) -> bool:
    """Whether an operator only returns another view of what it was given, or turns it into one."""
    if torch.Tag.inplace_view in func.tags and not base_name(func).startswith("resize"):
        return True
    returned = [each.alias_info for each in func._schema.returns]
    return bool(returned) and all(each is not None and not each.is_write for each in returned)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _each(values: Any, count: int) -> Sequence[Tensor]:
    return values if isinstance(values, tuple) else (values,) * count
