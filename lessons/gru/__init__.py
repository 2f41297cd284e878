"""Lessons of the gated recurrent unit: the honest steps of which every broken one changes a single one.

    r, z = σ(W x + U h + b),  n = tanh(W_n x + U_n (r ⊙ h) + b_n),  h′ = (1 − z) ⊙ n + z ⊙ h

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

Step = Callable[[Tensor, Tensor, Any], Tensor]


def gate(name: str, x: Tensor, h: Tensor, w: Any) -> Tensor:
    """What goes into a gate, or into the candidate, [B,H]."""
    matrix, recurrent, offset = (getattr(w, f"{kind}_{name}") for kind in "WUb")
    return x @ matrix.T + h @ recurrent.T + offset


def gates(x: Tensor, h: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The reset and the update gate."""
    return torch.sigmoid(gate("r", x, h, w)), torch.sigmoid(gate("z", x, h, w))


def candidate(x: Tensor, h: Tensor, r: Tensor, w: Any) -> Tensor:
    """The candidate, with the reset before the product."""
    return torch.tanh(gate("n", x, r * h, w))


def candidate_after(x: Tensor, h: Tensor, r: Tensor, w: Any) -> Tensor:
    """The candidate, with the reset after the product."""
    return torch.tanh(x @ w.W_n.T + w.b_n + r * (h @ w.U_n.T + w.c_n))


def step(x: Tensor, h: Tensor, w: Any) -> Tensor:
    """The state [B,H] after x [B,D]."""
    r, z = gates(x, h, w)
    return (1 - z) * candidate(x, h, r, w) + z * h


def scan(x: Tensor, h: Tensor, w: Any, step: Step = step) -> tuple[Tensor, Tensor]:
    """Step after step."""
    states = []
    for t in range(x.shape[1]):
        h = step(x[:, t], h, w)
        states.append(h)
    return torch.stack(states, dim=1) if states else x.new_zeros((x.shape[0], 0, h.shape[1])), h


def renamed(w: Any, order: str, kinds: str = "WUb") -> Any:
    """The weights with r, z and n reading those of ``order`` instead."""
    named = {f"{kind}_{to}": getattr(w, f"{kind}_{of}") for kind in kinds for to, of in zip("rzn", order, strict=True)}
    return SimpleNamespace(**{**vars(w), **named})
