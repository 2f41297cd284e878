"""torch.nn.LayerNorm and torch.nn.RMSNorm, as functions and as modules that are given their weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seqlaws.implementation import Implementation, Known
from seqlaws.spec.norm import NormCase


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x [..., D], gain and shift [D], to the shape of x."""
    return F.layer_norm(x, x.shape[-1:], gain, shift, eps)


def rms_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x [..., D] and gain [D], to the shape of x; torch has no shift here."""
    return F.rms_norm(x, x.shape[-1:], gain, eps)


def by_module(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    *,
    kind: type[nn.Module],
    training: bool = False,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """The same through a module, whose weights are placeholders: every call brings its own."""
    parameters = {"weight": gain, "bias": shift} if kind is nn.LayerNorm else {"weight": gain}
    module = kind(x.shape[-1], eps=eps, device="meta").train(training)
    with within():
        out: Tensor = functional_call(module, parameters, (x,))
    return out


def _modules(kind: type[nn.Module]) -> dict[str, Callable[..., Tensor]]:
    return {
        "train": partial(by_module, kind=kind, training=True),
        "no_grad": partial(by_module, kind=kind, within=torch.no_grad),
        "inference_mode": partial(by_module, kind=kind, within=torch.inference_mode),
    }


SUMS_IN_HALF = Known(
    "on CPU the gradients of gain and bias are added up over the rows in the half type itself, where sums stand still",
    case=NormCase((65_537, 2), "smooth", seed=65_539),
    dtypes=("float16", "bfloat16"),
    devices=("cpu",),
    script="docs/known/layer_norm_half_sums.py",
)

layer = Implementation(
    name="torch.nn.LayerNorm",
    subject="norm",
    call=partial(by_module, kind=nn.LayerNorm),
    dialect={"sums": "wide"},
    paths=_modules(nn.LayerNorm) | {"functional": layer_norm},
    known={"norm.gradients_of_many_rows_add_up": SUMS_IN_HALF},
)

rms = Implementation(
    name="torch.nn.RMSNorm",
    subject="norm",
    call=partial(by_module, kind=nn.RMSNorm),
    dialect={"kind": "rms", "sums": "wide"},
    paths=_modules(nn.RMSNorm) | {"functional": rms_norm},
)
