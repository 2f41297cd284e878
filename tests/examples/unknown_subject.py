"""A target that names a subject which does not exist."""

import torch

from seqlaws import Implementation

mine = Implementation(name="mine", subject="sofmax", call=torch.softmax)
