"""torch.nn.Embedding and torch.nn.functional.embedding, with and without a row for padding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from seqlaws.implementation import Implementation


def embed(
    ids: Tensor,
    table: Tensor,
    *,
    padding_idx: int | None = None,
    training: bool = False,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """ids of any shape and a table [V,D] to ids.shape + [D], by a module that is given the table."""
    module: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        table.detach(), padding_idx=padding_idx
    )
    module.train(training)
    with within():
        out: Tensor = functional_call(module, {"weight": table}, (ids,))
    return out


def _paths(padding_idx: int | None) -> dict[str, Callable[..., Tensor]]:
    return {
        "train": partial(embed, padding_idx=padding_idx, training=True),
        "no_grad": partial(embed, padding_idx=padding_idx, within=torch.no_grad),
        "inference_mode": partial(embed, padding_idx=padding_idx, within=torch.inference_mode),
        "functional": partial(F.embedding, padding_idx=padding_idx),
    }


default = Implementation(
    name="torch.nn.Embedding", subject="embedding", call=embed, dialect={"negative_ids": "refused"}, paths=_paths(None)
)

with_padding = Implementation(
    name="torch.nn.Embedding.padding_idx",
    subject="embedding",
    call=partial(embed, padding_idx=0),
    dialect={"padding": "first", "negative_ids": "refused"},
    paths=_paths(0),
)
