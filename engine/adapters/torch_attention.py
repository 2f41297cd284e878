"""torch.nn.functional.scaled_dot_product_attention: as it chooses by itself, and once for each backend."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqlaws.implementation import Implementation, Known
from seqlaws.spec.attention import AttentionCase

NAME = "torch.nn.functional.scaled_dot_product_attention"
EVERYTHING = frozenset({"bool_mask", "float_mask", "causal", "grouped_query", "cross_length", "value_width", "scale",
                        "gradient", "mask_gradient"})  # fmt: skip
HALF = ("float16", "bfloat16")


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """q [B,H,Tq,D], k [B,Hkv,Tk,D], v [B,Hkv,Tk,Dv] to [B,H,Tq,Dv], by whichever backend torch chooses."""
    if mask is not None and mask.ndim < 4:  # fused backends know masks of rank 2 and 4 only
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    grouped = q.shape[1] != k.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch explains each backend that it does not take
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=grouped)


def _by(backend: SDPBackend) -> Callable[..., torch.Tensor]:
    def attend_by(*arrays: torch.Tensor, **options: Any) -> torch.Tensor:
        with sdpa_kernel(backend):
            return attend(*arrays, **options)

    return attend_by


def _without_graph(mode: Callable[[], Any]) -> Callable[..., torch.Tensor]:
    def attend_without_graph(*arrays: torch.Tensor, **options: Any) -> torch.Tensor:
        with mode():
            return attend(*arrays, **options)

    return attend_without_graph


HIDES_NAN = Known(
    "the fused CPU kernel's running maximum skips NaN: a NaN row comes out as zeros",
    # one key: fewer than any vector holds, whose lanes do show NaN
    case=AttentionCase(2, 1, 1, 3, 1, 4, 4),
    devices=("cpu",),
    script="docs/known/sdpa_flash_hides_nan.py",
    link="https://github.com/pytorch/pytorch/issues/141128",
)
ACCEPTS_MISSING_VALUES = Known(
    "the fused CPU kernel never compares the lengths of keys and values, and reads as many keys as there are values",
    case=AttentionCase(2, 1, 1, 3, 5, 4, 4),
    devices=("cpu",),
    script="docs/known/sdpa_flash_accepts_missing_values.py",
    link="https://github.com/pytorch/pytorch/pull/193728",
)
REFUSES_LAYOUTS = Known(
    "asked for by name, the fused CPU kernel refuses inputs whose last axis is not contiguous",
    case=AttentionCase(2, 1, 1, 3, 5, 4, 4),
    devices=("cpu",),
    script="docs/known/sdpa_flash_refuses_layouts.py",
)


def _adds_up_the_queries() -> bool:
    """Whether attention over no keys is zeros plus 0 times the sum of the queries, where a sum may overflow."""
    q = torch.full((1, 1, 2, 1), 60_000.0, dtype=torch.float16)
    return bool(F.scaled_dot_product_attention(q, q[:, :, :0], q[:, :, :0]).isnan().any())


ADDED_UP = ("float16",) if _adds_up_the_queries() else ()

FAILS_WITHOUT_KEYS = Known(
    "with no keys, zeros plus 0 times the sum of the queries are returned: NaN where that sum overflows",
    case=AttentionCase(16, 2, 2, 64, 3, 2, 2, fill="sharp", seed=10),
    dtypes=ADDED_UP,
    script="docs/known/sdpa_no_keys_overflow.py",
    link="https://github.com/pytorch/pytorch/pull/175063",
)
# the shortcut for no keys comes before a backend is chosen
ANY_BACKEND = {"attention.accepts_none_and_one": FAILS_WITHOUT_KEYS}
HIDES_BEFORE_IT_SCALES = Known(
    "the fused CPU kernel hides the future before it scales: with scale 0, −∞ times 0 is NaN",
    case=AttentionCase(2, 2, 2, 3, 5, 4, 4, causal=True, scale=0.0, fill="normal", seed=7),
    devices=("cpu",),
    script="docs/known/sdpa_flash_zero_scale.py",
)
FUSED_ON_CPU = {
    **ANY_BACKEND,
    "attention.what_is_hidden_stays_hidden_at_every_scale": HIDES_BEFORE_IT_SCALES,
    "attention.gradients_know_what_is_hidden_at_every_scale": HIDES_BEFORE_IT_SCALES,
    "attention.shows_nan": HIDES_NAN,
    "attention.refuses_malformed_input": ACCEPTS_MISSING_VALUES,
}

default = Implementation(
    name=NAME,
    subject="attention",
    dialect={"misfits": "refused"},
    call=attend,
    can=EVERYTHING,
    paths={"no_grad": _without_graph(torch.no_grad), "inference_mode": _without_graph(torch.inference_mode)},
    known=FUSED_ON_CPU,
)

math = Implementation(
    name=f"{NAME}.math",
    subject="attention",
    dialect={"misfits": "refused"},
    call=_by(SDPBackend.MATH),
    can=EVERYTHING,
    known=ANY_BACKEND,
)

flash = Implementation(
    name=f"{NAME}.flash",
    subject="attention",
    dialect={"misfits": "refused"},
    call=_by(SDPBackend.FLASH_ATTENTION),
    can=EVERYTHING - {"value_width", "mask_gradient"},
    devices=("cpu",),
    known={
        **FUSED_ON_CPU,
        "attention.reads_any_layout": REFUSES_LAYOUTS,
        "attention.reads_expanded_inputs": REFUSES_LAYOUTS,
        "attention.gives_the_gradient_of_expanded_inputs": REFUSES_LAYOUTS,
        "attention.reads_any_layout_of_its_gradient": REFUSES_LAYOUTS,
    },
)

flash_cuda = Implementation(
    name=f"{NAME}.flash_cuda",
    subject="attention",
    dialect={"misfits": "refused"},
    call=_by(SDPBackend.FLASH_ATTENTION),
    can=frozenset({"causal", "grouped_query", "cross_length", "scale", "gradient"}),
    dtypes=HALF,
    devices=("cuda",),
    known=ANY_BACKEND,
)

efficient = Implementation(
    name=f"{NAME}.efficient",
    subject="attention",
    dialect={"misfits": "refused"},
    call=_by(SDPBackend.EFFICIENT_ATTENTION),
    can=EVERYTHING - {"grouped_query"},
    dtypes=("float16", "bfloat16", "float32"),
    devices=("cuda",),
    known=ANY_BACKEND,
)

cudnn = Implementation(
    name=f"{NAME}.cudnn",
    subject="attention",
    dialect={"misfits": "refused"},
    call=_by(SDPBackend.CUDNN_ATTENTION),
    can=EVERYTHING - {"mask_gradient"},
    dtypes=HALF,
    devices=("cuda",),
    known=ANY_BACKEND,
)
