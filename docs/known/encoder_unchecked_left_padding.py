"""With mask_check=False, nn.TransformerEncoder takes left padding for tokens, and tokens for padding."""

import torch

torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
x = torch.randn(1, 4, 8)
padding = torch.tensor([[True, True, False, False]])
found = []
for check in (True, False):
    encoder = torch.nn.TransformerEncoder(layer, 1, mask_check=check).eval()
    with torch.no_grad():
        out = encoder(x, src_key_padding_mask=padding)
        alone = encoder(x[:, 2:])
    found.append(out.shape == x.shape and torch.allclose(out[:, 2:], alone, atol=1e-5))
    print(f"mask_check={check}: the real tokens come out as they do alone: {found[-1]}")
raise SystemExit(0 if found == [True, False] else "no longer so")
