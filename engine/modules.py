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
from contextlib import nullcontext
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
ZEROS = {"missing_state": "zeros"}


def module(build: Build, *, like: str, names: Names | None = None, name: str = "", **declared: Any) -> Implementation:
    """An Implementation of a class with the interface of one of torch's.

    ``build`` makes a module from the arguments that ``like`` takes: torch.nn.RNN, torch.nn.LSTM or
    torch.nn.GRU (one layer, batch_first), torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer
    (batch_first, without dropout). It is asked in training mode, and as paths in evaluation mode, with and
    without gradients; of attention also for its weights, and with what a mask hides from all queries as padding.
    A recurrent one starts from zeros where it is given no state. ``names`` gives the module's own names for
    torch's parameters, where they differ; several, where it holds the parts of one apart. ``declared`` are
    further fields of the Implementation. Raises Misunderstood, with one line, where ``like`` is none of these,
    the class cannot be made, or the parameters do not match.
    """
    if like not in _RUNS:
        raise misunderstood(f"unknown interface {like!r}", str(like), list(_RUNS))
    subject, run, sizes, dialect = _RUNS[like]
    title = name or f"{getattr(build, '__module__', '')}.{getattr(build, '__qualname__', build)}".lstrip(".")
    own, dialect = dict(names or {}), {**dialect, **declared.get("dialect", {})}
    declared["dialect"] = dialect
    if dialect.get("reset") == "before":
        run = partial(run, own_offset=False)
    # torch has two offsets where the equations have one: a module may lack the second
    spare = {"bias_hh_l0"} if subject in ("rnn", "lstm") or dialect.get("reset") == "before" else set[str]()
    _check_names(title, build, BLOCK if subject == "encoder" else BATCH_FIRST, sizes, own, like, spare)
    modes: dict[str, dict[str, bool]] = {"eval": {}, "no_grad": {"recording": False}, **_WAYS.get(like, {})}
    ways = {path: partial(run, build, own, training=False, **options) for path, options in modes.items()}
    declared["paths"] = {**ways, **declared.get("paths", {})}
    return Implementation(name=title, subject=subject, call=partial(run, build, own), **declared)


def _recurrent(
    kind: str, build: Build, names: Names, x: Tensor, state: Any, w: Any, *,
    own_offset: bool = True, **mode: bool,
) -> Any:  # fmt: skip
    from seqlaws.adapters.torch_recurrent import GATES, mapped, packed

    # as wide as the weights: an input that does not fit is the module's own to refuse
    gate = GATES[kind][0]
    sizes = getattr(w, "W" + gate).shape[1], getattr(w, "U" + gate).shape[1]
    own = _made(build, x.device, x.dtype, *sizes, batch_first=True)
    second = set(_own_names("bias_hh_l0", names)) <= set(dict(own.named_parameters()))
    weights = {f"{name}_l0": each for name, each in packed(kind, w, shared=second, own=own_offset).items()}
    layered = None if state is None else mapped(lambda s: s.unsqueeze(0).contiguous(), state)
    hs, last = _asked(own, weights, names, (x, layered), {}, **mode)
    return hs, mapped(lambda s: s[0], last)


def _multihead(
    build: Build, names: Names, query: Tensor, key: Tensor, value: Tensor, w: Any, *,
    num_heads: int, mask: Tensor | None = None, is_causal: bool = False,
    need_weights: bool = False, apart: bool = False, **mode: bool,
) -> Tensor:  # fmt: skip
    from seqlaws.adapters.torch_multihead import masks_of, parameters

    sizes = (query.shape[0], num_heads, query.shape[1], key.shape[1])
    own = _made(build, query.device, query.dtype, w.W_q.shape[1], num_heads, batch_first=True)
    masks = masks_of(mask, is_causal, *sizes, query.device)
    if apart:
        masks = _padding_apart(masks, "attn_mask", "key_padding_mask", query.shape[0])
    options = {"need_weights": need_weights, **masks}
    out: Tensor = _asked(own, parameters(w), names, (query, key, value), options, **mode)[0]
    return out


def _encoder(
    build: Build, names: Names, x: Tensor, w: Any, *,
    num_heads: int, norm_first: bool, mask: Tensor | None = None, apart: bool = False, **mode: bool,
) -> Tensor:  # fmt: skip
    from seqlaws.adapters.torch_encoder import layer_masks, parameters

    options = {**BLOCK, "norm_first": norm_first}
    own = _made(build, x.device, x.dtype, w.W_q.shape[1], num_heads, len(w.b_1), **options)
    masks = layer_masks(mask, x.shape[0], num_heads, x.shape[1])
    if apart:
        masks = _padding_apart(masks, "src_mask", "src_key_padding_mask", x.shape[0])
    out: Tensor = _asked(own, parameters(w), names, (x,), masks, **mode)
    return out


