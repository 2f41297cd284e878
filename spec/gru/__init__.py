"""The gated recurrent unit: the subject, its two conventions, and how its gates are opened and closed.

r, z = σ(W x + U h + b), each with weights of its own;  h′ = (1 − z) ⊙ n + z ⊙ h      (Cho et al. 2014)
reset="before":  n = tanh(W_n x + U_n (r ⊙ h) + b_n)
reset="after":   n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.reference import gru as reference
from seqlaws.spec.recurrent import specify
from seqlaws.spec.recurrent.calling import without
from seqlaws.spec.recurrent.drawing import RecurrentCase
from seqlaws.spec.recurrent.drawing import cases as recurrent_cases

# far enough for σ to be 0 or 1 in every format, and for tanh to be ±1
SHUT = 1000.0


@dataclass(frozen=True)
class GruCase(RecurrentCase):
    """A case of the gated recurrent unit; c_n is there in either dialect."""

    SUBJECT = "gru"
    MATRICES = ("W_r", "W_z", "W_n")
    RECURRENT = ("U_r", "U_z", "U_n")
    OFFSETS = ("b_r", "b_z", "b_n", "c_n")

    @staticmethod
    def forgetful(x: Inputs) -> Inputs:
        """The same inputs with weights that keep nothing of the state: every U = 0, and z = 0."""
        return forced(without(x, *GruCase.RECURRENT), z=-1)

    @staticmethod
    def idle(dialect: Mapping[str, str]) -> tuple[str, ...]:
        """A reset before the product has one offset in its candidate, not two."""
        return () if dialect["reset"] == "after" else ("c_n",)


cases = partial(recurrent_cases, GruCase)


def forced(x: Inputs, **gates: int) -> Inputs:
    """The inputs with some gates held at one end: 1 holds σ at 1, −1 at 0."""
    for gate, end in gates.items():
        bias = f"b_{gate}"
        x = without(x, f"W_{gate}", f"U_{gate}").but(**{bias: np.full_like(getattr(x, bias), end * SHUT)})
    return x


gru = specify(
    GruCase,
    "gru(x, h0, w) -> (hs, hT)",
    lambda x, arrays, w, dialect: reference.evaluate(arrays["x"], arrays["h0"], w, x.format, dialect["reset"]),
    reference.gradients,
    {"reset": ("before", "after")},
)
