"""How far what a float32 program computes is from exact values, as a share of the error that it may make."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn

from seqlaws.formats import FORMATS, Array

SINGLE = FORMATS["float32"]


def exact(x: Tensor) -> Array:
    """The same numbers as a float64 array, in which a reference computes."""
    return x.detach().double().numpy()


def share(got: Tensor, wanted: Array, bound: Array) -> float:
    """The largest error as a share of its bound: what exceeds 1 is no rounding."""
    return float(np.max(np.abs(exact(got) - wanted) / bound))


def weights_of_attention(module: nn.MultiheadAttention) -> Any:
    """The weights of a module without biases or with them, under the names that references have for them."""
    width = module.embed_dim
    inner = exact(module.in_proj_weight).reshape(3, width, width)
    shifts = np.zeros((3, width)) if module.in_proj_bias is None else exact(module.in_proj_bias).reshape(3, width)
    outer = module.out_proj
    named = {f"W_{letter}": matrix for letter, matrix in zip("qkv", inner, strict=True)}
    named |= {f"b_{letter}": shift for letter, shift in zip("qkv", shifts, strict=True)}
    named |= {"W_o": exact(outer.weight), "b_o": np.zeros(width) if outer.bias is None else exact(outer.bias)}
    return SimpleNamespace(**named)


def weights_of_encoder(block: nn.TransformerEncoderLayer) -> Any:
    """The weights of an encoder block, under the names that references have for them."""
    parts = {"1": (block.linear1, block.norm1), "2": (block.linear2, block.norm2)}
    named = vars(weights_of_attention(block.self_attn))
    for number, (linear, norm) in parts.items():
        named |= {f"W_{number}": exact(linear.weight), f"b_{number}": exact(linear.bias)}
        named |= {f"g_{number}": exact(norm.weight), f"s_{number}": exact(norm.bias)}
    return SimpleNamespace(**named)
