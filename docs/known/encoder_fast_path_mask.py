"""In evaluation, nn.TransformerEncoderLayer takes a mask of numbers for one of bools: a bias of 1 hides."""

import torch

torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
x = torch.randn(1, 3, 8)
bias = torch.zeros(3, 3)
bias[0, 1] = 1.0  # token 0 likes token 1 a little more
with torch.no_grad():
    due = layer.train()(x, src_mask=bias)
    found = layer.eval()(x, src_mask=bias)
    hidden = layer.train()(x, src_mask=bias != 0)
print("train:", due[0, 0, :3].tolist())
print("eval: ", found[0, 0, :3].tolist())
print("as if hidden:", hidden[0, 0, :3].tolist())
raise SystemExit(
    0 if torch.allclose(found, hidden, atol=1e-5) and not torch.allclose(found, due, atol=1e-3) else "gone"
)
