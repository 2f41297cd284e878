"""Modules of a user's own that stand in for one of torch's, judged by one line.

    mine = seqlaws.module(MyLSTM, like="torch.nn.LSTM")
    mine = seqlaws.module(MyGRU, like="torch.nn.GRU", names={"weight_ih_l0": "kernel", ...})
    mine = seqlaws.module(MyMHA, like="torch.nn.MultiheadAttention",
                          names={"in_proj_weight": ("q.weight", "k.weight", "v.weight"), ...})

The class is made with the arguments of the other one, and is given the weights of each case under the
names that the other one has for them, or under its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from seqlaws.errors import Misunderstood
from seqlaws.factory import undisturbed
from seqlaws.implementation import Implementation
from seqlaws.nearest import misunderstood

if TYPE_CHECKING:
    from torch import Tensor, nn

Build = Callable[..., "nn.Module"]
Names = Mapping[str, str | tuple[str, ...]]
# what torch holds besides the weights of a subject: a module may lack it
SPARE = {"rnn": ("bias_hh_l0",), "lstm": ("bias_hh_l0",)}
ZEROS = {"missing_state": "zeros"}


def module(build: Build, *, like: str, names: Names | None = None, name: str = "", **declared: Any) -> Implementation:
    """An Implementation of a class with the interface of one of torch's.

    ``build`` makes a module from the arguments that ``like`` takes: torch.nn.RNN, torch.nn.LSTM or
    torch.nn.GRU (one layer, batch_first), torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer
    (batch_first, without dropout). It is asked in training mode, and as a path in evaluation mode; a
    recurrent one starts from zeros where it is given no state. ``names`` gives the module's own names for
    torch's parameters, where they differ; several, where it holds the parts of one apart. ``declared`` are
    further fields of the Implementation. Raises Misunderstood, with one line, where ``like`` is none of these,
    the class cannot be made, or the parameters do not match.
    """
    if like not in _RUNS:
        raise misunderstood(f"unknown interface {like!r}", str(like), list(_RUNS))
    subject, run, sizes, dialect = _RUNS[like]
    title = name or f"{getattr(build, '__module__', '')}.{getattr(build, '__qualname__', build)}".lstrip(".")
    own = dict(names or {})
    _check_names(title, subject, build, sizes, own, like)
    declared["dialect"] = {**dialect, **declared.get("dialect", {})}
    if declared["dialect"].get("reset") == "before":
        run = partial(run, own_offset=False)
    declared["paths"] = {"eval": partial(run, build, own, training=False), **declared.get("paths", {})}
    return Implementation(name=title, subject=subject, call=partial(run, build, own), **declared)


def _recurrent(
    kind: str, build: Build, names: Names, x: Tensor, state: Any, w: Any, *,
    training: bool = True, own_offset: bool = True,
) -> Any:  # fmt: skip
    from seqlaws.adapters.torch_recurrent import GATES, mapped, packed

    # as wide as the weights: an input that does not fit is the module's own to refuse
    gate = GATES[kind][0]
    sizes = getattr(w, "W" + gate).shape[1], getattr(w, "U" + gate).shape[1]
    own = _made(build, x.device, x.dtype, *sizes, training=training, batch_first=True)
    second = set(_own_names("bias_hh_l0", names)) <= set(dict(own.named_parameters()))
    weights = {f"{name}_l0": each for name, each in packed(kind, w, shared=second, own=own_offset).items()}
    layered = None if state is None else mapped(lambda s: s.unsqueeze(0).contiguous(), state)
    hs, last = _asked(own, weights, names, (x, layered), {})
    return hs, mapped(lambda s: s[0], last)


def _multihead(
    build: Build, names: Names, query: Tensor, key: Tensor, value: Tensor, w: Any, *,
    num_heads: int, mask: Tensor | None = None, is_causal: bool = False, training: bool = True,
) -> Tensor:  # fmt: skip
    from seqlaws.adapters.torch_multihead import masks_of, parameters

    sizes = (query.shape[0], num_heads, query.shape[1], key.shape[1])
    own = _made(build, query.device, query.dtype, w.W_q.shape[1], num_heads, training=training, batch_first=True)
    options = {"need_weights": False, **masks_of(mask, is_causal, *sizes, query.device)}
    out: Tensor = _asked(own, parameters(w), names, (query, key, value), options)[0]
    return out


def _encoder(
    build: Build, names: Names, x: Tensor, w: Any, *,
    num_heads: int, norm_first: bool, mask: Tensor | None = None, training: bool = True,
) -> Tensor:  # fmt: skip
    from seqlaws.adapters.torch_encoder import layer_masks, parameters

    options = {**BLOCK, "norm_first": norm_first}
    own = _made(build, x.device, x.dtype, w.W_q.shape[1], num_heads, len(w.b_1), training=training, **options)
    out: Tensor = _asked(own, parameters(w), names, (x,), layer_masks(mask, x.shape[0], num_heads, x.shape[1]))
    return out


BATCH_FIRST = {"batch_first": True}
BLOCK = {"dropout": 0.0, "norm_first": True, **BATCH_FIRST}
_RUNS: dict[str, tuple[str, Callable[..., Any], tuple[int, ...], dict[str, str]]] = {
    "torch.nn.RNN": ("rnn", partial(_recurrent, "rnn"), (3, 2), ZEROS),
    "torch.nn.LSTM": ("lstm", partial(_recurrent, "lstm"), (3, 2), ZEROS),
    "torch.nn.GRU": ("gru", partial(_recurrent, "gru"), (3, 2), {**ZEROS, "reset": "after"}),
    "torch.nn.MultiheadAttention": ("multihead", _multihead, (4, 2), {}),
    "torch.nn.TransformerEncoderLayer": ("encoder", _encoder, (4, 2, 3), {}),
}


@lru_cache(maxsize=256)
def _made(build: Build, device: Any, dtype: Any, *sizes: int, training: bool, **options: Any) -> nn.Module:
    """A module of these sizes in one of its modes; its own parameters are drawn, and never used."""
    with undisturbed(device):
        made: nn.Module = build(*sizes, **options).to(device=device, dtype=dtype)
    return made.train(training)


def _asked(
    own: nn.Module, weights: Mapping[str, Tensor], names: Names, arguments: tuple[Any, ...], options: Any
) -> Any:
    from torch.func import functional_call

    present = dict(own.named_parameters())
    given = {
        own_name: part
        for name, each in weights.items()
        for own_name, part in zip(_own_names(name, names), each.chunk(len(_own_names(name, names))), strict=True)
    }
    return functional_call(own, {name: each for name, each in given.items() if name in present}, arguments, options)


def _own_names(name: str, names: Names) -> tuple[str, ...]:
    """The names that a module has for one of torch's parameters, which it may hold in equal parts."""
    own = names.get(name, name)
    return (own,) if isinstance(own, str) else tuple(own)


