"""What is particular to long short-term memory: what each gate does when it is open and when it is shut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, STRUCTURE, law
from seqlaws.reference.running import logistic
from seqlaws.spec.lstm import cases, forced, lstm
from seqlaws.spec.recurrent.calling import cotangent, final, length, steps
from seqlaws.spec.recurrent.drawing import SHORT
from seqlaws.spec.recurrent.structure import STEPPING
from seqlaws.verdict import Output, Verdict, between, consistent, equals, every, identical, same, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

FOREVER = 10_000


def cell(out: Output, x: Inputs) -> Output:
    """The last cell, [B,H]."""
    return final(out, x)[:, 1]


@law(lstm, STRUCTURE, after=STEPPING)
def hidden_states_stay_within_one(lstm: Run, x: Inputs) -> Verdict:
    """Every hidden state lies between −1 and 1, however large the cell is.

    |h_t| = |o ⊙ tanh(c_t)| ≤ 1

    Why: the cell may count without end; what is shown of it is squashed. Without the second tanh,
    the next layer sees numbers that grow with the length of the text.
    """
    return between(-1.0, steps(lstm(x.but(c0=x.c0 * 4.0)), x), 1.0)


@law(lstm, STRUCTURE, after=STEPPING)
def a_shut_forget_gate_erases_the_cell(lstm: Run, x: Inputs) -> Verdict:
    """With f = 0, nothing of the old cell is left.

    f = 0  ⇒  ∂c_t/∂c_{t−1} = 0

    Why: forgetting is what this gate is there for. A forget bias added after σ, or a cell that leaks
    past the gate, leaves a trace of the last sentence.
    """
    x = forced(x, f=-1)
    other = x.but(c0=x.noise("other cell", x.c0.shape, 2.0))
    return same(lstm(x), lstm(other))


@law(lstm, STRUCTURE, after=STEPPING)
def a_shut_input_gate_keeps_the_input_out(lstm: Run, x: Inputs) -> Verdict:
    """With i = 0, what the candidate says does not matter.

    i = 0  ⇒  ∂c_t/∂g_t = 0

    Why: it is how a memory is protected from what comes after it. If the candidate still acts, it
    goes round the gate, or another gate stands in its place.
    """
    x = forced(x, i=-1)
    names = ("W_g", "U_g", "b_g")
    other = x.but(**{name: x.noise("other " + name, getattr(x, name).shape) for name in names})
    return same(lstm(x), lstm(other))


@law(lstm, STRUCTURE, after=STEPPING)
def a_shut_output_gate_shows_nothing(lstm: Run, x: Inputs) -> Verdict:
    """With o = 0, every hidden state is 0, whatever the cell holds.

    o = 0  ⇒  h_t = 0

    Why: the cell remembers without acting. Hidden states that are not 0 took another gate for this
    one, or passed around it.
    """
    x = forced(x, o=-1)
    out = lstm(x)
    shown = steps(out, x)
    return every(equals(shown, np.zeros(shown.shape)), equals(final(out, x)[:, 0], np.zeros(x.h0.shape)))


@law(lstm, STRUCTURE, cases=cases(traps=SHORT[:1], batch=2, length=5, width=1, units=3, fill="normal"),
     after=("a_shut_input_gate_keeps_the_input_out",), examples=0.1)  # fmt: skip
def an_open_forget_gate_keeps_the_cell_forever(lstm: Run, x: Inputs) -> Verdict:
    """With f = 1 and i = 0 the cell is the same after 10,000 steps, bit by bit.

    f = 1, i = 0  ⇒  c_T = c_0

    Why: it is the constant error carousel, for which the layer was made. One rounding too many, a
    clip or a decay in each step, and the memory is gone after a page.

    Source: Hochreiter & Schmidhuber 1997.
    """
    x = forced(x, f=1, i=-1)
    # magnitudes of 1 and more: a logistic function that comes within half a unit of 0 is exact enough
    size = x.rng("size of the cell").choice([1.0, 16.0, 256.0], x.c0.shape)
    c0 = x.signs("sign of the cell", x.c0.shape) * size * (1.0 + x.rng("cell").uniform(0.0, 0.99, x.c0.shape))
    x = x.but(c0=c0, x=np.resize(x.x, (x.x.shape[0], FOREVER, x.x.shape[2])))
    return identical(cell(lstm(x), x).value, x.c0)


@law(lstm, STRUCTURE, after=(*STEPPING, "a_shut_input_gate_keeps_the_input_out"))
def a_constant_forget_gate_decays_exponentially(lstm: Run, x: Inputs) -> Verdict:
    """With a constant f and i = 0, the cell is multiplied by f in every step.

    i = 0, f = σ(b_f)  ⇒  c_T = fᵀ ⊙ c_0

    Why: it is the time scale that a forget bias sets: σ(1) keeps 4 % over ten steps, σ(5) 94 %. A
    bias that is added once more, or taken for that of another gate, sets another one.
    """
    x = forced(x, i=-1)
    x = x.but(W_f=np.zeros_like(x.W_f), U_f=np.zeros_like(x.U_f), b_f=x.b_f * 4.0)
    kept = logistic(x.b_f.astype(x.format.wide)) ** length(x)
    return equals(cell(lstm(x), x), x.c0.astype(x.format.wide) * kept)


@law(lstm, STRUCTURE, after=STEPPING)
def the_cell_grows_by_at_most_one_a_step(lstm: Run, x: Inputs) -> Verdict:
    """No step makes the cell larger by more than 1.

    |c_t| ≤ |c_{t−1}| + 1

    Why: both gates are at most 1 and the candidate is too; a cell that grows faster adds something
    that no gate limits.
    """
    verdicts = []
    for t in range(min(length(x), 3)):
        one = x.take("T", [t])
        out = cell(lstm(one), one)
        limit = np.abs(one.c0) + 1.0
        verdicts.append(between(-limit, out, limit))
    return every(*verdicts) if verdicts else vacuous()


@law(lstm, GRADIENTS, needs=("gradient",), after=("nothing_flows_back_from_earlier_outputs",))
def the_cell_passes_gradients_through_its_forget_gate_alone(lstm: Run, x: Inputs) -> Verdict:
    """Within one step, the gradient from cell to cell is multiplied by f, and by nothing else.

    ∂c_1/∂c_0 = diag(f)      (f is measured as the new cell of a step with i = 0, c_0 = 1)

    Why: it is why gradients survive here that vanish in a simple recurrence. A clip of the cell, a
    peephole or a second path changes it, and shows in long sequences first.
    """
    if not length(x):
        return vacuous()
    one = x.take("T", [0])
    shut = forced(one, i=-1).but(c0=np.ones_like(x.c0))
    g = cotangent(lstm, one, outputs=False)
    g[:, 1] = 0.0
    found = lstm.gradient(one, g, ("c0",))["c0"]
    return same(found, cell(lstm(shut), shut) * lstm.format.round(g)[:, 2])


@law(lstm, STRUCTURE, after=STEPPING)
def gates_do_not_see_the_cell(lstm: Run, x: Inputs) -> Verdict:
    """The gates look at the input and at the hidden state, never at the cell: one step is affine in the cell.

    c_1(c_0 + d) − c_1(c_0) = c_1(d) − c_1(0)

    Why: peepholes are a layer of their own. Weights trained with or without them do not fit the other.
    """
    if not length(x):
        return vacuous()
    one = x.take("T", [0])
    c, d = one.grid("cell", x.c0.shape), one.grid("other cell", x.c0.shape)
    both, first, second, none = (cell(lstm(y), y) for y in (one.but(c0=c0) for c0 in (c + d, c, d, 0.0 * c)))
    return consistent(both + none, first + second)
