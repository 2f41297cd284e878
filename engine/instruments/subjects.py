"""Implementations as models: one drawn set of weights, and the sequence as every input there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.errors import Misunderstood
from seqlaws.implementation import Implementation
from seqlaws.instruments.model import Model

HEADS = 2
SQUARES = {
    "rnn": ("W", "U"),
    "lstm": tuple(f"{kind}_{gate}" for kind in "WU" for gate in "ifgo"),
    "gru": tuple(f"{kind}_{gate}" for kind in "WU" for gate in "rzn"),
    "multihead": ("W_q", "W_k", "W_v", "W_o"),
    "encoder": ("W_q", "W_k", "W_v", "W_o", "W_1", "W_2"),
}
ROWS = {
    "rnn": ("b",),
    "lstm": tuple(f"b_{gate}" for gate in "ifgo"),
    "gru": (*(f"b_{gate}" for gate in "rzn"), "c_n"),
    "multihead": ("b_q", "b_k", "b_v", "b_o"),
    "encoder": ("b_q", "b_k", "b_v", "b_o", "b_1", "b_2", "g_1", "g_2", "s_1", "s_2"),
}


def model_of(implementation: Implementation, width: int, device: torch.device) -> Model:
    """The model of an implementation of a subject that maps a sequence to a sequence."""
    name, subject = implementation.name, implementation.subject
    if implementation.framework != "torch":
        raise Misunderstood(f"{name} computes in {implementation.framework}; instruments see what torch computes")
    if subject not in CALLS:
        raise Misunderstood(f"{name} implements {subject}; instruments measure: {', '.join(CALLS)}")
    weights = Weights(subject, width, device)
    call = CALLS[subject]
    return Model(
        name, lambda x: call(implementation.call, x, weights(x.dtype)), width, None, weights.every, device=device
    )


class Weights:
    """Drawn weights of a subject, in any dtype."""

    def __init__(self, subject: str, width: int, device: torch.device) -> None:
        draw = torch.Generator().manual_seed(0)
        drawn = {
            name: torch.randn(*shape, generator=draw, dtype=torch.float64) / math.sqrt(width)
            for names, shape in ((SQUARES, (width, width)), (ROWS, (width,)))
            for name in names.get(subject, ())
        }
        self.by_dtype = {
            dtype: SimpleNamespace(**{name: value.to(device, dtype) for name, value in drawn.items()})
            for dtype in (torch.float32, torch.float64)
        }
        self.every = tuple(value for each in self.by_dtype.values() for value in vars(each).values())

    def __call__(self, dtype: torch.dtype) -> SimpleNamespace:
        """The weights in a dtype, by name."""
        return self.by_dtype[dtype]


def _zeros(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape[0], x.shape[2])


def _attention(call: Any, x: Tensor, w: Any) -> Any:
    heads = x.unsqueeze(1)
    return call(heads, heads, heads).squeeze(1)


CALLS: dict[str, Callable[[Any, Tensor, Any], Any]] = {
    "attention": _attention,
    "multihead": lambda call, x, w: call(x, x, x, w, num_heads=HEADS),
    "rnn": lambda call, x, w: call(x, _zeros(x), w),
    "lstm": lambda call, x, w: call(x, (_zeros(x), _zeros(x)), w),
    "gru": lambda call, x, w: call(x, _zeros(x), w),
    "encoder": lambda call, x, w: call(x, w, num_heads=HEADS, norm_first=True),
}


def stepping(
    implementation: Implementation, width: int, device: torch.device
) -> tuple[Callable[[Tensor, Tensor], Tensor], int] | None:
    """The step of an implementation of a recurrence, on states [B, S], and S; None for any other subject."""
    subject, call = implementation.subject, implementation.call
    if subject not in ("rnn", "lstm", "gru"):
        return None
    weights = Weights(subject, width, device)

    def step(state: Tensor, x: Tensor) -> Tensor:
        w = weights(x.dtype)
        if subject == "lstm":
            _, (h, c) = call(x.unsqueeze(1), tuple(state.chunk(2, -1)), w)
            return torch.cat((h, c), -1)
        return call(x.unsqueeze(1), state, w)[1]

    return step, 2 * width if subject == "lstm" else width
