"""Transparency: a layer that runs as one fused kernel shows nothing of what it computes.

Four global switches of torch take its fused kernels apart. `transparent` sets them and puts back
what was there, whatever happens inside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FLEX = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"
Switch = tuple[Callable[[], bool], Callable[[bool], object]]


def _cudnn(on: bool) -> None:
    torch.backends.cudnn.enabled = on


SWITCHES: tuple[Switch, ...] = (
    # oneDNN runs a whole nn.LSTM as one operator
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    # NNPACK convolves batches of 16 and more in Winograd tiles: a later input reaches an earlier output
    (torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled),
    # in eval mode nn.MultiheadAttention and nn.TransformerEncoderLayer are one operator each
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    # cuDNN does on CUDA what oneDNN does on the CPU
    (lambda: bool(torch.backends.cudnn.enabled), _cudnn),
)


@contextmanager
def transparent() -> Iterator[None]:
    """Inside, layers run as the elementary operators that they are made of; results agree up to rounding."""
    with ExitStack() as undo:
        for get, put in SWITCHES:
            undo.callback(put, get())
            put(False)
        undo.enter_context(sdpa_kernel(SDPBackend.MATH))
        flex = sys.modules.get("torch.nn.attention.flex_attention")
        if flex is not None:  # it compiles itself where nobody has, unless told not to
            undo.callback(setattr, flex, FLEX, getattr(flex, FLEX))
            setattr(flex, FLEX, True)
        yield
