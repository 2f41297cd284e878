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


class Orthogonal(nn.Module):
    """h_t = s·Q·h_{t−1} + x_t with an orthogonal Q: every gradient shrinks by s a step."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        drawn = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(scale * torch.linalg.qr(drawn)[0])

    def forward(self, x: Tensor) -> Tensor:
        state, states = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = state @ self.weight.T + x[:, t]
            states.append(state)
        return torch.stack(states, 1)


class Slope(nn.Module):
    """Attention by distance alone: the weight of a key falls by e^−slope a step."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        back = (torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])).to(x.dtype)
        bias = (-self.slope * back).masked_fill(back < 0, -float("inf"))
        return bias.softmax(-1) @ x


class PowerLaw(nn.Module):
    """The weight of what is d steps back is d^−1.5."""

    def forward(self, x: Tensor) -> Tensor:
        back = (torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])).to(x.dtype)
        return torch.where(back < 0, 0.0, back.clamp(min=1) ** -1.5) @ x


def remembering(forget_bias: float) -> nn.LSTM:
    """An LSTM said to remember; with a forget bias of 0 it does not."""
    torch.manual_seed(0)
    model = nn.LSTM(D, D, batch_first=True)
    with torch.no_grad():
        model.bias_ih_l0[D : 2 * D] = forget_bias
        model.bias_hh_l0[D : 2 * D] = 0
    return model


class LinearAttention(nn.Module):
    """Attention with the feature map elu + 1: two running sums in place of a softmax."""

    def __init__(self, *, materialises: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(D, 3 * D)
        self.materialises = materialises

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        if self.materialises:  # the same function, by a T × T matrix
            weights = (q @ k.mT).tril()
            return weights @ v / weights.sum(-1, keepdim=True)
        sums = (k.unsqueeze(-1) * v.unsqueeze(-2)).cumsum(1)
        return (q.unsqueeze(-2) @ sums).squeeze(-2) / (q * k.cumsum(1)).sum(-1, keepdim=True)


class Windowed(nn.Module):
    """A decoder said to have a window; the other kind applies it to every second layer only."""

    def __init__(self, window: int, *, leaks: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = Attention("band", window=window)
        self.second = Attention("causal" if leaks else "band", window=window)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))
