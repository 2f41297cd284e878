"""The references of normalisation, embedding and the encoder block, judged like anybody else."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.implementation import Implementation
from seqlaws.reference import embedding as embedding_reference
from seqlaws.reference import encoder as encoder_reference
from seqlaws.reference import norm as norm_reference


def _wide(array: Array | None) -> Any:
    return array if array is None or array.dtype == bool else array.astype(np.float64)


def _norm(x: Array, gain: Array, shift: Array, eps: float, *, kind: str) -> Array:
    return norm_reference.norm(_wide(x), _wide(gain), _wide(shift), eps, kind=kind).astype(x.dtype)


layer_norm = Implementation(
    name="numpy.reference.norm",
    subject="norm",
    call=partial(_norm, kind="layer"),
    can=frozenset(),
    framework="numpy",
)

rms_norm = Implementation(
    name="numpy.reference.norm.rms",
    subject="norm",
    call=partial(_norm, kind="rms"),
    can=frozenset(),
    dialect={"kind": "rms_shifted"},
    framework="numpy",
)

embedding = Implementation(
    name="numpy.reference.embedding",
    subject="embedding",
    call=embedding_reference.embed,
    can=frozenset(),
    framework="numpy",
)


def _encoder(x: Array, w: Any, *, mask: Array | None, **options: Any) -> Array:
    weights: Any = SimpleNamespace(**{name: _wide(weight) for name, weight in vars(w).items()})
    return encoder_reference.encoder_layer(_wide(x), weights, mask=_wide(mask), **options).astype(x.dtype)


encoder = Implementation(
    name="numpy.reference.encoder",
    subject="encoder",
    call=_encoder,
    can=frozenset({"pre_norm", "post_norm", "bool_mask", "float_mask"}),
    framework="numpy",
)
