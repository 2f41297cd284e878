"""Lessons of long short-term memory: the honest steps of which every broken one changes a single one.

    i, f, o = σ(W x + U h + b),  g = tanh(W_g x + U_g h + b_g),  c′ = f ⊙ c + i ⊙ g,  h′ = o ⊙ tanh(c′)

Every intermediate result is stored in the type of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lessons import recurrent as recurrent  # the lessons that every recurrent layer has
from seqlaws.lessons import recurrent_gradients as recurrent_gradients
from seqlaws.lessons import recurrent_paths as recurrent_paths
from seqlaws.lessons import recurrent_states as recurrent_states

State = tuple[Tensor, Tensor]
Result = tuple[Tensor, State]
Step = Callable[[Tensor, State, Any], State]


def gate(name: str, x: Tensor, h: Tensor, w: Any) -> Tensor:
    """What goes into a gate, [B,H]."""
    matrix, recurrent, offset = (getattr(w, f"{kind}_{name}") for kind in "WUb")
    return x @ matrix.T + h @ recurrent.T + offset


def gates(x: Tensor, h: Tensor, w: Any) -> tuple[Tensor, ...]:
    """i, f, g and o before their activations."""
    return gate("i", x, h, w), gate("f", x, h, w), gate("g", x, h, w), gate("o", x, h, w)


def combined(gates: tuple[Tensor, ...], c: Tensor) -> State:
    """The new hidden state and cell, from what goes into i, f, g and o."""
    i, f, g, o = gates
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def step(x: Tensor, state: State, w: Any) -> State:
    """The hidden state and the cell [B,H] after x [B,D]."""
    return combined(gates(x, state[0], w), state[1])


def scan(x: Tensor, state: State, w: Any, step: Step = step) -> Result:
    """Step after step."""
    outputs = []
    for t in range(x.shape[1]):
        state = step(x[:, t], state, w)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1) if outputs else x.new_zeros((x.shape[0], 0, state[0].shape[1])), state


def renamed(w: Any, order: str, kinds: str = "WUb") -> Any:
    """The weights with the gates i, f, g, o reading those of ``order`` instead."""
    named = {f"{kind}_{to}": getattr(w, f"{kind}_{of}") for kind in kinds for to, of in zip("ifgo", order, strict=True)}
    return SimpleNamespace(**{**vars(w), **named})
