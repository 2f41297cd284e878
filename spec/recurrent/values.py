"""The values and gradients of every recurrent layer: each step, the whole run, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import GRADIENTS, VALUES, family
from seqlaws.spec.recurrent.calling import KINDS, cotangent, handed_on, length, recurrent, states
from seqlaws.spec.recurrent.drawing import TRAPS, cases, every_size
from seqlaws.spec.recurrent.structure import of_any_length
from seqlaws.subject import Cases, Subject
from seqlaws.verdict import Output, Verdict, every, identical, same, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


def brief(subject: Subject) -> Cases:
    """Cases of a few steps."""
    return cases(KINDS[subject.name], length=(1, 3, 5, 8, 2))


def lively(subject: Subject) -> Cases:
    """Cases among which states fade, last, and run wild."""
    return cases(KINDS[subject.name], traps=TRAPS, gain=(0.9, 0.5, 4.0, 1.5))


@family(VALUES, where=recurrent, cases=lively)
def agrees_with_its_definition(f: Run, x: Inputs) -> Verdict:
    """A run is what the equations say, as a whole and step by step from its own states, in whatever units.

    s_t = step(x_t, s_{t−1}) for t = 1 … T, from s_0;  and from each s_{t−1} that was itself returned;
    and s_1 for an x_1 that is 128 times as large and an h_0 that is 32 times as large, W and U as much smaller

    Why: this is the definition itself, on whatever sizes were drawn; it is the backstop for every
    fault that all ways of asking have in common. The whole run is allowed what each step's rounding
    adds and what the Jacobians make of it. From its own states, the tenth step is as plain as the first.
    """
    verdicts = [within(f(x))]
    state: dict[str, Array] = {}
    for t in range(min(length(x), 5)):
        one = x.take("T", [t]).but(**state)
        out = f(one)
        verdicts.append(within(out).called(f"step {t + 1} from its own state"))
        state = handed_on(out, one)
    if length(x):
        kind, first = KINDS[x.subject], x.take("T", [0])
        scales = {
            "x": 128.0,
            "h0": 32.0,
            **dict.fromkeys(kind.MATRICES, 1 / 128),
            **dict.fromkeys(kind.RECURRENT, 1 / 32),
        }
        loud = first.but(**{name: getattr(first, name) * scale for name, scale in scales.items()})
        verdicts.append(within(f(loud)).called("with large numbers and small weights"))
    return every(*verdicts)


def of_every_size(subject: Subject) -> Cases:
    """Cases around the borders of tiles, one beyond blocks of 2048 steps and one beyond 1024 units."""
    return every_size(KINDS[subject.name], large=((1, 2050, 2, 2), (1, 1, 2, 1030)))


def of_some_sizes(subject: Subject) -> Cases:
    """Cases just beyond the borders of tiles, and one beyond blocks of 1024 steps."""
    return every_size(KINDS[subject.name], borders=(33, 65, 129, 257), large=((1, 1030, 2, 2),))


@family(VALUES, where=recurrent, cases=of_every_size, after=("agrees_with_its_definition",), examples=0.1)
def agrees_at_every_size(f: Run, x: Inputs) -> Verdict:
    """The definition holds for every number of units, channels, sequences and steps.

    the definition, at H, D and B = 31 … 33, 63 … 65, 127 … 129 and 257, at some of them together, D = 520,
    H = 1030, B = 65540 and T = 2050

    Why: products are summed in tiles of 32, 64 or 128, and what is left at the end goes another way.
    Hidden sizes in use are multiples of all of them.
    """
    return within(f(x))


@family(GRADIENTS, where=recurrent, needs=("gradient",))
def nothing_flows_back_from_earlier_outputs(f: Run, x: Inputs) -> Verdict:
    """The gradient of a hidden state reaches the inputs up to its own step, and none after it.

    t < s  ⇒  ∂y_t/∂x_s = 0, exactly

    Why: forward and backward passes are written separately. A scan that runs back from the wrong end
    leaks the future through the gradient alone, and every forward test passes.
    """
    if length(x) < 2:
        return vacuous()
    last = int(x.rng("last").integers(1, length(x)))
    g = cotangent(f, x)
    g[:, last:] = 0.0
    found = f.gradient(x, g, ("x",))["x"].value[:, last:]
    return identical(found, np.zeros(found.shape))


@family(GRADIENTS, where=recurrent, needs=("gradient",), after=("nothing_flows_back_from_earlier_outputs",))
def one_step_has_its_jacobian(f: Run, x: Inputs) -> Verdict:
    """The gradient of one step with respect to the state before it is that of the definition.

    ∂⟨s_1, g⟩/∂s_0 = Jᵀ g,  J = ∂step/∂s;  with respect to the offsets too where the weights of some units are 0

    Why: it is the factor of which every longer gradient is a product; transposed, or without the
    derivative of the activation, it still has the right shape, and training still moves. Zeros are how
    layers begin, and a formula in two branches, or of |a|, may have no slope at 0.
    """
    if not length(x):
        return vacuous()
    one, at_zero = x.take("T", [0]), with_units_at_zero(x.take("T", [0]))
    offsets = (name for name in f.subject.differentiable if x.axes[name] == "H")
    asked = {
        "": f.gradient(one, cotangent(f, one), states(x)),
        " at zero": f.gradient(at_zero, cotangent(f, at_zero), (*states(x), *offsets)),
    }
    return every(*(
        within(each).called(f"∂/∂{name}{where}") for where, found in asked.items() for name, each in found.items()
    ))  # fmt: skip


def with_units_at_zero(x: Inputs) -> Inputs:
    """The same inputs with some units that one gate hears nothing of: a gate has every so many units, in turns."""
    weights = [name for name in x.arrays if x.axes[name][0] == "H"]
    gates = list(dict.fromkeys(name.partition("_")[2] for name in weights))

    def silenced(name: str) -> Array:
        heard = np.arange(x.size("H")) % len(gates) != gates.index(name.partition("_")[2])
        array: Array = getattr(x, name)
        return array * heard.reshape(-1, *[1] * (array.ndim - 1))

    return x.but(**{name: silenced(name) for name in weights})


@family(
    GRADIENTS,
    where=recurrent,
    needs=("gradient",),
    cases=brief,
    after=("nothing_flows_back_from_earlier_outputs", "one_step_has_its_jacobian"),
    examples=0.5,
)
def a_run_sends_back_the_product_of_its_steps(f: Run, x: Inputs) -> Verdict:
    """The gradient of the final state is carried back step by step: the Jacobians multiply, the last one first.

    ∂⟨s_T, g⟩/∂s_0 = J_1ᵀ J_2ᵀ … J_Tᵀ g = (J_T … J_2 J_1)ᵀ g

    Why: cut anywhere, the past learns nothing from what comes of it, and no value shows it. Multiplied
    in the order of time instead, the product is another one.

    Source: Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013.
    """
    if length(x) < 2:
        return vacuous()
    before, state = [], {name: getattr(x, name) for name in states(x)}
    for t in range(length(x)):
        before.append(x.take("T", [t]).but(**state))
        state = handed_on(f(before[-1]), before[-1])
    g = cotangent(f, x, outputs=False)
    whole, carried = f.gradient(x, g, states(x)), g[:, length(x) :]
    for one in reversed(before):
        found = f.gradient(one, np.concatenate([0 * carried[:, :1], carried], axis=1), states(x))
        carried = np.stack([found[name].value for name in states(x)], axis=1)
    # a chain of steps is one way to compute the whole gradient: the bound of the whole holds for it too
    return every(*(
        same(_again(whole[name], carried[:, place]), whole[name]).called(f"∂/∂{name}")
        for place, name in enumerate(states(x))
    ))  # fmt: skip


def _again(whole: Output, value: object) -> Output:
    return Output(value, lambda: (whole.reference, whole.bound))  # type: ignore[arg-type]


@family(
    GRADIENTS,
    where=recurrent,
    needs=("gradient",),
    cases=of_any_length,
    after=("a_run_sends_back_the_product_of_its_steps", "one_step_has_its_jacobian"),
)
def gradients_agree_with_backpropagation_through_time(f: Run, x: Inputs) -> Verdict:
    """The gradients of inputs, states and weights are those of the definition; a weight's is the sum over all steps.

    ∂L/∂W = Σ_t ∂L/∂a_t ⊗ x_t,  ∂L/∂U = Σ_t ∂L/∂a_t ⊗ h_{t−1},  ∂L/∂b = Σ_t ∂L/∂a_t

    Why: the forward pass may be right and a hand-written backward pass wrong, and training will hide it.

    Source: Werbos 1990.
    """
    found = f.gradient(x, cotangent(f, x), f.subject.differentiable)
    return every(*(within(each).called(f"∂/∂{name}") for name, each in found.items()))


@family(
    GRADIENTS,
    where=recurrent,
    needs=("gradient",),
    after=("nothing_flows_back_from_earlier_outputs", "one_step_has_its_jacobian"),
    examples=0.5,
)
def gradients_grow_with_what_comes_back(f: Run, x: Inputs) -> Verdict:
    """A gradient of the output that is many times as large sends back gradients as many times as large.

    ∂⟨y, c g⟩ = c · ∂⟨y, g⟩ with respect to x, s_0 and the weights,  c = 4096, or 64 where the largest number is small

    Why: a backward pass is linear, whatever the forward pass is. One that clips what it carries is right
    until the loss is scaled, as it is for half types, or until the one step that mattered.
    """
    g, of = x.signs("gradient of the output", f.subject.shape(x)), f.subject.differentiable
    times = 4096.0 if x.format.largest > 2.0**20 else 64.0
    plain, louder = f.gradient(x, g, of), f.gradient(x, times * g, of)
    return every(*(same(plain[name] * times, louder[name]).called(f"∂/∂{name}") for name in of))


@family(
    GRADIENTS,
    where=recurrent,
    needs=("gradient",),
    cases=of_some_sizes,
    after=("gradients_agree_with_backpropagation_through_time",),
    examples=0.1,
)
def gradients_agree_at_every_size(f: Run, x: Inputs) -> Verdict:
    """The gradients of the definition come back for every number of units, channels, sequences and steps.

    backpropagation through time, at H, D and B = 33, 65, 129 and 257, at some of them together, D = 520, B = 65540
    and T = 1030

    Why: the backward pass has tiles of its own, over the axes that the forward pass summed and over the
    batch besides. A tail that is left out there leaves some weights as they were initialised; a long
    run that is cut into parts learns nothing across the cuts.
    """
    found = f.gradient(x, cotangent(f, x), f.subject.differentiable)
    return every(*(within(each).called(f"∂/∂{name}") for name, each in found.items()))
