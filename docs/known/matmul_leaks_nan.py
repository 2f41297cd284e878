"""On CPUs with AMX, NaN in one row of a bfloat16 product reaches the row before it."""

import torch

rows = torch.ones(1, 33, 65, dtype=torch.bfloat16)
rows[:, 1] = torch.nan
out = rows @ torch.ones(1, 65, 5, dtype=torch.bfloat16)
spoilt = out[0].isnan().any(dim=-1).nonzero().flatten().tolist()
print("NaN went in at row [1] and came out at rows", spoilt)
if not torch.cpu._is_amx_tile_supported():
    print("this CPU has no AMX")
elif spoilt == [1]:
    raise SystemExit("no longer so")
