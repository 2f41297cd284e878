"""torch.nn.TransformerEncoderLayer and torch.nn.TransformerEncoder: in training and in evaluation, fused and not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seqlaws.adapters import torch_multihead
from seqlaws.adapters.torch_multihead import masks_of, without_fast_path
from seqlaws.implementation import Implementation, Known
from seqlaws.spec.encoder.drawing import EncoderCase

NAME = "torch.nn.TransformerEncoderLayer"
RENAMED = {
    "self_attn.out_proj.weight": "W_o", "self_attn.out_proj.bias": "b_o",
    "linear1.weight": "W_1", "linear1.bias": "b_1", "linear2.weight": "W_2", "linear2.bias": "b_2",
    "norm1.weight": "g_1", "norm1.bias": "s_1", "norm2.weight": "g_2", "norm2.bias": "s_2",
}  # fmt: skip


@contextmanager
def _plainly() -> Iterator[None]:
    """Without gradients, and without fast paths."""
    with torch.no_grad(), without_fast_path():
        yield


@cache
def _layer(size: int, num_heads: int, hidden: int, norm_first: bool, training: bool, batch_first: bool) -> Any:
    """A layer whose parameters are only placeholders: every call brings its own."""
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and never used
        return nn.TransformerEncoderLayer(
            size, num_heads, hidden, dropout=0.0, norm_first=norm_first, batch_first=batch_first
        ).train(training)


@cache
def _stack(size: int, num_heads: int, hidden: int, norm_first: bool, training: bool, **options: Any) -> nn.Module:
    """The same layer as the only one of a TransformerEncoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says when it will not use nested tensors
        made = nn.TransformerEncoder(_layer(size, num_heads, hidden, norm_first, training, True), 1, **options)
    return made.train(training)


def parameters(w: Any) -> dict[str, Tensor]:
    """The weights under the names that torch has for them."""
    return {
        "self_attn.in_proj_weight": torch.cat([w.W_q, w.W_k, w.W_v]),
        "self_attn.in_proj_bias": torch.cat([w.b_q, w.b_k, w.b_v]),
        **{name: getattr(w, ours) for name, ours in RENAMED.items()},
    }


