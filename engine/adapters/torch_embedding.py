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

from seqlaws.implementation import Implementation, Known
from seqlaws.spec.embedding import EmbeddingCase


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


SUMS_IN_HALF = Known(
    "on CPU the gradients of an id are added up in the half type itself, where a sum stands still",
    case=EmbeddingCase((4097,), 2, 2, seed=3),
    dtypes=("float16", "bfloat16"),
    devices=("cpu",),
    script="docs/known/embedding_half_sums.py",
)
REFUSES = {"negative_ids": "refused", "sums": "wide"}
FREQUENT = {"embedding.sums_a_frequent_id_in_a_wider_type": SUMS_IN_HALF}

default = Implementation(
    name="torch.nn.Embedding",
    subject="embedding",
    call=embed,
    dialect=REFUSES,
    paths=_paths(None),
    known=FREQUENT,
)

with_padding = Implementation(
    name="torch.nn.Embedding.padding_idx",
    subject="embedding",
    call=partial(embed, padding_idx=0),
    dialect={"padding": "first", **REFUSES},
    paths=_paths(0),
    known=FREQUENT,
)
