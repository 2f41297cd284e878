"""torch.nn.RNN, LSTM and GRU, and their cells: one direction of one layer, in every form in which it comes.

A layer is asked with the batch first and second, packed with full and with ragged lengths, one
sequence at a time, step by step through the cell, and as the backward direction of a layer that runs
both ways, on sequences that are turned round.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqlaws.formats import DTYPES
from seqlaws.implementation import Implementation, Known
from seqlaws.spec.gru import GruCase
from seqlaws.spec.lstm import LstmCase
from seqlaws.spec.rnn import RnnCase

LAYERS: Mapping[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CELLS: Mapping[str, Any] = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
GATES = {"rnn": ("",), "lstm": ("_i", "_f", "_g", "_o"), "gru": ("_r", "_z", "_n")}
Context = Callable[[], AbstractContextManager[Any]]


def packed(kind: str, w: Any, *, shared: bool = True, own: bool = True) -> dict[str, Tensor]:
    """The weights as torch packs them: the input and the state have an offset each.

    Of what is ``shared`` among them every other entry goes to the state's, so that neither can be left out;
    otherwise all goes to the input's. The second offset of a GRU's candidate is the state's ``own``, unless the
    reset gate comes before the product: then it is one of the two that add up.
    """
    named = {
        f"{theirs}_{side}": torch.cat([getattr(w, ours + gate) for gate in GATES[kind]])
        for theirs, side, ours in (("weight", "ih", "W"), ("weight", "hh", "U"), ("bias", "ih", "b"))
    }
    offset, count = named["bias_ih"], len(named["bias_ih"])
    place = torch.arange(count, device=offset.device)
    own &= kind == "gru"
    size = 2 * count // 3 if own else count  # of the offsets that may be shared
    there, zero = (place % 2 == 1) & (place < size) & shared, torch.zeros_like(offset)
    named["bias_ih"], named["bias_hh"] = torch.where(there, zero, offset), torch.where(there, offset, zero)
    if own:
        named["bias_hh"] = torch.cat([named["bias_hh"][:size], w.c_n])
    return named


@lru_cache(maxsize=256)
def empty(make: Callable[..., nn.Module], width: int, units: int, **options: Any) -> nn.Module:
    """A module of these sizes without weights: every call brings its own."""
    return make(width, units, **options, device="meta")


def mapped(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """The state with every part of it changed."""
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)


def layer(
    x: Tensor,
    state: Any,
    w: Any,
    *,
    kind: str,
    batch_first: bool = True,
    lengths: list[int] | None = None,
    both: bool = False,
    within: Context = nullcontext,
) -> Any:
    """x [B,T,D] and a state of [B,H] to (hs, last) by the layer; with ``both``, by its backward direction."""
    named = packed(kind, w)
    size = named["weight_hh"].shape[1]
    parameters = {f"{name}_l0": 0.5 * each if both else each for name, each in named.items()}
    if both:
        parameters |= {f"{name}_l0_reverse": each for name, each in named.items()}
        # the forward direction has other weights, and starts from another state
        state = None if state is None else mapped(lambda s: torch.stack([0.5 * s, s]), state)
    elif state is not None:
        state = mapped(lambda s: s.unsqueeze(0).contiguous(), state)
    module = empty(LAYERS[kind], named["weight_ih"].shape[1], size, batch_first=batch_first, bidirectional=both)
    given: Any = x if batch_first else x.transpose(0, 1)
    if lengths is not None:
        given = pack_padded_sequence(given, torch.tensor(lengths), batch_first, enforce_sorted=len(set(lengths)) < 2)
    with within():
        hs, last = functional_call(module, parameters, (given, state))
    if lengths is not None:
        hs, _ = pad_packed_sequence(hs, batch_first, total_length=x.shape[1])
    hs = hs if batch_first else hs.transpose(0, 1)
    return hs[..., -size:], mapped(lambda s: s[-1], last)


def full_lengths(x: Tensor, state: Any, w: Any, *, kind: str, within: Context = nullcontext) -> Any:
    """Packed, all sequences equally long."""
    return layer(x, state, w, kind=kind, lengths=[x.shape[1]] * x.shape[0], within=within)


def ragged(x: Tensor, state: Any, w: Any, *, kind: str, both: bool = False, within: Context = nullcontext) -> Any:
    """Packed among shorter and longer sequences, with loud padding behind."""
    count, length = x.shape[0], x.shape[1]
    padded = torch.cat([x, 100.0 + x.new_zeros((count, 2, x.shape[2]))], dim=1)
    company = [1 + place % (length + 2) for place in range(count)]
    doubled = None if state is None else mapped(lambda s: torch.cat([s, s.flip(0)]), state)
    everybody = torch.cat([padded, padded.flip(0)])
    hs, last = layer(everybody, doubled, w, kind=kind, lengths=[length] * count + company, both=both, within=within)
    return hs[:count, :length], mapped(lambda s: s[:count], last)


def backwards(x: Tensor, state: Any, w: Any, *, kind: str, run: Callable[..., Any] = layer) -> Any:
    """By the backward direction of a layer that runs both ways, on sequences that are turned round."""
    hs, last = run(x.flip(1), state, w, kind=kind, both=True)
    return hs.flip(1), last


def projected(x: Tensor, state: Any, w: Any) -> Any:
    """By an LSTM with one cell more, whose output is projected to all but that one."""
    named = packed("lstm", w)
    size = named["weight_hh"].shape[1]

    def grown(weight: Tensor) -> Tensor:
        gates = weight.reshape(4, size, *weight.shape[1:])
        return torch.cat([gates, torch.zeros_like(gates[:, :1])], dim=1).flatten(0, 1)

    parameters = {f"{name}_l0": grown(each) for name, each in named.items()}
    parameters["weight_hr_l0"] = torch.eye(size, size + 1, dtype=x.dtype, device=x.device)
    if state is not None:
        h, c = state
        state = h.unsqueeze(0).contiguous(), torch.cat([c, torch.zeros_like(c[:, :1])], dim=1).unsqueeze(0)
    module = empty(nn.LSTM, x.shape[2], size + 1, proj_size=size, batch_first=True)
    with without_onednn():  # which has no projections, and warns
        hs, (h, c) = functional_call(module, parameters, (x, state))
    return hs, (h[0], c[0, :, :size])


def one_by_one(x: Tensor, state: Any, w: Any, *, kind: str) -> Any:
    """Each sequence without a batch."""
    named = {f"{name}_l0": each for name, each in packed(kind, w).items()}
    module = empty(LAYERS[kind], named["weight_ih_l0"].shape[1], named["weight_hh_l0"].shape[1])

    def alone(tokens: Tensor, *state: Tensor) -> Any:
        own = tuple(part.unsqueeze(0) for part in state)
        return functional_call(module, named, (tokens, own if kind == "lstm" else own[0]) if own else tokens)

    given = () if state is None else state if isinstance(state, tuple) else (state,)
    found = [alone(*each) for each in zip(x, *given, strict=True)]
    hs, lasts = zip(*found, strict=True)
    parts = [torch.cat(each) for each in zip(*lasts, strict=True)] if kind == "lstm" else torch.cat(lasts)
    return torch.stack(hs), tuple(parts) if kind == "lstm" else parts


def cell(x: Tensor, state: Any, w: Any, *, kind: str, within: Context = nullcontext) -> Any:
    """Step by step through the cell."""
    named = packed(kind, w)
    size = named["weight_hh"].shape[1]
    module = empty(CELLS[kind], named["weight_ih"].shape[1], size)
    outputs = []
    with within():
        if state is None and not x.shape[1]:
            zeros = x.new_zeros((x.shape[0], size))
            state = (zeros, zeros) if kind == "lstm" else zeros
        for t in range(x.shape[1]):
            state = functional_call(module, named, (x[:, t], state))
            outputs.append(state[0] if kind == "lstm" else state)
        return torch.stack(outputs, dim=1) if outputs else x.new_zeros((x.shape[0], 0, size)), state


@contextmanager
def without_onednn() -> Iterator[None]:
    """The layer's own kernels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about graphics processors that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def no_empty_sequence(case: Any) -> Known:
    """What is known of sequences without any step."""
    return Known(
        "a sequence of no steps is refused, where it should leave the state as it is",
        case=case,
        script="docs/known/rnn_empty_sequence.py",
    )