def encoder_layer(
    x: Tensor,
    w: Any,
    *,
    num_heads: int,
    norm_first: bool,
    mask: Tensor | None = None,
    training: bool = False,
    batch_first: bool = True,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """x [B,T,E] to [B,T,E], by the module with these weights."""
    masks = layer_masks(mask, x.shape[0], num_heads, x.shape[1])
    module = _layer(x.shape[-1], num_heads, len(w.b_1), norm_first, training, batch_first)
    tokens = x if batch_first else x.transpose(0, 1)
    with within():
        out: Tensor = functional_call(module, parameters(w), (tokens,), masks)
    return out if batch_first else out.transpose(0, 1)


def encoder(
    x: Tensor,
    w: Any,
    *,
    num_heads: int,
    norm_first: bool,
    mask: Tensor | None = None,
    training: bool = False,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
    **options: bool,
) -> Tensor:
    """The same through nn.TransformerEncoder with one layer; ``options`` are its own.

    A nested tensor has no padding: what comes back there is zero by convention, and the layer itself says
    what stands there otherwise.
    """
    masks = layer_masks(mask, x.shape[0], num_heads, x.shape[1])
    padding = masks.get("src_key_padding_mask")
    renamed = {f"layers.0.{name}": weight for name, weight in parameters(w).items()}
    module = _stack(x.shape[-1], num_heads, len(w.b_1), norm_first, training, **options)
    with within(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nested tensors are a prototype, torch says
        out: Tensor = functional_call(module, renamed, (x, masks.pop("src_mask", None)), masks)
    if padding is None or padding.dtype != torch.bool or options.get("enable_nested_tensor") is False:
        return out
    absent = padding & (out == 0).all(dim=-1)
    whole = encoder_layer(x, w, num_heads=num_heads, norm_first=norm_first, mask=mask, training=training, within=within)
    return torch.where(absent[..., None], whole, out)


def layer_masks(mask: Tensor | None, batch: int, heads: int, length: int) -> dict[str, Tensor]:
    """The same masks under the names that a layer has for them."""
    if mask is None:
        return {}
    said = masks_of(mask, False, batch, heads, length, length, mask.device)
    return {
        f"src_{name.removeprefix('attn_')}": said[name] for name in ("attn_mask", "key_padding_mask") if name in said
    }


FAST = frozenset({"pre_norm", "post_norm", "bool_mask", "gradient"})

ADDITIVE_MASK_IS_BOOL = Known(
    "the native fast path takes a mask of numbers for one of bools: whatever is not 0 hides, finite or not",
    case=EncoderCase(4, 4, 4, 4, 16, mask="float", mask_axes="B1QK", seed=4),
    script="docs/known/encoder_fast_path_mask.py",
    link="https://github.com/pytorch/pytorch/issues/136816",
)

NO_EMPTY_BATCH = replace(torch_multihead.NO_EMPTY_BATCH, case=EncoderCase(4, 4, 6, 9, 13, True, mask="bool", seed=3))
EMPTY_ROW_IS_NAN = replace(
    torch_multihead.EMPTY_ROW_IS_NAN,
    case=EncoderCase(3, 2, 5, 7, 11, mask="bool", mask_axes="BHQK", fill="normal", seed=1),
)
UNCHECKED_LEFT_PADDING = Known(
    "with mask_check=False, a nested tensor is made of as many tokens as are real, from the left: where padding "
    "is on the left, it is taken for tokens and tokens for padding",
    case=EncoderCase(5, 2, 8, 5, 32, mask="bool", pattern="left", gain=0.1, fill="normal", seed=7),
    script="docs/known/encoder_unchecked_left_padding.py",
)

default = Implementation(
    name=NAME,
    subject="encoder",
    call=partial(encoder_layer, training=True),
    paths={
        "eval": encoder_layer,
        "no_grad": partial(encoder_layer, within=torch.no_grad),
        "inference_mode": partial(encoder_layer, within=torch.inference_mode),
        "fast path off": partial(encoder_layer, within=without_fast_path),
        "batch second": partial(encoder_layer, batch_first=False),
        "TransformerEncoder": partial(encoder, enable_nested_tensor=False, training=True),
    },
    known={
        "encoder.agrees_on_all_paths": ADDITIVE_MASK_IS_BOOL,
        "encoder.accepts_none_and_one": NO_EMPTY_BATCH,
    },
)

evaluation = Implementation(
    name=f"{NAME}.eval",
    subject="encoder",
    call=encoder_layer,
    can=FAST,
    paths={
        "train": partial(encoder_layer, training=True),
        "no_grad": partial(encoder_layer, within=torch.no_grad),
        "inference_mode": partial(encoder_layer, within=torch.inference_mode),
        "fast path off": partial(encoder_layer, within=without_fast_path),
        "batch second": partial(encoder_layer, batch_first=False),
        "TransformerEncoder": partial(encoder, enable_nested_tensor=False),
    },
    known={
        "encoder.an_empty_row_follows_its_dialect": EMPTY_ROW_IS_NAN,
        "encoder.accepts_none_and_one": NO_EMPTY_BATCH,
    },
)

nested = Implementation(
    name="torch.nn.TransformerEncoder",
    subject="encoder",
    call=partial(encoder, within=torch.no_grad),
    can=FAST - {"gradient"},
    paths={
        "mask_check=False": partial(encoder, within=torch.no_grad, mask_check=False),
        "fast path off": partial(encoder, within=_plainly),
    },
    known={
        "encoder.an_empty_row_follows_its_dialect": EMPTY_ROW_IS_NAN,
        "encoder.accepts_none_and_one": replace(
            NO_EMPTY_BATCH, case=EncoderCase(4, 4, 4, 4, 16, mask="bool", mask_axes="B1QK", seed=4)
        ),
        "encoder.agrees_on_all_paths": UNCHECKED_LEFT_PADDING,
    },
)
