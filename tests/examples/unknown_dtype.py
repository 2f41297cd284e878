"""A target that names a dtype which does not exist."""

import torch

from seqlaws import Implementation

mine = Implementation(name="mine", subject="softmax", call=torch.softmax, dtypes=("float32", "float8"))
