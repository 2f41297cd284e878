"""Multi-head attention: the subject, and what its laws share.

out = W_o·(o_1 ‖ … ‖ o_H) + b_o,   o_h = attention(q_h, k_h, v_h)          (Vaswani et al. 2017, section 3.2.2)
q = W_q·query + b_q,   k = W_k·key + b_k,   v = W_v·value + b_v

Axes: B batch, H heads, Q queries, K keys, E width of the model, F the features that the heads share
out (as many as E; head h owns h·d … (h+1)·d). A key that is None is the query itself, and a value
that is None is the key itself: one tensor, passed more than once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.reference import attention as attention_reference
from seqlaws.reference import multihead as reference
from seqlaws.spec.attention import misfitting
from seqlaws.spec.attention.claimed import masks_are_claimed
from seqlaws.spec.multihead.drawing import BIASES, FORMS, MATRICES, cases
from seqlaws.subject import Claims, Subject


def written_out(x: Inputs) -> Inputs:
    """The inputs with query, key and value as tensors of their own."""
    key = x.query if x.key is None else x.key
    return x.but(key=key, value=key if x.value is None else x.value)


def visible(x: Inputs, dialect: Mapping[str, str]) -> Array:
    """Which keys each query may see, as [B,H,Q,K]."""
    batch, queries, _ = x.query.shape
    keys = written_out(x).key.shape[1]
    seen = attention_reference.visibility(queries, keys, x.mask, x.causal, dialect["alignment"])
    return np.broadcast_to(seen, (batch, x.num_heads, queries, keys))


def replaced(x: Inputs, where: Array) -> Inputs:
    """Other tokens where [B,K] says so, as loud as they may be without overflow in any product.

    Where one tensor is passed twice, what else it is changes too: `untouched` knows.
    """
    keys = max(np.abs(getattr(x, name)).sum(axis=1).max(initial=1.0) for name in ("W_k", "W_v"))
    queries = np.abs(x.query @ x.W_q.T + x.b_q).sum(axis=-1).max(initial=1.0)
    loud = min(1e4, x.format.largest / 16 / keys / queries)
    if x.key is None:
        loud = min(loud, np.sqrt(x.format.largest / 16 / keys / np.abs(x.W_q).sum()))
    names = [name for name in ("key", "value") if getattr(x, name) is not None] or ["query"]
    changes = {}
    for name in names:
        others = loud * np.sign(x.noise("other " + name, getattr(x, name).shape))
        changes[name] = np.where(where[..., None], others, getattr(x, name))
    return x.but(**changes)


def untouched(x: Inputs, dialect: Mapping[str, str], where: Array) -> Array:
    """The queries [B,Q] that see none of the tokens where [B,K] says so, nor are among them."""
    blind: Array = ~np.any(visible(x, dialect) & where[:, None, None], axis=(1, 3))
    return blind & ~where if x.key is None else blind


def _evaluated(x: Inputs, dialect: Mapping[str, str]) -> reference.MultiHead:
    wide: dict[str, Any] = {
        name: array if array is None or array.dtype == bool else array.astype(x.format.wide)
        for name, array in written_out(x).arrays.items()
    }
    return reference.evaluate(
        wide["query"], wide["key"], wide["value"], _weights(wide), num_heads=x.num_heads, mask=wide["mask"],
        is_causal=x.causal, empty_row=dialect["empty_row"], alignment=dialect["alignment"],
    )  # fmt: skip


def _exact(x: Inputs, dialect: Mapping[str, str]) -> tuple[Array, Array]:
    done = _evaluated(x, dialect)
    return done.out, reference.bound(done, x.format)


def _exact_gradient(x: Inputs, cotangent: Array, dialect: Mapping[str, str]) -> dict[str, tuple[Array, Array]]:
    done, direction = _evaluated(x, dialect), cotangent.astype(x.format.wide)
    value, error = reference.gradients(done, direction), reference.gradient_bound(done, direction, x.format)
    owner = {"query": "query", "key": "query" if x.key is None else "key"}
    owner["value"] = owner["key"] if x.value is None else "value"
    both = {}
    for name in FORMS["separate"]:
        shares = [each for each in FORMS["separate"] if owner[each] == name]
        if len(shares) > 1:
            parts, errors = [value[each] for each in shares], [error[each] for each in shares]
            both[name] = np.sum(parts, axis=0), reference.sum_error(parts, errors, x.format)
        elif shares:
            both[name] = value[shares[0]], error[shares[0]]
    for name in (*MATRICES, *BIASES):
        both[name] = value[name], error[name]
    if x.mask is not None and x.mask.dtype != bool:
        total = attention_reference.mask_gradient(value["scores"], x.mask)
        both["mask"] = (
            total,
            attention_reference.mask_gradient_bound(error["scores"], value["scores"], x.mask, x.format),
        )
    return both


def _weights(tensors: Mapping[str, Any]) -> Any:
    return SimpleNamespace(**{name: tensors[name] for name in (*MATRICES, *BIASES)})


def _arrange(t: Mapping[str, Any], o: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    key = t["query"] if t["key"] is None else t["key"]
    value = key if t["value"] is None else t["value"]
    options = {"num_heads": o["num_heads"], "mask": t["mask"], "is_causal": o["causal"]}
    return (t["query"], key, value, _weights(t)), options


def _valid(x: Inputs) -> bool:
    """Whether the sizes fit together, as they may not after axes have been shortened one by one."""
    heads, size = x.num_heads, x.query.shape[2]
    full = written_out(x)
    if size == 0 or heads == 0 or size % heads or any(getattr(x, name).shape != (size, size) for name in MATRICES):
        return False
    if full.key.shape != full.value.shape or len({x.query.shape[0], full.key.shape[0]}) > 1:
        return False
    if x.mask is None:
        return True
    whole = (x.query.shape[0], heads, x.query.shape[1], full.key.shape[1])[4 - x.mask.ndim :]
    return all(given in (1, due) for given, due in zip(x.mask.shape, whole, strict=True))


def _simpler(x: Inputs) -> Iterator[Inputs]:
    heads, size = x.num_heads, x.size("F")
    if x.mask is not None:
        yield x.but(mask=None)
        if x.mask.dtype != bool:
            yield x.but(mask=~np.isneginf(x.mask))
    if x.causal:
        yield x.but(causal=False)
    if x.key is not None and x.key.shape == x.query.shape:
        yield x.but(key=None, value=None)
    if x.value is not None:
        yield x.but(value=None)
    owner, place = np.divmod(np.arange(size), size // heads)
    for head in range(heads if heads > 1 else 0):
        rest = np.flatnonzero(owner != head)
        fewer = x.take("F", rest).take("E", rest).but(num_heads=heads - 1)
        per_head = x.mask is not None and x.mask.ndim >= 3 and x.mask.shape[-3] > 1
        yield fewer.take("H", np.delete(np.arange(heads), head)) if per_head else fewer
    for feature in range(size // heads if size > heads else 0):
        rest = np.flatnonzero(place != feature)
        yield x.take("F", rest).take("E", rest)
    for name in MATRICES:
        if not np.array_equal(getattr(x, name), np.eye(size)):
            yield x.but(**{name: np.eye(size)})


def _free_axes(claims: Claims) -> Iterator[str]:
    yield from ("B", "QK")
    if "cross_length" in claims.can:
        yield "Q"
        # no keys at all for some queries: that this gives zeros is said by the dialect zeros alone
        if claims.dialect["empty_row"] == "zeros":
            yield "K"


def _with_nan(x: Inputs, dialect: Mapping[str, str]) -> Iterator[tuple[Inputs, Array]]:
    seen = visible(x, dialect)
    for name in (name for name in FORMS["separate"] if getattr(x, name) is not None and getattr(x, name).size):
        array = getattr(x, name).copy()
        token = int(x.rng("NaN in " + name).integers(array.shape[1]))
        array[:, token, 0] = np.nan
        reached = np.zeros(x.query.shape[:2], dtype=bool)
        if name == "query":
            reached[:, token] = seen[:, :, token].any(axis=(1, 2))
        if name != "query" or x.key is None:
            reached |= seen[..., token].any(axis=1)
        yield x.but(**{name: array}), reached[..., None]
    matrix = x.W_o.copy()
    matrix[0, 0] = np.nan
    yield x.but(W_o=matrix), np.arange(x.size("E")) == 0


def _malformed(x: Inputs) -> Iterator[Inputs]:
    """A key is too wide, a column of W_o is missing, or the mask does not fit."""
    full = written_out(x)
    if x.size("E") > 1:
        wider = np.concatenate([full.key, full.key[..., :1]], axis=2)
        yield replace(full, arrays={**full.arrays, "key": wider}, axes={**full.axes, "key": "BKX"}, _sizes={})
        yield full.but(W_o=x.W_o[:, :-1])
    if x.mask is not None:
        yield from (full.but(mask=mask) for mask in misfitting(x.mask))


def _misfits(x: Inputs) -> Iterator[Inputs]:
    """There is a value too many, or the width cannot be shared out to the heads."""
    full = written_out(x)
    if full.key.shape[1] > 1:  # a single one would be broadcast
        longer = np.concatenate([full.value, full.value[:, :1]], axis=1)
        yield replace(full, arrays={**full.arrays, "value": longer}, axes={**full.axes, "value": "BYE"}, _sizes={})
    yield from (full.but(num_heads=heads) for heads in indivisible(x.size("E")))


def indivisible(size: int) -> Iterator[int]:
    """Numbers of heads that a width cannot be shared out to: one below it, and one above."""
    yield from [heads for heads in range(2, size) if size % heads][:1]
    yield size + 1


multihead = Subject(
    name="multihead",
    signature="mha(query, key, value, w, *, num_heads, mask=None, is_causal=False) -> Tensor",
    capabilities={
        "bool_mask": "accepts a bool mask (True: may be attended)",
        "float_mask": "accepts a mask that is added to the scores",
        "causal": "accepts is_causal",
        "causal_with_mask": "accepts is_causal together with a mask; both apply",
        "cross_length": "accepts as many keys as it likes, not only as many as queries",
        "gradient": "can be differentiated",
        "mask_gradient": "an additive mask can be differentiated too",
    },
    dialects={
        "empty_row": ("zeros", "nan", "mean"),
        "alignment": ("top_left", "bottom_right"),
        "misfits": ("undefined", "refused"),
    },
    arrange=_arrange,
    shape=lambda x: x.query.shape,
    exact=_exact,
    exact_gradient=_exact_gradient,
    cases=cases(),
    differentiable=(*FORMS["separate"], *MATRICES, *BIASES),
    simpler=_simpler,
    valid=_valid,
    is_claimed=lambda x, claims: (
        masks_are_claimed(x, claims, x.causal)
        and ("cross_length" in claims.can or "K" not in x.letters or x.size("Q") == x.size("K"))
    ),
    free_axes=_free_axes,
    with_nan=_with_nan,
    malformed=_malformed,
    misfits=_misfits,
)
