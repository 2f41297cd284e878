"""torch.nn.LSTM on the CPU accepts a packed sequence of the wrong width; without oneDNN it is refused."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pack_padded_sequence

layer = torch.nn.LSTM(3, 2, batch_first=True)
narrow = torch.ones(1, 1, 2)
accepted = []
for enabled in (True, False):
    with torch.backends.mkldnn.flags(enabled=enabled):
        for name, tokens in (("plain", narrow), ("packed", pack_padded_sequence(narrow, torch.tensor([1]), True))):
            try:
                layer(tokens)
                print(f"oneDNN {enabled}, {name}: accepted")
                accepted.append((enabled, name))
            except RuntimeError as error:
                print(f"oneDNN {enabled}, {name}: {error}")
raise SystemExit(0 if accepted == [(True, "packed")] else "no longer so")
