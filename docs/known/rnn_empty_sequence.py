"""torch.nn.RNN, LSTM and GRU refuse a sequence of no steps; an empty batch is accepted."""

from __future__ import annotations

import torch

for kind in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
    layer = kind(3, 2, batch_first=True)
    print(kind.__name__, "empty batch:", tuple(layer(torch.zeros(0, 5, 3))[0].shape))
    try:
        layer(torch.zeros(4, 0, 3))
    except RuntimeError as error:
        print(kind.__name__, "empty sequence:", error)
    else:
        raise SystemExit("no longer so")
