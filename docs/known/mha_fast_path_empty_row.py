"""A query that sees no key gets NaN from nn.MultiheadAttention's fast path, and zeros from every other path."""

import torch

torch.manual_seed(0)
layer = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
x = torch.randn(1, 3, 8)
hidden = torch.ones(3, 3, dtype=torch.bool).triu(1)  # True hides
hidden[0] = True
found = []
for fast in (False, True):
    torch.backends.mha.set_fastpath_enabled(fast)
    with torch.no_grad():
        out, _ = layer(x, x, x, attn_mask=hidden, need_weights=False)
    found.append(bool(out[0, 0].isnan().all()))
    print(f"fast path {fast}: {out[0, 0, :3].tolist()}")
raise SystemExit(0 if found == [False, True] else "no longer so")
