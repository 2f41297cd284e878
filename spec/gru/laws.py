"""What is particular to the gated recurrent unit: what each gate does when it is open and when it is shut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, STRUCTURE, law
from seqlaws.spec.gru import cases, forced, gru
from seqlaws.spec.recurrent.calling import cotangent, length, steps, without
from seqlaws.spec.recurrent.drawing import SHORT
from seqlaws.spec.recurrent.structure import STEPPING
from seqlaws.verdict import Verdict, between, equals, every, identical, same, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

FOREVER = 10_000


@law(gru, STRUCTURE, after=STEPPING)
def hidden_states_stay_within_one_or_where_they_were(gru: Run, x: Inputs) -> Verdict:
    """No hidden state becomes larger than 1 unless the initial one was, and then not larger than that.

    |h_t| ≤ max(|h_0|, 1), for every unit

    Why: the new state lies between the old one and a candidate within ±1. Anything outside was added,
    not blended: shares that do not sum to 1, or a candidate that is not squashed.
    """
    limit = np.maximum(np.abs(x.h0), 1.0)[:, None]
    return between(-limit, steps(gru(x), x), np.broadcast_to(limit, (x.size("B"), length(x), x.size("H"))))


@law(gru, STRUCTURE, cases=cases(traps=SHORT[:1], batch=2, length=5, width=1, units=3, fill="grid"), after=STEPPING,
     examples=0.1)  # fmt: skip
def a_full_update_gate_copies_the_state_forever(gru: Run, x: Inputs) -> Verdict:
    """With z = 1 the state is the same after 10,000 steps, bit by bit.

    z = 1  ⇒  h_T = h_0      (for even numbers up to ±16, and a candidate of ±1)

    Why: it is how this layer remembers. One rounding too many, or the other convention, in which
    z = 1 replaces the state, and nothing is left after a page.

    Source: Cho et al. 2014.
    """
    y = without(x, "W_n", "U_n", "c_n").but(b_n=1000.0 * x.signs("candidate", x.b_n.shape))
    h0 = 8.0 * x.grid("state", x.h0.shape)
    y = forced(y, z=1).but(h0=h0, x=np.resize(x.x, (x.x.shape[0], FOREVER, x.x.shape[2])))
    out = gru(y)
    return every(identical(out.value[:, -1], y.h0), identical(out.value[:, 0], y.h0))


@law(gru, STRUCTURE, after=STEPPING)
def an_empty_update_gate_replaces_the_state(gru: Run, x: Inputs) -> Verdict:
    """With z = 0, the new state is the candidate; and a candidate that hears no state depends on the input alone.

    z = 0, U_n = 0, c_n = 0  ⇒  h_t = tanh(W_n x_t + b_n)

    Why: this is how it forgets. It tells the two meanings of z apart, and finds a state that passes
    around the gate.
    """
    y = forced(without(x, "U_n", "c_n"), z=-1)
    wide = x.format.wide
    due = np.tanh(x.x.astype(wide) @ x.W_n.astype(wide).T + x.b_n.astype(wide))
    return equals(steps(gru(y), y), due)


@law(gru, STRUCTURE, after=STEPPING)
def a_shut_reset_gate_hides_the_state_from_the_candidate(gru: Run, x: Inputs) -> Verdict:
    """With r = 0, the candidate hears nothing of the state, in either convention.

    r = 0  ⇒  ∂n/∂h = 0:  another U_n or c_n changes nothing

    Why: the reset gate lets a unit start afresh without forgetting. One that is applied to the wrong
    product, or taken for the update gate, still lets the past through.
    """
    y = forced(x, r=-1)
    names = ("U_n", "c_n")
    other = y.but(**{name: x.noise("other " + name, getattr(x, name).shape) for name in names})
    return same(gru(y), gru(other))


@law(gru, STRUCTURE, after=(*STEPPING, "an_empty_update_gate_replaces_the_state"))
def the_update_gate_blends(gru: Run, x: Inputs) -> Verdict:
    """With z = ½ the new state is the mean of the candidate and the old one.

    z = ½  ⇒  h_1 = ½ h_1[z = 0] + ½ h_1[z = 1]

    Why: the shares of old and new sum to 1. It holds for both conventions of z, and for no other sum.
    """
    if not length(x):
        return vacuous()
    one = x.take("T", [0])
    half, empty, full = (gru(forced(one, z=end)) for end in (0, -1, 1))
    return same(half, (empty + full) * 0.5)


@law(gru, GRADIENTS, needs=("gradient",), after=("nothing_flows_back_from_earlier_outputs",))
def a_full_update_gate_copies_the_gradient(gru: Run, x: Inputs) -> Verdict:
    """With z = 1, the gradient of the last state is that of the first, whatever stands between.

    z = 1  ⇒  ∂h_T/∂h_0 = 1

    Why: this path is why gradients survive here that vanish in a simple recurrence. A clip, or a
    factor in each step, shows in long sequences first.
    """
    y = forced(x, z=1)
    g = cotangent(gru, y, outputs=False)
    return equals(gru.gradient(y, g, ("h0",))["h0"], gru.format.round(g)[:, length(x)])
