"""Lyapunov spectrum: how fast a recurrence stretches or shrinks each direction of its state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqlaws.implementation import Implementation
from seqlaws.instruments.exactness import finite
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.subjects import stepping
from seqlaws.instruments.transparent import transparent

CHUNK = 4096
"""Rows of the largest batch in which Jacobians are computed."""


@dataclass(frozen=True)
class Recurrence:
    """A step of a recurrence, state [B, S] and input [B, D] to the next state, in float64."""

    step: Callable[[Tensor, Tensor], Tensor]
    size: int
    model: Model


@dataclass(frozen=True)
class Lyapunov:
    """The growth rates per step along one trajectory.

    ``spectrum`` is by QR, in descending order; ``bound`` is the mean of log‖J_t‖, which no direction
    exceeds. ``state`` and ``input`` are log‖J_t‖ and log‖∂h_t/∂x_t‖ for every step.
    """

    spectrum: tuple[float, ...]
    bound: float
    state: tuple[float, ...]
    input: tuple[float, ...]

    def ceiling(self, lag: int) -> float:
        """The logarithm of ∏‖J_t‖·‖∂h/∂x‖: ‖∂h_T/∂x_{T−lag}‖ is at most its exponential."""
        last = len(self.state) - 1
        return math.fsum(self.state[last - lag + 1 :] if lag else ()) + self.input[last - lag]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {"spectrum": [finite(each) for each in self.spectrum], "bound": finite(self.bound)}

    def __str__(self) -> str:
        few = ", ".join(f"{each:+.4f}" for each in self.spectrum[:4])
        more = ", …" if len(self.spectrum) > 4 else ""
        return f"Lyapunov exponents {few}{more}; bound by ∏‖J‖ {self.bound:+.4f}"


def recurrence_of(target: Target | Model, model: Model) -> Recurrence | None:
    """The recurrence that a target is: a layer of torch.nn, or an Implementation of one; else None."""
    if isinstance(target, Implementation):
        found = stepping(target, model.width, model.device)
        return found and Recurrence(*found, model)
    module = model.module
    if isinstance(module, nn.RNNBase) and not module.bidirectional and not module.proj_size:
        return Recurrence(*_layers(module), model)
    return None


def _layers(module: nn.RNNBase) -> tuple[Callable[[Tensor, Tensor], Tensor], int]:
    size = module.num_layers * module.hidden_size
    time = 1 if module.batch_first else 0

    def parts(state: Tensor) -> Tensor:  # [B, layers * H] as [layers, B, H]
        return state.view(len(state), module.num_layers, -1).transpose(0, 1).contiguous()

    def joined(state: Tensor) -> Tensor:
        return state.transpose(0, 1).reshape(state.shape[1], -1)

    if isinstance(module, nn.LSTM):

        def step(state: Tensor, x: Tensor) -> Tensor:
            h, c = state.chunk(2, -1)
            _, (h, c) = module(x.unsqueeze(time), (parts(h), parts(c)))
            return torch.cat((joined(h), joined(c)), -1)

        return step, 2 * size
    return lambda state, x: joined(module(x.unsqueeze(time), parts(state))[1]), size


def lyapunov(recurrence: Recurrence, length: int = 400, *, seed: int = 0) -> Lyapunov:
    """The Lyapunov spectrum of a recurrence over a trajectory from the zero state."""
    model = recurrence.model
    x = model.inputs(1, length, seed=seed)[0]
    with model.still(), transparent():
        with torch.no_grad():
            states = [x.new_zeros(1, recurrence.size)]
            for t in range(length):
                states.append(recurrence.step(states[-1], x[t : t + 1]))
        state, given = _jacobians(recurrence, torch.cat(states[:-1]), x)
    basis = torch.eye(recurrence.size, dtype=x.dtype, device=x.device)
    total = torch.zeros(recurrence.size, dtype=x.dtype, device=x.device)
    for each in state:
        basis, upper = torch.linalg.qr(each @ basis)
        total += upper.diagonal().abs().log()
    norms = torch.linalg.matrix_norm(state, 2).log()
    return Lyapunov(
        spectrum=tuple(sorted((total / length).tolist(), reverse=True)),
        bound=float(norms.mean()),
        state=tuple(norms.tolist()),
        input=tuple(torch.linalg.matrix_norm(given, 2).log().tolist()),
    )


def _jacobians(recurrence: Recurrence, states: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """∂h_t/∂h_{t−1} [T, S, S] and ∂h_t/∂x_t [T, S, D]: row i of a step is the gradient of channel i of its copy i."""
    size = recurrence.size
    each = max(1, CHUNK // size)
    by_state: list[Tensor] = []
    by_input: list[Tensor] = []
    for start in range(0, len(x), each):
        some = slice(start, start + each)
        h = states[some].repeat_interleave(size, 0).requires_grad_()
        u = x[some].repeat_interleave(size, 0).requires_grad_()
        after = recurrence.step(h, u)
        channels = torch.arange(size, device=x.device).repeat(len(after) // size)
        picked = after.gather(1, channels.unsqueeze(1)).sum()
        for gradient, kept in zip(torch.autograd.grad(picked, (h, u)), (by_state, by_input), strict=True):
            kept.append(gradient.view(-1, size, gradient.shape[-1]))
    return torch.cat(by_state), torch.cat(by_input)
