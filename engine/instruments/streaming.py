"""Streaming state: how many numbers of the past the future depends on, seen from outside.

Whoever computes y_{>t} from x_{>t} and a state must keep in that state whatever of x_{≤t} makes a
difference. To first order that is the rank of ∂y_{>t}/∂x_{≤t}: no streaming implementation of the
model, however clever, can do with fewer numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqlaws.instruments.exactness import EXACT, Exactness, unknown
from seqlaws.instruments.growth import Growth
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.transparent import transparent

PASTS = (2, 4, 8, 16)
SMALL, GAP = 1e-12, 30.0
"""Singular values below SMALL of the largest are rounding, if they lie GAP below those above."""


@dataclass(frozen=True)
class StreamingState:
    """The smallest state, in numbers, after t positions: ``ranks`` by t."""

    ranks: dict[int, int]
    growth: Growth
    exactness: Exactness

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "ranks": {str(t): rank for t, rank in self.ranks.items()},
            "order": self.growth.order,
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
        }

    def __str__(self) -> str:
        ranks = ", ".join(map(str, self.ranks.values()))
        return f"{ranks} numbers after t = {', '.join(map(str, self.ranks))}: {self.growth.order}, {self.exactness}"


def streaming_state(target: Target | Model, *, width: int | None = None, seed: int = 0) -> StreamingState:
    """The rank of what the past does to the future, after 2, 4, 8 and 16 of 32 positions, in float64."""
    model = Model.of(target, width).doubled()
    jacobian = _jacobian(model, 2 * PASTS[-1], seed)
    if jacobian is None:
        return StreamingState({}, Growth((), (), "unclassified"), unknown("no gradient reaches the input"))
    ranks, blurred = {}, []
    for past in PASTS:
        block = jacobian[past:, :, :past].flatten(2).flatten(0, 1)
        values = torch.linalg.svdvals(block)
        kept = values[values > SMALL * values[0]] if values[0] > 0 else values[:0]
        ranks[past] = len(kept)
        if len(kept) < len(values) and len(kept) and kept[-1] < GAP * values[len(kept)]:
            blurred.append(past)
    if (jacobian[:, :, 1:] * _later(len(jacobian), jacobian)).any():
        exactness = unknown("it is not causal: outputs depend on later inputs, so nothing streams")
    elif model.dtype != torch.float64:
        exactness = unknown(f"computed in {model.dtype}: ranks are blurred by rounding")
    elif blurred:
        exactness = unknown(f"no gap between what counts and rounding after t = {', '.join(map(str, blurred))}")
    else:
        exactness = EXACT
    return StreamingState(ranks, Growth.of(ranks), exactness)


def _later(length: int, like: Tensor) -> Tensor:
    """Ones where an input, from the second on, comes after the output: [T, 1, T − 1, 1]."""
    return torch.ones(length, length, dtype=like.dtype, device=like.device).triu(1)[:, None, 1:, None]


def _jacobian(model: Model, length: int, seed: int) -> Tensor | None:
    """∂y/∂x as [T, D', T, D], one row for each copy of the input."""
    with model.still(), transparent():
        with torch.no_grad():
            outputs = model(model.inputs(1, length)).shape[-1]
        rows = []
        for channel in range(outputs):
            x = model.inputs(length, length, seed=seed).requires_grad_()
            out = model(x)
            if not out.requires_grad:
                return None
            at = torch.arange(length, device=out.device)
            (gradient,) = torch.autograd.grad(out[at, at, channel].sum(), x, allow_unused=True)
            if gradient is None:
                return None
            rows.append(gradient)
    return torch.stack(rows, 1)
