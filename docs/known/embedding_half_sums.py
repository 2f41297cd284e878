"""torch's embedding on CPU adds up the gradients of an id in the half type itself: 4096 ones are 256.

Exits with 0 while the fault is there.
"""

import torch
from torch.nn.functional import embedding

places, found = 4096, {}
torch.set_num_threads(1)
for dtype in (torch.float32, torch.bfloat16):
    table = torch.zeros(2, 1, dtype=dtype, requires_grad=True)
    y = embedding(torch.zeros(places, dtype=torch.long), table)
    y.backward(torch.ones_like(y))
    found[str(dtype)] = table.grad[0].item()
print(torch.__version__, found)  # each should be 4096
raise SystemExit(not (found["torch.float32"] == places and found["torch.bfloat16"] < places / 2))