def _accepts_any_width(dtype: torch.dtype) -> bool:
    """Whether this CPU runs packed sequences of this type by the kernel that does not look at their width."""
    zeros = {name: torch.zeros(2, 3 if name in LstmCase.MATRICES else 2, dtype=dtype) for name in LstmCase.WEIGHTS}
    w = SimpleNamespace(**{name: each[0] if name in LstmCase.OFFSETS else each for name, each in zeros.items()})
    try:
        layer(torch.ones(1, 1, 2, dtype=dtype), None, w, kind="lstm", lengths=[1])
    except RuntimeError:
        return False
    return True


ACCEPTING = tuple(name for name in DTYPES if _accepts_any_width(getattr(torch, name)))

UNCHECKED = Known(
    "packed sequences skip the check of sizes, and oneDNN's kernel reads past the end of weights and states",
    case=LstmCase(2, 3, 3, 2, seed=1),
    dtypes=ACCEPTING,
    devices=("cpu",),
    script="docs/known/lstm_packed_width.py",
    link="https://github.com/pytorch/pytorch/issues/195803",
)


def too_many_states(case: Any) -> Known:
    """What is known of sequences packed without having been sorted."""
    return Known(
        "the state of a batch that was packed unsorted is put in order before it is checked, which drops surplus rows",
        case=case,
        script="docs/known/rnn_packed_state_rows.py",
    )


