"""With no keys at all, torch's attention returns zeros + 0 · (sum of q): NaN where that sum overflows."""

import torch
import torch.nn.functional as F

q = torch.full((1, 1, 2, 1), 60_000.0, dtype=torch.float16)  # each is finite, their sum is not
k = v = torch.empty(1, 1, 0, 1, dtype=torch.float16)
out = F.scaled_dot_product_attention(q, k, v)
print(f"attention over no keys: {out.flatten().tolist()}, and for small queries:")
print(F.scaled_dot_product_attention(q / 1000, k, v).flatten().tolist())
raise SystemExit(0 if out.isnan().all() else "no longer so")
