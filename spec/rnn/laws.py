"""What is particular to the simple recurrent layer: symmetry, contraction, and the size of its gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, STRUCTURE, law
from seqlaws.spec.recurrent.calling import cotangent, length, steps
from seqlaws.spec.recurrent.structure import STEPPING
from seqlaws.spec.rnn import rnn
from seqlaws.verdict import Output, Verdict, between, consistent, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run


@law(rnn, STRUCTURE, after=STEPPING)
def hidden_states_stay_within_one(rnn: Run, x: Inputs) -> Verdict:
    """Every hidden state lies between −1 and 1.

    |h_t| ≤ 1, and equal to 1 where tanh is rounded to it

    Why: it is what keeps a tanh recurrence from blowing up whatever its weights are, and what the
    next layer counts on; a missing or another activation is out of bounds at the first large input.
    """
    out = steps(rnn(x), x)
    return between(-1.0, out, 1.0)


@law(rnn, STRUCTURE, after=STEPPING)
def an_odd_function_of_everything_that_is_added(rnn: Run, x: Inputs) -> Verdict:
    """Inputs, state and bias with the other sign give the states with the other sign.

    f(−x, −h_0, −b) = −f(x, h_0, b)

    Why: tanh is odd and everything before it is a sum. One more constant anywhere, or an activation
    with a preferred sign, breaks it.
    """
    return consistent(rnn(x.but(x=-x.x, h0=-x.h0, b=-x.b)), rnn(x) * -1.0)


@law(rnn, STRUCTURE, after=(*STEPPING, "hidden_states_stay_within_one"))
def two_states_approach_under_a_contraction(rnn: Run, x: Inputs) -> Verdict:
    """Where U shortens every vector, two runs with the same inputs come closer with every step.

    ‖U‖₂ ≤ g < 1  ⇒  ‖h_t − h_t′‖₂ ≤ gᵗ ‖h_0 − h_0′‖₂

    Why: tanh never stretches, so U alone decides how long the past lasts. A memory that fades more
    slowly has another path; this is also why gradients vanish.
    """
    norm = np.linalg.norm(x.U, 2)
    x = x.but(U=x.U * (0.9 / norm)) if norm > 0.9 else x
    g = float(np.linalg.norm(x.U, 2))
    other = x.but(h0=x.noise("other state", x.h0.shape))
    start = np.linalg.norm(x.h0 - other.h0, axis=-1, keepdims=True)
    allowed = start * g ** np.arange(1, length(x) + 1) * (1 + 1e-12)
    return between(0.0, _distance(steps(rnn(x), x), steps(rnn(other), x)), allowed)


@law(rnn, GRADIENTS, needs=("gradient",), after=("nothing_flows_back_from_earlier_outputs",))
def the_gradient_is_no_longer_than_its_jacobians_allow(rnn: Run, x: Inputs) -> Verdict:
    """The gradient of the last state is at most as long as the product of the steps' norms allows.

    ‖∂⟨h_T, g⟩/∂h_0‖₂ ≤ ∏_t ‖diag(1 − h_t²) U‖₂ ‖g‖₂

    Why: it is the bound by which gradients vanish, and necessary for them to explode. A gradient
    above it came by a path that the definition does not have.

    Source: Pascanu, Mikolov & Bengio 2013.
    """
    if not length(x):
        return vacuous()
    g = cotangent(rnn, x, outputs=False)
    exact = steps(rnn(x), x).reference.astype(np.float64)
    jacobians = (1.0 - np.square(exact))[..., None] * x.U
    allowed = np.linalg.norm(jacobians, 2, axis=(2, 3)).prod(axis=1) * np.linalg.norm(g[:, length(x)], axis=-1)
    found = rnn.gradient(x, g, ("h0",))["h0"]
    return between(0.0, _norm(found), allowed * (1 + 1e-12))


def _norm(vector: Output) -> Output:
    def length(array: Array) -> Array:
        return np.asarray(np.linalg.norm(array.astype(np.float64), axis=-1))

    return Output(length(vector.value), lambda: (length(vector.reference), length(vector.bound)))


def _distance(one: Output, other: Output) -> Output:
    def length(array: Array) -> Array:
        return np.asarray(np.linalg.norm(array.astype(np.float64), axis=-1))

    return Output(
        length(one.value - other.value),
        lambda: (length(one.reference - other.reference), length(one.bound) + length(other.bound)),
    )
