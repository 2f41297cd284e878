"""Three softmaxes. `stable` is right; `shifted` and `along_the_last_axis` each have one fault."""

import torch

from seqlaws import Implementation


def shift(x, dim):
    weights = (x - x.amax(dim, keepdim=True)).exp()
    return weights / (weights.sum(dim, keepdim=True) + 1e-3)


def last_axis(x, dim):
    return torch.softmax(x, -1)


stable = Implementation(name="stable", subject="softmax", call=torch.softmax)
faulty = [
    Implementation(name="shifted", subject="softmax", call=shift),
    Implementation(name="along_the_last_axis", subject="softmax", call=last_axis),
]
