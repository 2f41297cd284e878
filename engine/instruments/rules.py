"""The rules of shadow memory: what each family of operators lets through.

A rule takes a `Call` and returns the shadow of the result, or a tuple of them. The families are told
by name; whatever torch itself tags as elementwise needs no entry. Constants count by their value:
zero times x, x + (−∞), and what softmax makes of a masked score, are constants again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial, reduce
from typing import Any

import torch
from torch import Tensor

from seqlaws.instruments.shadow import CONSTANT, LEARNED, Call, base_name

Rule = Callable[[Call], Any]
RULES: dict[str, Rule] = {}
MOVES: set[str] = set()
MASKED = -1e4
"""A constant of at most this much, added to a score, is meant to hide it: exp(−10⁴) is zero in every dtype."""


def rules(*names: str, moves: bool = False) -> Callable[[Rule], Rule]:
    """Enter a rule for operators of these names; ``moves``: they compute nothing."""

    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        MOVES.update(names if moves else ())
        return rule

    return enter


@cache
def rule_of(func: Any) -> Rule | None:
    """The rule for an operator; None if there is none."""
    # the modules below enter their rules when they are imported
    from seqlaws.instruments import rules_linear, rules_moving  # noqa: F401

    tags = getattr(func, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags:
        return _random
    named = RULES.get(base_name(func))
    if named is None and not any("Tensor" in str(each.type) for each in func._schema.arguments):
        return _made
    return named or (elementwise if _is_elementwise(func) else None)


def _is_elementwise(func: Any) -> bool:
    """Whether torch tags an operator, or a variant of it that is not in place, as elementwise."""
    packet = getattr(torch.ops.aten, base_name(func), None) if func.namespace == "aten" else None
    variants = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    return any(torch.Tag.pointwise in each.tags for each in (func, *variants))


def _random(call: Call) -> Tensor:
    return torch.minimum(call.plus(_nearest(call)), torch.tensor(LEARNED))


@rules(
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_empty_strided", "zero", "eye", "set", "resize", moves=True,
)  # fmt: skip
def _made(call: Call) -> Tensor:
    """Made of nothing that was read."""
    return torch.tensor(CONSTANT)


@rules("fill", moves=True)
def _filled(call: Call) -> Tensor:
    value = call["value"]
    return call.of(value) if isinstance(value, Tensor) else torch.tensor(CONSTANT)


def elementwise(call: Call) -> Tensor:
    """Each element of the result depends on the same element of every operand."""
    return call.plus(reduce(torch.minimum, [call.of(tensor) for tensor in call.tensors]))


@rules("_to_copy", "clone", "lift_fresh", "positive", moves=True)
def _converted(call: Call) -> Tensor:
    """A copy, or a conversion of its numbers: nothing is computed."""
    source = call["self"]
    _carry(call, source)
    return call.of(source).clone()


@rules("mul", "div", "multiply", "divide", "bitwise_and", "logical_and")
def _multiplied(call: Call) -> Tensor:
    """A constant zero hides the other factor."""
    result = elementwise(call)
    for tensor in call.tensors[:1] if call.name in ("div", "divide") else call.tensors:
        zero = _constant_where(call, tensor, lambda values: values == 0)
        if zero is not None:
            result = torch.where(zero, CONSTANT, result)
    return result


@rules("add", "sub", "rsub", "subtract")
def _added(call: Call) -> Tensor:
    """A constant infinity hides what it is added to; a large negative one does so in the next softmax."""
    result = elementwise(call)
    tensors = call.tensors
    for tensor in tensors:
        infinite = _constant_where(call, tensor, torch.isinf)
        if infinite is not None:
            result = torch.where(infinite, CONSTANT, result)
    call.masked = _masked(call)
    return result


def _low(way: int, values: Tensor) -> Tensor:
    return way * values <= MASKED


def _masked(call: Call) -> Tensor | None:
    """Where a sum is a score with a large negative constant added, now or before, and none that takes it off."""
    if call.name == "rsub" or call["alpha"] not in (None, 1):
        return None
    first, other = call["self"], call["other"]
    hidden = call.shadow.hidden(first)
    if not isinstance(other, Tensor):
        return hidden if abs(other) < -MASKED / 2 else None
    sign = 1 if call.name == "add" else -1
    undone = _constant_where(call, other, lambda values: sign * values >= -MASKED / 2)
    if hidden is not None and undone is not None:
        hidden = hidden & ~undone
    for tensor, way in ((other, sign), *(((first, 1),) if sign == 1 else ())):
        large = _constant_where(call, tensor, partial(_low, way))
        if large is not None:
            hidden = large if hidden is None else hidden | large
    return hidden


@rules("where", "masked_fill")
def _chosen(call: Call) -> Tensor:
    """A constant condition chooses one operand; any other lets both through."""
    if call.name == "where":
        condition, one, other = call["condition"], call["self"], call["other"]
    else:
        condition, one, other = call["mask"], call["value"], call["self"]
    if not isinstance(condition, Tensor) or one is None:  # where(condition) lists places
        return call.plus(_nearest(call))
    known = call.of(condition)
    a, b = (call.of(each) if isinstance(each, Tensor) else torch.tensor(CONSTANT) for each in (one, other))
    either = torch.minimum(torch.minimum(a, b), known)
    return call.plus(torch.where(known == CONSTANT, torch.where(condition, a, b), either))


@rules("exp")
def _exp(call: Call) -> Tensor:
    """Of a masked score nothing is left."""
    hidden = call.shadow.hidden(call["self"])
    result = elementwise(call)
    return result if hidden is None else torch.where(hidden, CONSTANT, result)


@rules("_softmax", "_safe_softmax", "_log_softmax")
def _softmax(call: Call) -> Tensor:
    """Each weight depends on every score of its row that is not masked; a single one has the weight 1."""
    scores, dim = call["self"], call["dim"]
    value = call.of(scores)
    dead = torch.zeros_like(value, dtype=torch.bool) if (hid := call.shadow.hidden(scores)) is None else hid.clone()
    low = _constant_where(call, scores, lambda values: values <= MASKED)
    if low is not None:
        dead |= low
    gone = (value == CONSTANT) & (scores == -math.inf)
    dead = torch.where(dead.all(dim, keepdim=True), gone, dead)  # equal masks cancel
    terms = scores.shape[dim] if scores.dim() else 1
    if call.name == "_log_softmax":
        nearest = torch.where(dead, CONSTANT, value).amin(dim, keepdim=True)
        result = torch.minimum(nearest, value)
        return torch.where(gone, CONSTANT, call.plus(result, steps=3, reductions=2, terms=terms))
    nearest = torch.where(dead, CONSTANT, value).amin(dim, keepdim=True)
    alone = (~dead).sum(dim, keepdim=True) <= 1
    result = call.plus(nearest, steps=3, reductions=2, terms=terms).expand(value.shape)
    return torch.where(dead | alone, CONSTANT, result)


REDUCTIONS = (
    "sum", "nansum", "mean", "amax", "amin", "aminmax", "max", "min", "prod", "var", "var_mean", "std", "std_mean",
    "logsumexp", "norm", "linalg_vector_norm", "any", "all", "argmax", "argmin", "count_nonzero", "median", "mode",
    "kthvalue",
)  # fmt: skip


@rules(*REDUCTIONS)
def _reduced(call: Call) -> Any:
    """Each result depends on everything along the reduced axes."""
    source = call["self"]
    if call["other"] is not None:
        return elementwise(call)  # max(a, b)
    value = call.of(source)
    hidden = call.shadow.hidden(source)
    if hidden is not None and call.name in ("amax", "max"):
        value = torch.where(hidden, CONSTANT, value)
    dims = _dims(call["dim"], source.dim())
    terms = math.prod(source.shape[dim] for dim in dims)
    if value.numel() == 0:
        return torch.tensor(CONSTANT)
    nearest = value.amin(dims, keepdim=bool(call["keepdim"])) if dims else value.clone()
    steps = {"sum": 0, "amax": 0, "amin": 0, "max": 0, "min": 0, "any": 0, "all": 0}.get(call.name, 2)
    return call.plus(nearest, steps=steps, reductions=1, terms=terms)


@rules("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
def _scanned(call: Call) -> Any:
    """Each result depends on everything up to its place."""
    source = call["self"]
    if source.dim() == 0:
        return elementwise(call)
    result = torch.cummin(call.of(source), call["dim"]).values
    return call.plus(result, steps=0, reductions=1, terms=source.shape[call["dim"]])


@rules("_fft_r2c", "_fft_c2c", "_fft_c2r")
def _transformed(call: Call) -> Tensor:
    """Each coefficient depends on everything along the transformed axes."""
    source = call["self"]
    dims = tuple(call["dim"])
    nearest = call.of(source).amin(dims, keepdim=True)
    terms = math.prod(source.shape[dim] for dim in dims)
    return call.plus(nearest, steps=1, reductions=1, terms=terms).expand(call.out.shape)


@rules(
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "_batch_norm_with_update",
)  # fmt: skip
def _batch_normalised(call: Call) -> Any:
    """In training each channel depends on the whole batch; else on nothing but itself."""
    value = call.of(call["input"])
    channel = (1, -1, *(1,) * (value.dim() - 2))
    terms = 1
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(call[name], Tensor):
            value = torch.minimum(value, call.of(call[name]).view(channel))
    if call["training"]:
        across = tuple(axis for axis in range(value.dim()) if axis != 1)
        terms = value.numel() // max(1, value.shape[1])
        value = value.amin(across, keepdim=True)
    result = call.plus(value, steps=2, reductions=1, terms=terms)
    each = result.amin(tuple(axis for axis in range(value.dim()) if axis != 1))
    kept = torch.tensor(CONSTANT) if not call["training"] else each
    return tuple(result.expand(out.shape) if out.dim() > 1 else kept for out in call.out)


@rules("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
def _pooled(call: Call) -> Tensor:
    """Each mean depends on its window."""
    value = -call.of(call["self"])  # the smallest of a window is the largest of the negatives
    spread = int(call.name[-2])
    if call.name.startswith("_adaptive"):
        pool = torch.nn.functional.adaptive_max_pool2d if spread == 2 else torch.nn.functional.adaptive_max_pool3d
        return call.plus(-pool(value, call["output_size"]), steps=1, reductions=1, terms=2)
    kernel = call["kernel_size"]
    pool = getattr(torch, f"max_pool{spread}d")
    nearest = -pool(value, kernel, call["stride"] or kernel, call["padding"], ceil_mode=call["ceil_mode"])
    return call.plus(nearest, steps=1, reductions=1, terms=math.prod(kernel))


@rules("_cdist_forward")
def _distances(call: Call) -> Tensor:
    """Each distance depends on two vectors."""
    rows, columns = call.of(call["x1"]).amin(-1), call.of(call["x2"]).amin(-1)
    nearest = torch.minimum(rows.unsqueeze(-1), columns.unsqueeze(-2))
    return call.plus(nearest, steps=3, reductions=1, terms=call["x1"].shape[-1])


def _dims(dim: Any, count: int) -> tuple[int, ...]:
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return tuple(range(count))
    return tuple(dim) if isinstance(dim, list | tuple) else (dim,) if count else ()


def _nearest(call: Call) -> Tensor:
    return min((call.of(each).amin() for each in call.tensors if each.numel()), default=torch.tensor(CONSTANT))


def _constant_where(call: Call, tensor: Tensor, test: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Where a tensor is constant and its value passes a test; None if nowhere."""
    constant = call.of(tensor) == CONSTANT
    if not constant.any() or call.overwrites(tensor):
        return None
    found = constant & test(tensor)
    return found if found.any() else None


def _carry(call: Call, *sources: Tensor) -> None:
    """What was masked stays so in a copy."""
    for source in sources:
        hidden = call.shadow.hidden(source)
        if hidden is not None:
            call.masked = hidden.clone()
