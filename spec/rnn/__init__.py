"""The simple recurrent layer: the subject, and how its memory is switched off.

h_t = tanh(W x_t + U h_{t−1} + b)                                                    (Elman 1990)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from seqlaws.inputs import Inputs
from seqlaws.reference import rnn as reference
from seqlaws.spec.recurrent import specify
from seqlaws.spec.recurrent.calling import without
from seqlaws.spec.recurrent.drawing import RecurrentCase
from seqlaws.spec.recurrent.drawing import cases as recurrent_cases


@dataclass(frozen=True)
class RnnCase(RecurrentCase):
    """A case of the simple recurrent layer."""

    SUBJECT = "rnn"
    MATRICES = ("W",)
    RECURRENT = ("U",)
    OFFSETS = ("b",)

    @staticmethod
    def forgetful(x: Inputs) -> Inputs:
        """The same inputs with weights that keep nothing of the state: U = 0."""
        return without(x, "U")


cases = partial(recurrent_cases, RnnCase)

rnn = specify(
    RnnCase,
    "rnn(x, h0, w) -> (hs, hT)",
    lambda x, arrays, w, dialect: reference.evaluate(arrays["x"], arrays["h0"], w, x.format),
    reference.gradients,
    {},
)
