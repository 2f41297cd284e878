"""Kernels that CUDA keeps fused whatever the switches say, written out in elementary operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def lstm_cell(
    given: Tensor, hidden: Tensor, cell: Tensor, given_bias: Tensor | None = None, hidden_bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The LSTM step [B, 4H], [B, 4H], [B, H] → state, cell, and the gates kept for backward."""
    gates = _biased(given, given_bias) + _biased(hidden, hidden_bias)
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    after = f * cell + i * g
    return o * after.tanh(), after, torch.cat((i, f, g, o), 1)


def gru_cell(
    given: Tensor, hidden: Tensor, state: Tensor, given_bias: Tensor | None = None, hidden_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The GRU step [B, 3H], [B, 3H], [B, H] → state, and what is kept for backward."""
    (ir, iz, inew), (hr, hz, hnew) = _biased(given, given_bias).chunk(3, 1), _biased(hidden, hidden_bias).chunk(3, 1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    new = (inew + r * hnew).tanh()
    return (state - new) * z + new, torch.cat((r, z, new, state, hnew), 1)


def _biased(gates: Tensor, bias: Tensor | None) -> Tensor:
    return gates if bias is None else gates + bias


WRITTEN_OUT: dict[Any, Callable[..., Any]] = {
    torch.ops.aten._thnn_fused_lstm_cell.default: lstm_cell,
    torch.ops.aten._thnn_fused_gru_cell.default: gru_cell,
}
