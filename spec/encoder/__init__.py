"""The encoder block: the subject, and what its laws share.

pre-norm (norm_first):  a = x + mha(norm₁(x)),   y = a + ffn(norm₂(a))          (Xiong et al. 2020)
post-norm:              a = norm₁(x + mha(x)),   y = norm₂(a + ffn(a))          (Vaswani et al. 2017)
ffn(z) = W_2·relu(W_1·z + b_1) + b_2;  both norms are layer normalisations with ε = 1e-5

Axes: B batch, H heads, Q tokens (K where a mask counts them as keys), E width of the model, D the
features that the heads share out, F the hidden units of the feed-forward part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.reference import attention as attention_reference
from seqlaws.reference import encoder as reference
from seqlaws.spec.attention import misfitting
from seqlaws.spec.attention.claimed import masks_are_claimed
from seqlaws.spec.encoder.drawing import WEIGHTS, cases
from seqlaws.subject import Subject

if TYPE_CHECKING:
    from seqlaws.run import Run

ANY_MASK = ("bool_mask|float_mask",)


def visible(x: Inputs) -> Array:
    """Which tokens each token may see, as [B,H,T,T]."""
    batch, length, _ = x.x.shape
    seen = attention_reference.visibility(length, length, x.mask, False)
    return np.broadcast_to(seen, (batch, x.num_heads, length, length))


def replaced(x: Inputs, where: Array) -> Inputs:
    """Other tokens, and loud ones, where [B,T] says so."""
    return x.but(x=np.where(where[..., None], 8.0 * np.sign(x.noise("other tokens", x.x.shape)), x.x))


def both_orders(block: Run, x: Inputs) -> list[Inputs]:
    """These inputs as a post-norm and as a pre-norm block, as far as the implementation knows them."""
    orders = [("post_norm", False), ("pre_norm", True)]
    return [x.but(norm_first=first) for name, first in orders if block.can(name)]


def zeroed(x: Inputs, *names: str) -> Inputs:
    """The inputs with some weights set to zero."""
    return x.but(**{name: np.zeros_like(getattr(x, name)) for name in names})


def _evaluated(x: Inputs, dialect: Mapping[str, str]) -> reference.Encoder:
    wide: dict[str, Any] = {
        name: array if array is None or array.dtype == bool else array.astype(x.format.wide)
        for name, array in x.arrays.items()
    }
    return reference.evaluate(
        wide["x"], _weights(wide), num_heads=x.num_heads, norm_first=x.norm_first, mask=wide["mask"],
        empty_row=dialect["empty_row"],
    )  # fmt: skip


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    done = _evaluated(x, dialect)
    return done.y, reference.bound(done, x.format)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    done, direction = _evaluated(x, dialect), cotangent.astype(x.format.wide)
    value, error = reference.gradients(done, direction), reference.gradient_bound(done, direction, x.format)
    return {name: (value[name], error[name]) for name in ("x", *WEIGHTS)}


def _weights(tensors: Mapping[str, Any]) -> Any:
    return SimpleNamespace(**{name: tensors[name] for name in WEIGHTS})


def _arrange(t: Mapping[str, Any], o: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (t["x"], _weights(t)), {"num_heads": o["num_heads"], "norm_first": o["norm_first"], "mask": t["mask"]}


def _valid(x: Inputs) -> bool:
    """Whether the sizes fit together, as they may not after axes have been shortened one by one, and a token is left
    that sees another: of padding alone, a program may make no batch at all."""
    batch, length, size = x.x.shape
    heads, hidden = x.num_heads, len(x.b_1)
    if size == 0 or hidden == 0 or heads == 0 or size % heads or x.W_q.shape != (size, size):
        return False
    if x.mask is None:
        return True
    whole = (batch, heads, length, length)[4 - x.mask.ndim :]
    fits = all(given in (1, due) for given, due in zip(x.mask.shape, whole, strict=True))
    return fits and bool(visible(x).any() or not visible(x).size)


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if x.mask is not None:
        yield x.but(mask=None)
        if x.mask.dtype != bool:
            yield x.but(mask=~np.isneginf(x.mask))
    for name in ("W_o", "b_o", "W_2", "b_2", "b_q", "b_k", "b_v", "b_1", "s_1", "s_2"):
        if getattr(x, name).any():
            yield zeroed(x, name)
    for name in ("g_1", "g_2"):
        if (getattr(x, name) != 1).any():
            yield x.but(**{name: np.ones_like(getattr(x, name))})


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """NaN in one token: it and all that see it depend on it. In a hidden unit: all do. And in the last shift."""
    if x.x.size:
        tokens, seen = x.x.copy(), visible(x)
        token = int(x.rng("NaN").integers(tokens.shape[1]))
        tokens[:, token, 0] = np.nan
        yield x.but(x=tokens), (seen[..., token].any(axis=1) | (np.arange(tokens.shape[1]) == token))[..., None]
    unit = np.arange(len(x.b_1)) == 0
    yield x.but(b_1=np.where(unit, np.nan, x.b_1)), np.ones(1, dtype=bool)
    name = "b_2" if x.norm_first else "s_2"
    channel = np.arange(x.x.shape[2]) == 0
    yield x.but(**{name: np.where(channel, np.nan, getattr(x, name))}), channel


def _malformed(x: Inputs) -> Iterator[Inputs]:
    size = x.x.shape[2]
    if size > 2:
        yield x.spelled(g_1="X").but(g_1=x.g_1[:-1])
        yield x.spelled(W_o="EX").but(W_o=x.W_o[:, :-1])
    if len(x.b_1) > 2:
        yield x.spelled(W_2="EX").but(W_2=x.W_2[:, :-1])
    if x.mask is not None:
        yield from (x.but(mask=mask) for mask in misfitting(x.mask))
    # a loop over heads that do not divide the width is not stopped by anything
    yield x.but(num_heads=size + 1)


encoder = Subject(
    name="encoder",
    signature="encoder_layer(x, w, *, num_heads, norm_first, mask=None) -> Tensor",
    capabilities={
        "pre_norm": "accepts norm_first=True",
        "post_norm": "accepts norm_first=False",
        "bool_mask": "accepts a bool mask (True: may be attended)",
        "float_mask": "accepts a mask that is added to the scores",
        "gradient": "can be differentiated",
    },
    dialects={"empty_row": ("zeros", "nan", "mean")},
    arrange=_arrange,
    shape=lambda x: x.x.shape,
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("x", *WEIGHTS),
    simpler=_simpler,
    valid=_valid,
    is_claimed=masks_are_claimed,
    # without a mask, tokens have no second axis
    free_axes=lambda claims: ("B", "QK", "Q"),
    with_nan=_with_nan,
    malformed=_malformed,
)
