"""Asked for by name, torch's fused CPU attention refuses keys whose last axis is not contiguous."""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

q, k, v = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 4, 3).mT, torch.ones(1, 1, 3, 4)
print("left to choose:", F.scaled_dot_product_attention(q, k, v).shape)
try:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        F.scaled_dot_product_attention(q, k, v)
except RuntimeError as error:
    print("FLASH_ATTENTION:", str(error).splitlines()[0])
else:
    raise SystemExit("no longer so")