def _empty(kind: str, case: Any) -> dict[str, Known]:
    laws = ("accepts_none_and_one", "an_empty_sequence_keeps_the_state")
    return {f"{kind}.{law}": no_empty_sequence(case) for law in laws}


def _layer(kind: str, case: Any, dialect: Mapping[str, str], more: Mapping[str, Callable[..., Any]]) -> Implementation:
    paths: dict[str, Callable[..., Any]] = {
        "cells": partial(cell, kind=kind),
        "batch second": partial(layer, kind=kind, batch_first=False),
        "one by one": partial(one_by_one, kind=kind),
        "backward direction": partial(backwards, kind=kind),
        "no_grad": partial(layer, kind=kind, within=torch.no_grad),
        "inference_mode": partial(layer, kind=kind, within=torch.inference_mode),
        "oneDNN off": partial(layer, kind=kind, within=without_onednn),
        **more,
    }
    return Implementation(
        name=f"torch.nn.{LAYERS[kind].__name__}",
        subject=kind,
        call=partial(layer, kind=kind),
        dialect=dialect,
        paths=paths,
        known=_empty(kind, case),
    )


def _ragged(kind: str, case: Any, dialect: Mapping[str, str]) -> Implementation:
    return Implementation(
        name=f"torch.nn.{LAYERS[kind].__name__}.packed.ragged",
        subject=kind,
        call=partial(ragged, kind=kind),
        dialect=dialect,
        paths={
            "backward direction": partial(backwards, kind=kind, run=ragged),
            "no_grad": partial(ragged, kind=kind, within=torch.no_grad),
        },
        known={**_empty(kind, case), f"{kind}.refuses_malformed_input": too_many_states(replace(case, batch=4))},
    )


def _cell(kind: str, dialect: Mapping[str, str]) -> Implementation:
    return Implementation(
        name=f"torch.nn.{CELLS[kind].__name__}",
        subject=kind,
        call=partial(cell, kind=kind),
        dialect=dialect,
        paths={
            "no_grad": partial(cell, kind=kind, within=torch.no_grad),
            "inference_mode": partial(cell, kind=kind, within=torch.inference_mode),
        },
    )


ZEROS = {"missing_state": "zeros", "misfits": "refused"}
AFTER = {**ZEROS, "reset": "after"}

RNN, LSTM, GRU = RnnCase(2, 3, 3, 2, seed=1), LstmCase(2, 3, 3, 2, seed=1), GruCase(2, 3, 3, 2, seed=1)

rnn = _layer("rnn", RNN, ZEROS, {"packed": partial(full_lengths, kind="rnn")})
gru = _layer("gru", GRU, AFTER, {"packed": partial(full_lengths, kind="gru")})
lstm = _layer("lstm", LSTM, ZEROS, {"proj_size": projected})
# what only packed sequences get wrong must not hide what the other paths might; and a state of too many rows
# corrupts the heap here, so that no second path is asked to refuse it as well
lstm_packed = Implementation(
    name="torch.nn.LSTM.packed",
    subject="lstm",
    call=partial(full_lengths, kind="lstm"),
    dialect=ZEROS,
    known={**_empty("lstm", LSTM), "lstm.refuses_malformed_input": UNCHECKED},
)
rnn_ragged, lstm_ragged = _ragged("rnn", RNN, ZEROS), _ragged("lstm", LSTM, ZEROS)
gru_ragged = _ragged("gru", GRU, AFTER)
rnn_cell, lstm_cell, gru_cell = _cell("rnn", ZEROS), _cell("lstm", ZEROS), _cell("gru", AFTER)
