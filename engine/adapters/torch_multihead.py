"""torch.nn.MultiheadAttention: with and without its weights, in training and in evaluation, fused and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seqlaws.implementation import Implementation, Known
from seqlaws.spec.multihead.drawing import MultiheadCase

NAME = "torch.nn.MultiheadAttention"


@cache
def _module(size: int, num_heads: int, training: bool, batch_first: bool) -> nn.Module:
    """A module whose parameters are only placeholders: every call brings its own."""
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and never used
        return nn.MultiheadAttention(size, num_heads, batch_first=batch_first).train(training)


def parameters(w: Any) -> dict[str, Tensor]:
    """The weights under the names that torch has for them."""
    return {
        "in_proj_weight": torch.cat([w.W_q, w.W_k, w.W_v]),
        "in_proj_bias": torch.cat([w.b_q, w.b_k, w.b_v]),
        "out_proj.weight": w.W_o,
        "out_proj.bias": w.b_o,
    }


def mha(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    w: Any,
    *,
    num_heads: int,
    mask: Tensor | None = None,
    is_causal: bool = False,
    training: bool = False,
    batch_first: bool = True,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
    **options: bool,
) -> Tensor:
    """Query [B,Tq,E] and key, value [B,Tk,E] to [B,Tq,E], by the module with these weights."""
    masks = masks_of(mask, is_causal, query.shape[0], num_heads, query.shape[1], key.shape[1], query.device)
    if not batch_first:
        # one tensor must stay one tensor
        query, key, value = _turned(query, key, value)
    with within():
        module = _module(query.shape[-1], num_heads, training, batch_first)
        out, _ = functional_call(
            module, parameters(w), (query, key, value), {"need_weights": False, **masks, **options}
        )
    return out if batch_first else out.transpose(0, 1)


def _turned(*tensors: Tensor) -> Iterator[Tensor]:
    turned = {id(tensor): tensor.transpose(0, 1) for tensor in tensors}
    return (turned[id(tensor)] for tensor in tensors)


def masks_of(
    mask: Tensor | None, is_causal: bool, batch: int, heads: int, queries: int, keys: int, device: torch.device
) -> dict[str, Any]:
    """The arguments that say the same: True hides there, shapes are [Tq,Tk], [B,Tk] or [B·H,Tq,Tk].

    Causality beside padding is handed over apart from it, as models do.
    """
    future = torch.ones(queries, keys, dtype=torch.bool, device=device).triu(1) if is_causal else None
    if mask is None:
        return {"attn_mask": future, "is_causal": is_causal}
    hidden = ~mask if mask.dtype == torch.bool else mask
    if hidden.dim() == 4 and hidden.shape[1:3] == (1, 1):
        if future is not None and hidden.dtype != torch.bool:  # two masks must be of one kind
            future = torch.zeros(queries, keys, dtype=hidden.dtype, device=device).masked_fill(future, -torch.inf)
        return {"key_padding_mask": hidden[:, 0, 0].expand(batch, keys), "attn_mask": future}
    if future is not None:
        hidden = hidden | future if hidden.dtype == torch.bool else hidden.masked_fill(future, -torch.inf)
    if all(size == 1 for size in hidden.shape[:-2]):
        return {"attn_mask": hidden.reshape(hidden.shape[-2:]).expand(queries, keys)}
    return {"attn_mask": hidden.expand(batch, heads, queries, keys).reshape(batch * heads, queries, keys)}


@contextmanager
def without_fast_path() -> Iterator[None]:
    """The native fast paths of torch switched off."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _leaks(dtype: torch.dtype) -> bool:
    """Whether NaN in a row of a product reaches the row before it, as it does on CPUs with AMX."""
    rows = torch.ones(1, 33, 65, dtype=dtype)
    rows[:, 1::2] = torch.nan
    return bool((rows @ torch.ones(1, 65, 5, dtype=dtype))[0, 0].isnan().any())


LEAKY = tuple(name for name in ("float16", "bfloat16") if _leaks(getattr(torch, name)))

EMPTY_ROW_IS_NAN = Known(
    "self-attention of an even number of heads takes the native fast path, which fills empty rows with NaN; "
    "every other path fills them with zeros",
    case=MultiheadCase(2, 2, 4, 5, 5, "self", mask_axes="BHQK", seed=1),
    script="docs/known/mha_fast_path_empty_row.py",
    link="https://github.com/pytorch/pytorch/pull/190486",
)
NO_EMPTY_BATCH = Known(
    "an empty batch is refused together with a mask, whose view leaves one size to be worked out from 0 elements",
    case=MultiheadCase(2, 1, 4, 3, 5, mask="bool", mask_axes="B11K", seed=1),
    script="docs/known/mha_empty_batch.py",
    link="https://github.com/pytorch/pytorch/issues/38115",
)
HIDES_NAN = Known(
    "the fused CPU kernel of attention inside skips NaN in its running maximum: a NaN row comes out as zeros",
    case=MultiheadCase(2, 1, 4, 3, 1, seed=1),
    devices=("cpu",),
    script="docs/known/sdpa_flash_hides_nan.py",
    link="https://github.com/pytorch/pytorch/issues/141128",
)
NAN_LEAKS = Known(
    "oneDNN's products for AMX read past the end of a row: the NaN of an empty row reaches the row before it",
    case=MultiheadCase(5, 3, 5, 33, 65, "memory", mask="bool", seed=3),
    dtypes=LEAKY,
    devices=("cpu",),
    script="docs/known/matmul_leaks_nan.py",
    link="https://github.com/uxlfoundation/oneDNN/issues/5717",
)

default = Implementation(
    name=NAME,
    subject="multihead",
    call=mha,
    dialect={"misfits": "refused"},
    paths={
        "train": partial(mha, training=True),
        "no_grad": partial(mha, within=torch.no_grad),
        "inference_mode": partial(mha, within=torch.inference_mode),
        "fast path off": partial(mha, within=without_fast_path),
        "batch second": partial(mha, batch_first=False),
        "need_weights": partial(mha, need_weights=True),
        "need_weights in train": partial(mha, need_weights=True, training=True),
    },
    known={
        "multihead.an_empty_row_follows_its_dialect": EMPTY_ROW_IS_NAN,
        "multihead.an_empty_head_contributes_nothing": EMPTY_ROW_IS_NAN,
        "multihead.left_padding_under_causality_leaves_empty_rows": replace(
            EMPTY_ROW_IS_NAN, case=MultiheadCase(2, 2, 4, 5, 5, "self", causal=True, seed=1)
        ),
        "multihead.accepts_none_and_one": NO_EMPTY_BATCH,
        "multihead.shows_nan": HIDES_NAN,
    },
)

with_weights = Implementation(
    name=f"{NAME}.need_weights",
    subject="multihead",
    call=partial(mha, need_weights=True),
    dialect={"empty_row": "nan", "misfits": "refused"},
    paths={
        "train": partial(mha, need_weights=True, training=True),
        "no_grad": partial(mha, need_weights=True, within=torch.no_grad),
        "weights of each head": partial(mha, need_weights=True, average_attn_weights=False),
        "fast path off": partial(mha, need_weights=True, within=without_fast_path),
    },
    known={
        "multihead.an_empty_row_follows_its_dialect": NAN_LEAKS,
        "multihead.accepts_none_and_one": replace(
            NO_EMPTY_BATCH, case=MultiheadCase(2, 2, 4, 5, 5, "self", mask="bool", mask_axes="B1QK", seed=1)
        ),
    },
)
