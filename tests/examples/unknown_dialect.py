"""A target that names a dialect which does not exist."""

import torch

from seqlaws import Implementation

mine = Implementation(name="mine", subject="softmax", call=torch.softmax, dialect={"empty_row": "zero"})
