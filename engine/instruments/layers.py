"""The layers that Table 1 of "Attention Is All You Need" compares, in the plainest form, without biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """One head over all positions: softmax(Q·Kᵀ/√d)·V, [B, T, D] → [B, T, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """The attended values."""
        scores = self.q(x) @ self.k(x).mT / x.shape[-1] ** 0.5
        return scores.softmax(-1) @ self.v(x)


class RestrictedAttention(SelfAttention):
    """The same over the last ``window`` positions only, with no more work than those need."""

    def __init__(self, width: int, window: int) -> None:
        super().__init__(width)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """The attended values."""
        q = self.q(x).unsqueeze(-2)
        k, v = (F.pad(each, (0, 0, self.window - 1, 0)).unfold(1, self.window, 1) for each in (self.k(x), self.v(x)))
        far = torch.arange(x.shape[1]).unsqueeze(1) + torch.arange(self.window) < self.window - 1  # before the start
        scores = (q @ k / x.shape[-1] ** 0.5).squeeze(-2).masked_fill(far.to(x.device), -torch.inf)
        return (scores.softmax(-1).unsqueeze(-2) @ v.mT).squeeze(-2)


class Convolution(nn.Module):
    """A causal convolution with a dilation."""

    def __init__(self, width: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.layer = nn.Conv1d(width, width, kernel, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The convolved sequence."""
        return self.layer(F.pad(x.transpose(1, 2), (self.reach, 0))).transpose(1, 2)


class Recurrent(nn.Module):
    """h_t = tanh(W·x_t + U·h_{t−1})."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.RNN(width, width, bias=False, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """The states."""
        states: Tensor = self.layer(x)[0]
        return states
