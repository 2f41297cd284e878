"""torch's LayerNorm on CPU adds up the gradient of its bias in the half type itself: 4096 ones are 256.

Exits with 0 while the fault is there.
"""

import torch
from torch.nn.functional import layer_norm

rows, found = 4096, {}
torch.set_num_threads(1)
for dtype in (torch.float32, torch.bfloat16):
    bias = torch.zeros(8, dtype=dtype, requires_grad=True)
    y = layer_norm(torch.randn(rows, 8, dtype=dtype), (8,), torch.ones(8, dtype=dtype), bias)
    y.backward(torch.ones_like(y))
    found[str(dtype)] = bias.grad[0].item()
print(torch.__version__, found)  # each should be 4096
raise SystemExit(not (found["torch.float32"] == rows and found["torch.bfloat16"] < rows / 2))
