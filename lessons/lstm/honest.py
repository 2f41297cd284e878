"""Honest variants: other ways to compute the same memory. No law may flag them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from seqlaws.lesson import honest
from seqlaws.lessons.lstm import Result, State, combined, gates, scan
from seqlaws.lessons.recurrent import wide


def packed(w: Any, kind: str) -> Tensor:
    """The weights of all gates, one below another."""
    return torch.cat([getattr(w, f"{kind}_{gate}") for gate in "ifgo"])


@honest("lstm", dialect={"missing_state": "zeros"})
def plain(x: Tensor, state: State | None, w: Any) -> Result:
    """The steps from which the lessons are made, with nothing changed; no state means zeros."""
    zeros = x.new_zeros((x.shape[0], len(w.b_i)))
    return scan(x, (zeros, zeros) if state is None else state, w)


@honest("lstm")
def one_product_for_all_gates(x: Tensor, state: State, w: Any) -> Result:
    """Inputs of all steps are projected first, and the gates come out of one product in four pieces."""
    projected, U = x @ packed(w, "W").mT + packed(w, "b"), packed(w, "U")
    return scan(projected, state, w, lambda a, s, w: combined((a + s[0] @ U.T).chunk(4, dim=1), s[1]))


@honest("lstm")
def keeps_its_state_in_float32(x: Tensor, state: State, w: Any) -> Result:
    """Half types are widened at the start, and the results narrowed at the end."""
    hs, (h, c) = scan(wide(x), (wide(state[0]), wide(state[1])), wide(w))
    return hs.to(x.dtype), (h.to(x.dtype), c.to(x.dtype))


@honest("lstm")
def sums_one_by_one(x: Tensor, state: State, w: Any) -> Result:
    """Products summed without a matrix product; two halves of the bias, added on either side."""
    W, U, b = packed(w, "W"), packed(w, "U"), packed(w, "b") / 2

    def step(a: Tensor, s: State, w: Any) -> State:
        pre = ((W * a[:, None]).sum(dim=-1) + b) + (b + torch.einsum("bh,gh->bg", s[0], U))
        return combined(pre.chunk(4, dim=1), s[1])

    return scan(x, state, w, step)


@honest("lstm")
def gates_through_tanh(x: Tensor, state: State, w: Any) -> Result:
    """σ(a) as ½ + ½ tanh(a/2), and the new cell as one fused multiply-add after another."""

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        i, f, o = (0.5 + 0.5 * torch.tanh(each / 2) for each in (i, f, o))
        c = torch.addcmul(f * s[1], i, torch.tanh(g))
        return o * torch.tanh(c), c

    return scan(x, state, w, step)


@honest("lstm")
def gates_by_exponentials(x: Tensor, state: State, w: Any) -> Result:
    """σ(a) from e^−|a|, every result stored in the type of the inputs."""

    def logistic(a: Tensor) -> Tensor:
        small = torch.exp(torch.where(a >= 0, -a, a))
        return torch.where(a >= 0, 1 / (1 + small), small / (1 + small))

    def step(a: Tensor, s: State, w: Any) -> State:
        i, f, g, o = gates(a, s[0], w)
        i, f, o = logistic(i), logistic(f), logistic(o)
        c = i * torch.tanh(g) + f * s[1]
        return torch.tanh(c) * o, c

    return scan(x, state, w, step)


@honest("lstm", dtypes=("float32", "float64"))
def by_torch(x: Tensor, state: State, w: Any) -> Result:
    """torch.nn.LSTM, which knows no empty sequence."""
    if not x.shape[1] or not x.shape[0]:
        return scan(x, state, w)
    module = torch.nn.LSTM(w.W_i.shape[1], len(w.b_i), batch_first=True, device="meta")
    named = {"weight_ih_l0": packed(w, "W"), "weight_hh_l0": packed(w, "U"), "bias_ih_l0": packed(w, "b")}
    named["bias_hh_l0"] = torch.zeros_like(named["bias_ih_l0"])
    hs, (h, c) = functional_call(module, named, (x, tuple(each[None].contiguous() for each in state)))
    return hs, (h[0], c[0])
