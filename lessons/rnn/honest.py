"""Honest variants: other ways to compute the same recurrence. No law may flag them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from seqlaws.lesson import honest
from seqlaws.lessons.recurrent import wide
from seqlaws.lessons.rnn import by_hand, scan


@honest("rnn", dialect={"missing_state": "zeros"})
def plain(x: Tensor, h0: Tensor | None, w: Any) -> tuple[Tensor, Tensor]:
    """The steps from which the lessons are made, with nothing changed; no state means zeros."""
    return scan(x, x.new_zeros((x.shape[0], len(w.b))) if h0 is None else h0, w)


@honest("rnn")
def projects_all_inputs_first(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """One product for the inputs of all steps, written into a tensor that the steps fill in place."""
    projected = x @ w.W.mT + w.b
    return scan(projected, h0, w, lambda a, h, w: torch.tanh(torch.addmm(a, h, w.U.T)))


@honest("rnn")
def one_product_for_input_and_state(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Input and state side by side, times W and U side by side."""
    both = torch.cat([w.W, w.U], dim=1)
    return scan(x, h0, w, lambda a, h, w: torch.tanh(torch.cat([a, h], dim=1) @ both.T + w.b))


@honest("rnn")
def keeps_its_state_in_float32(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Half types are widened at the start, and the results narrowed at the end."""
    hs, last = scan(wide(x), wide(h0), wide(w))
    return hs.to(x.dtype), last.to(x.dtype)


@honest("rnn")
def sums_one_by_one(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Products and their sums without a matrix product, time first."""

    def each(a: Tensor, h: Tensor, w: Any) -> Tensor:
        return torch.tanh(w.b + (w.U * h[:, None]).sum(dim=-1) + torch.einsum("bd,hd->bh", a, w.W))

    return scan(x, h0, w, each)


@honest("rnn")
def goes_back_by_hand(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """Backpropagation through time written out, with the slope of tanh as (1 − h)(1 + h)."""
    return by_hand(x, h0, w)


@honest("rnn", dtypes=("float32", "float64"))
def by_torch(x: Tensor, h0: Tensor, w: Any) -> tuple[Tensor, Tensor]:
    """torch.nn.RNN, which knows no empty sequence."""
    if not x.shape[1] or not x.shape[0]:
        return scan(x, h0, w)
    module = torch.nn.RNN(w.W.shape[1], len(w.b), batch_first=True, device="meta")
    named = {"weight_ih_l0": w.W, "weight_hh_l0": w.U, "bias_ih_l0": w.b, "bias_hh_l0": torch.zeros_like(w.b)}
    hs, last = functional_call(module, named, (x, h0[None].contiguous()))
    return hs, last[0]
