"""Recurrences as programs: step by step, by a parallel scan, and by Newton's iteration."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def scan(a: Tensor, b: Tensor) -> Tensor:
    """All h_t = a_t h_{t−1} + b_t with h_0 = 0, in ⌈log₂ T⌉ rounds: a [B,T] and b [B,T], or [B,T,n,n] and [B,T,n,1].

    A round joins neighbours by (a, b) ∘ (a′, b′) = (a a′, a b′ + b), which is associative.
    """
    product = torch.matmul if a.dim() == 4 else torch.mul
    reach = 1
    while reach < b.shape[1]:
        b = torch.cat((b[:, :reach], product(a[:, reach:], b[:, :-reach]) + b[:, reach:]), 1)
        a = torch.cat((a[:, :reach], product(a[:, reach:], a[:, :-reach])), 1)
        reach *= 2
    return b


def loop(a: Tensor, b: Tensor) -> Tensor:
    """The same, one step after the other."""
    states = [b[:, 0]]
    for t in range(1, b.shape[1]):
        states.append(a[:, t] * states[-1] + b[:, t])
    return torch.stack(states, 1)


class Gated(nn.Module):
    """A gated linear recurrence in every channel: h_t = σ(w x_t) h_{t−1} + x_t, computed by a scan."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """All states [B,T,D] for x [B,T,D]."""
        channels = x.transpose(1, 2).flatten(0, 1)
        gates = torch.sigmoid(self.gate * x).transpose(1, 2).flatten(0, 1)
        return scan(gates, channels).view(len(x), x.shape[2], x.shape[1]).transpose(1, 2)


def driven(gain: float, width: int) -> nn.RNN:
    """A tanh network h_t = tanh(W h_{t−1} + x_t) with Gaussian W of spectral radius about ``gain``, in float64."""
    net = nn.RNN(width, width, bias=False, batch_first=True).double()
    with torch.no_grad():
        net.get_parameter("weight_hh_l0").copy_(gain / width**0.5 * torch.randn(width, width, dtype=torch.float64))
        net.get_parameter("weight_ih_l0").copy_(torch.eye(width, dtype=torch.float64))
    return net


class Newton(nn.Module):
    """Newton's iteration for the whole trajectory of such a network at once, each iteration one scan."""

    def __init__(self, net: nn.RNN, iterations: int) -> None:
        super().__init__()
        self.net, self.iterations = net, iterations

    def forward(self, x: Tensor) -> Tensor:
        """The trajectory after all iterations."""
        h = torch.tanh(x)
        for _ in range(self.iterations):
            h = self.better(h, x)
        return h

    def better(self, h: Tensor, x: Tensor) -> Tensor:
        """The next iterate: the recurrence, linear around the last one, solved exactly."""
        weight = self.net.get_parameter("weight_hh_l0")
        before = torch.cat((torch.zeros_like(h[:, :1]), h[:, :-1]), 1)
        after = torch.tanh(before @ weight.T + x)
        slope = (1 - after * after).unsqueeze(-1) * weight
        return scan(slope, after.unsqueeze(-1) - slope @ before.unsqueeze(-1)).squeeze(-1)
