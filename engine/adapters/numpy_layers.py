"""The references of normalisation and embedding, judged like anybody else."""

from __future__ import annotations

from functools import partial

import numpy as np

from seqlaws.formats import Array
from seqlaws.implementation import Implementation
from seqlaws.reference import embedding as embedding_reference
from seqlaws.reference import norm as norm_reference

DTYPES = ("float16", "float32", "float64")


def _norm(x: Array, gain: Array, shift: Array, eps: float, *, kind: str) -> Array:
    wide = (each.astype(np.float64) for each in (x, gain, shift))
    return norm_reference.norm(*wide, eps, kind=kind).astype(x.dtype)


layer_norm = Implementation(
    name="numpy.reference.norm",
    subject="norm",
    call=partial(_norm, kind="layer"),
    can=frozenset(),
    dtypes=DTYPES,
    devices=("cpu",),
    framework="numpy",
)

rms_norm = Implementation(
    name="numpy.reference.norm.rms",
    subject="norm",
    call=partial(_norm, kind="rms"),
    can=frozenset(),
    dialect={"kind": "rms_shifted"},
    dtypes=DTYPES,
    devices=("cpu",),
    framework="numpy",
)

embedding = Implementation(
    name="numpy.reference.embedding",
    subject="embedding",
    call=embedding_reference.embed,
    can=frozenset(),
    dtypes=DTYPES,
    devices=("cpu",),
    framework="numpy",
)
