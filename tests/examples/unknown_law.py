"""A target that names a law which does not exist."""

import torch

from seqlaws import Implementation

mine = Implementation(name="mine", subject="softmax", call=torch.softmax, known={"softmax.sums_to_two": "why"})
