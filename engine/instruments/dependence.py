"""Dependence: which input positions reach which output positions, told from below.

What operators show is an upper bound of what depends on what. This is the lower one: a position that
was changed and changed a result, or along which a gradient flowed, does matter. Where the two bounds
meet, the dependence is certain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.errors import Misunderstood
from seqlaws.instruments.model import Model
from seqlaws.instruments.transparent import transparent

TRIES = 8


def seen(model: Model, claimed: Tensor) -> Tensor:
    """Which pairs [T, T] (output, input) were seen to matter, by gradient and by perturbation in float64.

    Stops as soon as every claimed pair has been seen; whatever else was seen is in the result too.
    """
    length = len(claimed)
    exact = model.doubled()
    with exact.still(), transparent():
        found = _by_gradient(exact, length) | _by_perturbation(exact, length, 0)
        for seed in range(1, TRIES):
            if not (claimed & ~found).any():
                break
            found |= _by_perturbation(exact, length, seed)
    return found


def _by_gradient(model: Model, length: int) -> Tensor:
    """Copy b of the input looks at output b alone: one backward gives every pair."""
    x = model.inputs(length, length).requires_grad_()
    nothing = torch.zeros(length, length, dtype=torch.bool)
    try:
        out = model(x)
        at = torch.arange(length, device=out.device)
        weights = torch.rand(out.shape[-1], dtype=out.dtype, device=out.device) + 0.5
        (gradient,) = torch.autograd.grad((out[at, at] * weights).sum(), x, allow_unused=True)
    except (RuntimeError, Misunderstood):  # not differentiable: perturbation has to do
        return nothing
    return nothing if gradient is None else (gradient.ne(0) & ~gradient.isnan()).any(-1).cpu()


@torch.no_grad()
def _by_perturbation(model: Model, length: int, seed: int) -> Tensor:
    """Copy b is changed at position b; a row is compared with itself, since rows may round differently."""
    x = model.inputs(length, length, seed=seed)
    changed = x.clone()
    at = torch.arange(length, device=x.device)
    changed[at, at] += model.inputs(1, length, seed=seed + TRIES)[0]
    before, after = model(x), model(changed)
    return ((before != after) & ~(before.isnan() & after.isnan())).any(-1).T.cpu()