def _padding_apart(masks: dict[str, Any], pairs: str, padding: str, batch: int) -> dict[str, Any]:
    """The same masks, with the keys that a bool mask of pairs hides from every query of an entry named as padding."""
    hidden = masks.get(pairs)
    if hidden is None or hidden.is_floating_point() or not hidden.numel() or padding in masks or "is_causal" in masks:
        return masks
    queries, keys = hidden.shape[-2:]
    by_entry = hidden.reshape(batch, -1, keys) if hidden.dim() == 3 else hidden.expand(batch, queries, keys)
    absent = by_entry.all(dim=1)
    among_real = hidden & ~absent[0] if hidden.dim() == 2 else (by_entry & ~absent[:, None]).reshape(hidden.shape)
    return {**masks, pairs: among_real, padding: absent}


APART = {"padding_apart": {"apart": True}}
_WAYS: dict[str, dict[str, dict[str, bool]]] = {
    "torch.nn.MultiheadAttention": {"need_weights": {"need_weights": True}, **APART},
    "torch.nn.TransformerEncoderLayer": APART,
}
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
def _made(build: Build, device: Any, dtype: Any, *sizes: int, **options: Any) -> nn.Module:
    """A module of these sizes; its own parameters are drawn, and never used."""
    with undisturbed(device):
        made: nn.Module = build(*sizes, **options).to(device=device, dtype=dtype)
    return made


def _twin(own: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    """A module that shares all with another but the tables of its parameters and of its parts, which are twins too."""
    if own not in twins:
        made = twins[own] = object.__new__(type(own))
        parts = {name: part if part is None else _twin(part, twins) for name, part in own._modules.items()}
        vars(made).update({**vars(own), "_parameters": dict(own._parameters), "_modules": parts})
    return twins[own]


def _asked(
    own: nn.Module, weights: Mapping[str, Tensor], names: Names, arguments: tuple[Any, ...], options: Any, *,
    training: bool = True, recording: bool = True,
) -> Any:  # fmt: skip
    """What the module says with these weights.

    A twin of it is asked, which keeps them: a checkpoint reads them again on the way back, when the module
    may have others. What it remembers of the call, the module remembers.
    """
    import torch

    present = dict(own.named_parameters())
    for name, each in weights.items():
        own_names = _own_names(name, names)
        for own_name, part in zip(own_names, each.chunk(len(own_names)), strict=True):
            path, _, leaf = own_name.rpartition(".")
            if own_name in present:  # as a Parameter it would be a leaf, and no gradient would reach the weight
                own.get_submodule(path)._parameters[leaf] = part  # type: ignore[assignment]
    own.train(training)  # now that the weights are there: some merge them on the way into evaluation
    twins: dict[nn.Module, nn.Module] = {}
    with nullcontext() if recording else torch.no_grad():
        out = _twin(own, twins)(*arguments, **options)
    for module, twin in twins.items():
        vars(module).update({**vars(twin), "_parameters": module._parameters, "_modules": module._modules})
    return out


def _own_names(name: str, names: Names) -> tuple[str, ...]:
    """The names that a module has for one of torch's parameters, which it may hold in equal parts."""
    own = names.get(name, name)
    return (own,) if isinstance(own, str) else tuple(own)


def _check_names(
    title: str, build: Build, options: Mapping[str, Any], sizes: tuple[int, ...], names: Names, like: str,
    spare: set[str],
) -> None:  # fmt: skip
    """Every weight but the spare ones has a place in the module, and every parameter of the module is a weight."""
    import torch

    due = set(dict(getattr(torch.nn, like.rpartition(".")[2])(*sizes, device="meta").named_parameters()))
    unknown = sorted(set(names) - due)
    if unknown:
        raise Misunderstood(f"{title}: {like} has no parameter {unknown[0]!r}; it has: {', '.join(sorted(due))}")
    present = set(_parameters(title, build, sizes, options))
    wanted = {own: name for name in due for own in _own_names(name, names)}
    if len(wanted) < sum(len(_own_names(name, names)) for name in due):
        raise Misunderstood(f"{title}: names={{…}} gives one parameter to two of torch's")
    missing = sorted(own for own, name in wanted.items() if own not in present and name not in spare)
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
