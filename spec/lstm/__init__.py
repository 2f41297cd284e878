"""Long short-term memory: the subject, and how its gates are opened and closed.

i, f, o = σ(W x + U h + b), each with weights of its own;  g = tanh(W_g x + U_g h + b_g)
c′ = f ⊙ c + i ⊙ g,   h′ = o ⊙ tanh(c′)      (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.reference import lstm as reference
from seqlaws.spec.recurrent import specify
from seqlaws.spec.recurrent.calling import without
from seqlaws.spec.recurrent.drawing import RecurrentCase
from seqlaws.spec.recurrent.drawing import cases as recurrent_cases

# far enough for σ to be 0 or 1 in every format, and for tanh to be ±1
SHUT = 1000.0


@dataclass(frozen=True)
class LstmCase(RecurrentCase):
    """A case of long short-term memory."""

    SUBJECT = "lstm"
    STATES = ("h0", "c0")
    MATRICES = ("W_i", "W_f", "W_g", "W_o")
    RECURRENT = ("U_i", "U_f", "U_g", "U_o")
    OFFSETS = ("b_i", "b_f", "b_g", "b_o")

    @staticmethod
    def forgetful(x: Inputs) -> Inputs:
        """The same inputs with weights that keep nothing of the state: every U = 0, and f = 0."""
        return forced(without(x, *LstmCase.RECURRENT), f=-1)


cases = partial(recurrent_cases, LstmCase)


def forced(x: Inputs, **gates: int) -> Inputs:
    """The inputs with some gates held at one end: 1 holds σ at 1, −1 at 0 (and the candidate at ±1)."""
    for gate, end in gates.items():
        bias = f"b_{gate}"
        x = without(x, f"W_{gate}", f"U_{gate}").but(**{bias: np.full_like(getattr(x, bias), end * SHUT)})
    return x


lstm = specify(
    LstmCase,
    "lstm(x, (h0, c0), w) -> (hs, (hT, cT))",
    lambda x, arrays, w, dialect: reference.evaluate(arrays["x"], arrays["h0"], arrays["c0"], w, x.format),
    reference.gradients,
    {},
)
