"""nn.MultiheadAttention accepts an empty batch, but not together with a mask."""

import torch

layer = torch.nn.MultiheadAttention(4, 2, batch_first=True)
x = torch.zeros(0, 3, 4)
print("without a mask:", tuple(layer(x, x, x, need_weights=False)[0].shape))
try:
    layer(x, x, x, key_padding_mask=torch.zeros(0, 3, dtype=torch.bool), need_weights=False)
except RuntimeError as error:
    print("with a mask:", error)
else:
    raise SystemExit("no longer so")
