"""torch.nn.RNN, LSTM and GRU take a state for 4 sequences with an unsorted packed batch of 3, and drop the fourth."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence

accepted = []
for kind in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
    layer, tokens, h = kind(2, 5, batch_first=True), torch.ones(3, 4, 2), torch.ones(1, 4, 5)
    packed = pack_padded_sequence(tokens, torch.tensor([4, 3, 4]), batch_first=True, enforce_sorted=False)
    for how, given in (("padded", tokens), ("packed", packed)):
        try:
            layer(given, (h, h) if kind is torch.nn.LSTM else h)
            accepted.append(how)
            print(f"{kind.__name__}, {how}: accepted")
        except RuntimeError as error:
            print(f"{kind.__name__}, {how}: {error}")
raise SystemExit(0 if accepted == ["packed"] * 3 else "no longer so")
