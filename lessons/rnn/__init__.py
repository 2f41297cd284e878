"""Lessons of the simple recurrent layer: the honest steps of which every broken one changes a single one.

    h_t = tanh(W x_t + U h_{t−1} + b)

Every intermediate result is stored in the type of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqlaws.lessons import recurrent as recurrent  # the lessons that every recurrent layer has
from seqlaws.lessons import recurrent_gradients as recurrent_gradients
from seqlaws.lessons import recurrent_paths as recurrent_paths
from seqlaws.lessons import recurrent_states as recurrent_states

Step = Callable[[Tensor, Tensor, Any], Tensor]


def step(x: Tensor, h: Tensor, w: Any) -> Tensor:
    """The state [B,H] after x [B,D]."""
    return torch.tanh(x @ w.W.T + h @ w.U.T + w.b)


def scan(x: Tensor, h: Tensor, w: Any, step: Step = step) -> tuple[Tensor, Tensor]:
    """Step after step."""
    states = []
    for t in range(x.shape[1]):
        h = step(x[:, t], h, w)
        states.append(h)
    return torch.stack(states, dim=1) if states else x.new_zeros((x.shape[0], 0, h.shape[1])), h


def slope(h: Tensor) -> Tensor:
    """The derivative of the activation, from its value."""
    return (1 - h) * (1 + h)


class ByHand(torch.autograd.Function):
    """The run with its backward pass written out; ``rules`` are the three places in which lessons differ."""

    @staticmethod
    def forward(ctx, rules: Rules, x: Tensor, h0: Tensor, W: Tensor, U: Tensor, b: Tensor):  # type: ignore[no-untyped-def]
        states = [h0]
        for t in range(x.shape[1]):
            states.append(torch.tanh(x[:, t] @ W.T + (states[-1] @ U.T + b)))
        kept = torch.stack(states, dim=1)
        ctx.rules = rules
        ctx.save_for_backward(x, kept, W, U)
        return kept[:, 1:].clone(), kept[:, -1].clone()

    @staticmethod
    def backward(ctx, d_hs: Tensor, d_last: Tensor):  # type: ignore[no-untyped-def]
        x, kept, W, U = ctx.saved_tensors
        carry, d_a = d_last, torch.zeros_like(d_hs)
        for t in reversed(range(x.shape[1])):
            d_a[:, t] = (d_hs[:, t] + carry) * ctx.rules.slope(kept[:, t + 1])
            carry = ctx.rules.through(d_a[:, t], U)
        flat = d_a.flatten(0, 1).T
        d_U = flat @ ctx.rules.heard(kept).flatten(0, 1)
        return None, d_a @ W, carry, flat @ x.flatten(0, 1), d_U, d_a.sum(dim=(0, 1))


@dataclass(frozen=True)
class Rules:
    """How to go back: the activation's slope from its value [B,H], what a step sends to the state before it,
    and the states [B,T,H] with which the gradient of U is made, from all states [B,T+1,H]."""

    slope: Callable[[Tensor], Tensor] = slope
    through: Callable[[Tensor, Tensor], Tensor] = torch.matmul
    heard: Callable[[Tensor], Tensor] = lambda kept: kept[:, :-1]


def by_hand(x: Tensor, h0: Tensor, w: Any, rules: Rules = Rules()) -> tuple[Tensor, Tensor]:
    """The run with its backward pass written out."""
    hs, last = ByHand.apply(rules, x, h0, w.W, w.U, w.b)  # type: ignore[no-untyped-call]
    return hs, last
