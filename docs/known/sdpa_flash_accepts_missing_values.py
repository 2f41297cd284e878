"""Three keys and two values: torch's fused CPU attention computes something, the math one refuses."""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

q, k, v = torch.ones(1, 1, 1, 4), torch.ones(1, 1, 3, 4), torch.ones(1, 1, 2, 4)
with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
    print("FLASH_ATTENTION:", F.scaled_dot_product_attention(q, k, v).tolist())
try:
    with sdpa_kernel(SDPBackend.MATH):
        F.scaled_dot_product_attention(q, k, v)
except RuntimeError as error:
    print("MATH:", str(error).splitlines()[0])
else:
    raise SystemExit("no longer so")
