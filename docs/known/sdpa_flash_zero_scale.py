"""torch's fused attention on CPU hides the future before it scales: with scale 0, minus infinity times 0 is NaN.

Exits with 0 while the fault is there.
"""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

q, k, v = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 2, 1), torch.ones(1, 1, 2, 1)
found = {}
for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
    with sdpa_kernel(backend):
        found[backend.name] = scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.0).item()
print(torch.__version__, found)  # one visible key, whose value is 1
raise SystemExit(not (found["MATH"] == 1 and found["FLASH_ATTENTION"] != found["FLASH_ATTENTION"]))