def _check_names(title: str, subject: str, build: Build, sizes: tuple[int, ...], names: Names, like: str) -> None:
    """Every weight has a place in the module, and every parameter of the module is a weight."""
    import torch

    due = set(dict(getattr(torch.nn, like.rpartition(".")[2])(*sizes, device="meta").named_parameters()))
    unknown = sorted(set(names) - due)
    if unknown:
        raise Misunderstood(f"{title}: {like} has no parameter {unknown[0]!r}; it has: {', '.join(sorted(due))}")
    present = set(_parameters(title, build, sizes, BLOCK if subject == "encoder" else BATCH_FIRST))
    wanted = {own: name for name in due for own in _own_names(name, names)}
    if len(wanted) < sum(len(_own_names(name, names)) for name in due):
        raise Misunderstood(f"{title}: names={{…}} gives one parameter to two of torch's")
    missing = sorted(own for own, name in wanted.items() if own not in present and name not in SPARE.get(subject, ()))
    extra = sorted(present - set(wanted))
    if missing or extra:
        what = f"no parameter {missing[0]!r}" if missing else f"a parameter {extra[0]!r} to which no weight belongs"
        raise Misunderstood(
            f"{title} has {what}; names={{…}} maps {', '.join(sorted(due))} to its own names, or to a tuple of them"
        )


def _parameters(title: str, build: Build, sizes: tuple[int, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a module that is made as it will be when it is asked."""
    import torch

    called = ", ".join([*map(str, sizes), *(f"{name}={value}" for name, value in options.items())])
    try:
        with undisturbed(torch.device("cpu")):
            made = build(*sizes, **options)
    except Exception as error:  # whatever somebody's class raises
        raise Misunderstood(f"{title}({called}) cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module) or isinstance(made, torch.jit.ScriptModule):
        raise Misunderstood(f"{title}({called}) is a {type(made).__name__}; a class of torch.nn.Module was due")
    return dict(made.named_parameters())
