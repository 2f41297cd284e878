"""Scaled dot-product attention: the subject, and what its laws ask about masks.

o_i = Σ_j p_ij v_j,  p_i = softmax(s_i),  s_ij = scale·⟨q_i, k_j⟩ + m_ij      (Vaswani et al. 2017, eq. 1)

Axes: B batch, H query heads, G key/value heads, Q queries, K keys, D width of queries and keys,
V width of values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.reference import attention as reference
from seqlaws.spec.attention.claimed import is_claimed
from seqlaws.spec.attention.drawing import GROUPS, MASK_SHAPES, TRAPS, AttentionCase, besides, cases
from seqlaws.subject import Claims, Subject

__all__ = [
    "BASICS",
    "GROUPS",
    "MASK_SHAPES",
    "TRAPS",
    "AttentionCase",
    "alive",
    "attention",
    "besides",
    "cases",
    "emptied",
    "loudness",
    "masked",
    "visible",
]


# While one of these is broken, what comes after them would only say the same again. Through them
# stand batch_entries_do_not_mix, heads_do_not_mix, hidden_keys_are_inert and the_future_has_no_influence.
BASICS = ("visible_keys_have_influence", "the_present_has_influence", "grouped_heads_equal_repeated_heads")


def visible(x: Inputs, dialect: Mapping[str, str]) -> Array:
    """Which keys each query may see, as [B,H,Q,K]."""
    seen = reference.visibility(x.size("Q"), x.size("K"), x.mask, x.causal, dialect["alignment"])
    return np.broadcast_to(seen, (*x.q.shape[:3], x.size("K")))


def alive(x: Inputs, dialect: Mapping[str, str]) -> Array:
    """Which queries see a key at all, as [B,H,Q]."""
    seen: Array = np.any(visible(x, dialect), axis=-1)
    return seen


def masked(attend: Any, x: Inputs, seen: Array) -> Inputs:
    """The inputs with one more mask, in a form that the implementation accepts; it applies besides what is there."""
    seen = np.asarray(seen)
    seen = seen.reshape((1,) * (len(x.axes["mask"]) - seen.ndim) + seen.shape)
    if x.mask is not None and x.mask.dtype != bool:
        return x.but(mask=np.where(seen, x.mask, -np.inf))
    seen = seen if x.mask is None else seen & x.mask
    return x.but(mask=seen if attend.can("bool_mask") else np.where(seen, 0.0, -np.inf))


def emptied(attend: Any, x: Inputs) -> Inputs:
    """The inputs with some rows of their mask hidden as a whole, so that some queries see no key.

    A third of all rows; or those of a third of the queries, heads or batch entries, of one at least. A mask that
    has a single row for all of them hides everything.
    """
    shape = (1, 1, x.size("Q")) if x.mask is None else x.mask.shape[:-1]
    chosen = x.seed % (len(shape) + 1)
    shape = tuple(size if chosen in (0, axis) else 1 for axis, size in enumerate(shape, start=1))
    empty = np.arange(np.prod(shape)).reshape(shape) % 3 == 0
    return masked(attend, x, ~empty[..., None])


def loudness(x: Inputs) -> Array:
    """Per batch entry, how large a key may be so that no product with a query overflows: [B,1,1,1]."""
    reach = np.abs(x.q).sum(axis=-1).max(axis=(1, 2), initial=1.0).reshape(-1, 1, 1, 1)
    return np.minimum(1e4, x.format.largest / 16 / reach)


def _evaluated(x: Inputs, dialect: Mapping[str, str]) -> reference.Attention:
    wide = x.format.wide
    mask = x.mask if x.mask is None or x.mask.dtype == bool else x.mask.astype(wide)
    return reference.evaluate(
        x.q.astype(wide), x.k.astype(wide), x.v.astype(wide), mask=mask, is_causal=x.causal,
        scale=x.scale, empty_row=dialect["empty_row"], alignment=dialect["alignment"],
    )  # fmt: skip


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    done = _evaluated(x, dialect)
    return done.out, reference.bound(done, x.format)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    done, direction = _evaluated(x, dialect), cotangent.astype(x.format.wide)
    value, error = reference.gradients(done, direction), reference.gradient_bound(done, direction, x.format)
    both = {name: (getattr(value, name), getattr(error, name)) for name in ("q", "k", "v")}
    if x.mask is not None and x.mask.dtype != bool:
        total = reference.mask_gradient(value.scores, x.mask)
        both["mask"] = total, reference.mask_gradient_bound(error.scores, value.scores, x.mask, x.format)
    return both


def _simpler(x: Inputs) -> Iterator[Inputs]:
    if x.mask is not None:
        yield x.but(mask=None)
        if x.mask.dtype != bool:
            yield x.but(mask=~np.isneginf(x.mask))
    if x.causal:
        yield x.but(causal=False)
    if x.scale not in (None, 1.0):
        yield x.but(scale=None)
    if x.scale != 1.0 and x.size("D") > 1:
        yield x.but(scale=1.0)
    if x.size("H") > 1:
        group = x.size("H") // x.size("G")
        for head in range(x.size("H")):
            yield x.take("H", [head]).take("G", [head // group])


def _free_axes(claims: Claims) -> Iterator[str]:
    yield "B"
    # no keys at all: that this gives zeros is said by the dialect zeros alone
    if claims.dialect["empty_row"] == "zeros":
        yield from ("Q", "K") if "cross_length" in claims.can else ("QK",)
    elif "cross_length" in claims.can:
        yield "Q"


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    """NaN in one key, value or query of every batch entry, with the outputs that it must reach."""
    rows, key = np.arange(x.size("B")), x.rng("poisoned").integers(0, max(1, x.size("K")), x.size("B"))
    seen = visible(x, dialect)
    sees = np.take_along_axis(seen, key.reshape(-1, 1, 1, 1), axis=3)
    k, v, q = x.k.copy(), x.v.copy(), x.q.copy()
    k[rows, :, key, 0], v[rows, :, key, 0], q[:, :, :1, 0] = np.nan, np.nan, np.nan
    yield x.but(k=k), sees
    # a value is reached through its weight: let no weight be so small that it may count as none
    yield x.but(v=v, q=x.q / np.maximum(1.0, np.abs(x.q).max(initial=0))), sees & (np.arange(x.size("V")) == 0)
    yield x.but(q=q), alive(x, dialect)[..., None] & (np.arange(x.size("Q")) == 0).reshape(-1, 1)


def misfitting(mask: Array) -> Iterator[Array]:
    """The mask with one key too few, and with one key, query or batch entry too many; one of a kind is broadcast."""
    if mask.shape[-1] > 2:
        yield mask[..., :-1]
    for axis in (-1, -2, -4):
        if mask.ndim >= -axis and mask.shape[axis] > 1:
            yield np.concatenate([mask, mask.take([0], axis=axis)], axis=axis)


def _malformed(x: Inputs) -> Iterator[Inputs]:
    """The mask does not fit, or a batch entry is missing."""
    if x.mask is not None:
        yield from (x.but(mask=mask) for mask in misfitting(x.mask))
    if x.size("B") > 2:
        yield x.but(k=x.k[:-1], v=x.v[:-1])


def _misfits(x: Inputs) -> Iterator[Inputs]:
    """A width or a value is missing, or there is a value too many."""
    if x.size("D") > 2:
        yield x.but(k=x.k[..., :-1])
    if x.size("K") > 2:
        yield x.but(v=x.v[:, :, :-1])
        yield x.but(v=np.concatenate([x.v, x.v[:, :, :1]], axis=2))


attention = Subject(
    name="attention",
    signature="attend(q, k, v, *, mask=None, is_causal=False, scale=None) -> Tensor",
    capabilities={
        "bool_mask": "accepts a bool mask (True: may be attended)",
        "float_mask": "accepts a mask that is added to the scores",
        "causal": "accepts is_causal",
        "causal_with_mask": "accepts is_causal together with a mask; both apply",
        "grouped_query": "accepts fewer key/value heads than query heads",
        "cross_length": "accepts as many keys as it likes, not only as many as queries",
        "value_width": "accepts values of another width than keys",
        "scale": "accepts a scale other than 1/√D",
        "gradient": "can be differentiated",
        "mask_gradient": "an additive mask can be differentiated too",
    },
    dialects={
        "empty_row": ("zeros", "nan", "mean"),
        "alignment": ("top_left", "bottom_right"),
        "hidden_nan": ("undefined", "inert"),
        "misfits": ("undefined", "refused"),
    },
    arrange=lambda t, o: ((t["q"], t["k"], t["v"]), {"mask": t["mask"], "is_causal": o["causal"], "scale": o["scale"]}),
    shape=lambda x: (*x.q.shape[:3], x.v.shape[3]),
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=("q", "k", "v"),
    simpler=_simpler,
    free_axes=_free_axes,
    with_nan=_with_nan,
    malformed=_malformed,
    misfits=_misfits,
    is_claimed=is_claimed,
    valid=lambda x: min(x.q.shape[1], x.k.shape[1]) > 0 and x.q.shape[1] % x.k.shape[1] == 0,
)
