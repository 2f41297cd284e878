"""Honest variants: other ways to compute the same unit, in both conventions. No law may flag them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from seqlaws.lesson import honest
from seqlaws.lessons.gru import candidate, candidate_after, gate, gates, scan
from seqlaws.lessons.recurrent import wide

AFTER = {"reset": "after"}


def packed(w: Any, kind: str, gates: str = "rzn") -> Tensor:
    """The weights of some gates, one below another."""
    return torch.cat([getattr(w, f"{kind}_{gate}") for gate in gates])


def after(a: Tensor, h: Tensor, w: Any) -> Tensor:
    """One step with the reset after the product, blended by a difference."""
    r, z = gates(a, h, w)
    n = candidate_after(a, h, r, w)
    return n + z * (h - n)


@honest("gru", dialect={"missing_state": "zeros"})
def plain(x: Tensor, h0: Tensor | None, w: Any) -> tuple[Tensor, Tensor]:
    """The steps from which the lessons are made, with nothing changed; no state means zeros."""
    return scan(x, x.new_zeros((x.shape[0], len(w.b_n))) if h0 is None else h0, w)


@honest("gru", dialect=AFTER)
def resets_after_the_product(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """The other convention, declared; the new state as n + z (h − n)."""
    return scan(x, h0, w, after)


@honest("gru")
def blends_by_a_difference(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Inputs of all steps are projected first; gates come out of one product; h′ = n + z (h − n)."""
    W, U, b, size = packed(w, "W"), packed(w, "U", "rz"), packed(w, "b"), len(w.b_n)

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = torch.sigmoid(a[:, : 2 * size] + h @ U.T).chunk(2, dim=1)
        n = torch.tanh(a[:, 2 * size :] + (r * h) @ w.U_n.T)
        return torch.lerp(n, h, z) if a.dtype in (torch.float32, torch.float64) else n + z * (h - n)

    return scan(x @ W.mT + b, h0, w, step)


@honest("gru")
def moves_towards_its_candidate(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """h′ = h + (1 − z) (n − h): on the way back, what passes straight on is g − (1 − z) g."""

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, z = gates(a, h, w)
        return h + (1 - z) * (candidate(a, h, r, w) - h)

    return scan(x, h0, w, step)


@honest("gru")
def blends_by_a_softmax(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """z and 1 − z are the softmax of the update gate's sum and of 0: its gradient is a difference, saturated or not."""

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r, s = torch.sigmoid(gate("r", a, h, w)), gate("z", a, h, w)
        shares = torch.stack([s, torch.zeros_like(s)], dim=-1).softmax(dim=-1)
        return (shares * torch.stack([h, candidate(a, h, r, w)], dim=-1)).sum(dim=-1)

    return scan(x, h0, w, step)


@honest("gru")
def keeps_its_state_in_float32(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Half types are widened at the start, and the results narrowed at the end."""
    hs, last = scan(wide(x), wide(h0), wide(w))
    return hs.to(x.dtype), last.to(x.dtype)


@honest("gru", dialect=AFTER)
def keeps_its_state_in_float32_after(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Half types are widened at the start and narrowed at the end, in the other convention of the reset gate."""
    hs, last = scan(wide(x), wide(h0), wide(w), after)
    return hs.to(x.dtype), last.to(x.dtype)


@honest("gru")
def sums_one_by_one(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Products summed without a matrix product; σ(a) as ½ + ½ tanh(a/2)."""

    def product(a: Tensor, matrix: Tensor) -> Tensor:
        return (matrix * a[:, None]).sum(dim=-1)

    def step(a: Tensor, h: Tensor, w: Any) -> Tensor:
        r = 0.5 + 0.5 * torch.tanh((product(h, w.U_r) + w.b_r + product(a, w.W_r)) / 2)
        z = 0.5 + 0.5 * torch.tanh((product(h, w.U_z) + w.b_z + product(a, w.W_z)) / 2)
        return z * h + (1 - z) * torch.tanh(w.b_n + product(r * h, w.U_n) + product(a, w.W_n))

    return scan(x, h0, w, step)


@honest("gru", dialect=AFTER, dtypes=("float32", "float64"))
def by_torch(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """torch.nn.GRU, which resets after the product, and knows no empty sequence."""
    if not x.shape[1] or not x.shape[0]:
        return scan(x, h0, w, after)
    module = torch.nn.GRU(w.W_r.shape[1], len(w.b_n), batch_first=True, device="meta")
    zeros = torch.zeros_like(w.b_r)
    named = {"weight_ih_l0": packed(w, "W"), "weight_hh_l0": packed(w, "U"), "bias_ih_l0": packed(w, "b")}
    named["bias_hh_l0"] = torch.cat([zeros, zeros, w.c_n])
    hs, last = functional_call(module, named, (x, h0[None].contiguous()))
    return hs, last[0]
