"""Models with known answers, and models that are not what they say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

D = 8


class Convolutions(nn.Module):
    """Causal convolutions on top of one another, each with its dilation."""

    def __init__(self, dilations: list[int], kernel: int = 3, width: int = D) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, kernel, dilation=each) for each in dilations)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(F.pad(x, ((layer.kernel_size[0] - 1) * layer.dilation[0], 0)))
        return x.transpose(1, 2)


class CausalConvolution(nn.Module):
    """A "causal" convolution, padded on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(D, D, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


class Attention(nn.Module):
    """One head of attention over keys that a mask [T, T] leaves: "causal", "band", or all."""

    def __init__(self, kind: str = "full", low: float = -float("inf"), window: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(D, 3 * D)
        self.kind, self.low, self.window = kind, low, window

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        scores = q @ k.mT / D**0.5
        back = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
        if self.kind == "causal":
            scores = scores + torch.zeros(back.shape).masked_fill(back < 0, self.low)
        if self.kind == "band":
            scores = scores.masked_fill((back < 0) | (back >= self.window), self.low)
        return scores.softmax(-1) @ v


class Layers(nn.Module):
    """Layers of attention, each restricted to the last ``window`` positions."""

    def __init__(self, count: int, window: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Attention("band", window=window) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class DoublingScan(nn.Module):
    """Prefix sums by doubling steps (Hillis and Steele)."""

    def forward(self, x: Tensor) -> Tensor:
        step = 1
        while step < x.shape[1]:
            x = torch.cat((x[:, :step], x[:, step:] + x[:, :-step]), 1)
            step *= 2
        return x


class ThroughNumpy(nn.Module):
    """Leaves torch and comes back."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.tanh(x.numpy())) + x


class ByItem(nn.Module):
    """Scales by a number that it takes out of a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x[0, 0, 0].item()


class Branching(nn.Module):
    """Does one thing or another."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1) if bool(x.sum() > 0) else x


class Counting(nn.Module):
    """Remembers how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)
