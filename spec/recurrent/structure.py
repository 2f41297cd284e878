"""The structure of every recurrent layer: batch, time, state and units, whatever a step computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, STRUCTURE, family
from seqlaws.spec.recurrent.calling import (
    KINDS,
    computed_as,
    cotangent,
    final,
    in_chunks,
    length,
    recurrent,
    states,
    steps,
    without,
)  # fmt: skip
from seqlaws.spec.recurrent.drawing import MODERATE, TRAPS, cases
from seqlaws.subject import Cases, Subject
from seqlaws.verdict import Verdict, consistent, differs, equals, every, finite, identical, same, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

# while one of these is broken, what comes after them would only say the same again
SOUND = ("sequences_do_not_mix", "later_inputs_have_no_influence")
STEPPING = (*SOUND, "chunks_equal_one_run", "the_last_output_is_the_final_state")


def of_any_length(subject: Subject) -> Cases:
    """Cases with all traps, long runs among them."""
    return cases(KINDS[subject.name], traps=TRAPS)


def moderate(subject: Subject) -> Cases:
    """Cases in which no gate is saturated, so that everything acts on everything that it should."""
    return cases(KINDS[subject.name], fill=MODERATE)


@family(STRUCTURE, where=recurrent, cases=of_any_length)
def sequences_do_not_mix(f: Run, x: Inputs) -> Verdict:
    """What is returned for one sequence of the batch depends on that sequence and its own state alone.

    ∂(y, s_T) of sequence b / ∂(x, s_0) of sequence c = 0 for c ≠ b, even where c is NaN;
    a sequence asked alone gives the same

    Why: the states of a batch are strangers to each other. Sharing one among them, or reading a
    neighbour's, is invisible with a batch of one, and with states that are all zero.
    """
    kept = x.rng("sequences that are kept").random(x.size("B")) < 0.5
    failed = np.arange(x.size("B")) % 2 == 1
    changed = {}
    for name in ("x", *states(x)):
        array = getattr(x, name)
        chosen = kept.reshape(-1, *(1,) * (array.ndim - 1))
        other = np.where(failed.reshape(chosen.shape), np.nan, x.noise("other " + name, array.shape, 2.0))
        changed[name] = np.where(chosen, array, other)
    whole, beside = f(x), f(x.but(**changed))
    one = int(x.rng("sequence").integers(x.size("B")))
    order = x.permutation("B")
    return every(
        identical(whole.value[kept], beside.value[kept]),
        consistent(f(x.take("B", [one])), whole.take([one], 0)),
        consistent(f(x.take("B", order)), whole.take(order, 0)),
    )


@family(STRUCTURE, where=recurrent, cases=of_any_length)
def later_inputs_have_no_influence(f: Run, x: Inputs) -> Verdict:
    """A hidden state depends on the inputs up to its own step, and on none after it, not by a single bit.

    t < s  ⇒  ∂y_t/∂x_s = 0, even where x_s is NaN

    Why: a layer that sees what comes later cannot be run step by step; it scores well on recorded
    sequences and has nothing to go by on live ones.
    """
    if length(x) < 2:
        return vacuous()
    start = x.rng("future").integers(1, length(x), x.size("B"))
    late = np.arange(length(x)) >= start[:, None]
    failed = np.arange(x.size("B"))[:, None, None] % 2 == 1
    noise = np.where(failed, np.nan, x.noise("other inputs", x.x.shape, 3.0))
    other = np.where(late[..., None], noise, x.x)
    return identical(steps(f(x.but(x=other)), x).where(~late), steps(f(x), x).where(~late))


@family(STRUCTURE, where=recurrent, cases=of_any_length, after=SOUND)
def the_last_output_is_the_final_state(f: Run, x: Inputs) -> Verdict:
    """The hidden part of the final state is the hidden state of the last step.

    s_T = y_T

    Why: whoever continues a sequence starts from it. One that belongs to another step, or to another
    sequence of the batch, restarts the past somewhere else.
    """
    out = f(x)
    return consistent(final(out, x)[:, :1], steps(out, x)[:, -1:])


@family(STRUCTURE, where=recurrent, cases=moderate, after=SOUND)
def the_initial_state_has_influence(f: Run, x: Inputs) -> Verdict:
    """Every part of the initial state acts on the first step, in every sequence in which rounding cannot hide it.

    s_0 ≠ s_0′  ⇒  y_1 ≠ y_1′, and so where all other parts of the state are zero

    Why: tests that start from zeros cannot tell a state that is honoured from one that is ignored,
    and then every chunk, every turn and every batch begins with a lost past.
    """
    x = x.but(x=x.x / 8)  # far from where a half type rounds every activation to 1
    names, verdicts = states(x), []
    alone = [(x.but(**{each: 0 * getattr(x, each) for each in names if each != name}), (name,)) for name in names]
    for start, moved in [(x, names), *(alone if len(names) > 1 else ())]:
        plain = steps(f(start), x)[:, 0]
        for name in moved:
            state = getattr(x, name)
            changed = f(start.but(**{name: state + x.signs("other " + name, state.shape)}))
            other = steps(changed, x)[:, 0]
            clear = np.abs(other.reference - plain.reference) > other.bound + plain.bound
            verdicts.append(differs(other, plain, among=clear.any(axis=-1)).called(name))
    return every(*verdicts)


@family(
    STRUCTURE,
    where=recurrent,
    cases=of_any_length,
    after=(*SOUND, "the_initial_state_has_influence", "the_last_output_is_the_final_state"),
)
def chunks_equal_one_run(f: Run, x: Inputs) -> Verdict:
    """A sequence in pieces, each continued from the state before it, gives what one run gives.

    f(x‖y, s) = f(x, s) ‖ f(y, s′), with s′ the final state of f(x, s), for every way to cut

    Why: it is what "state" means. It holds for streaming, for truncated training and for caches, and
    it breaks where a step reads more than the state, where the state is not all that is needed, and
    where something happens every so many steps.
    """
    count = length(x)
    if count < 2:
        return vacuous()
    whole, rng = f(x), x.rng("cuts")
    partitions = [[1], [count - 1], sorted({int(cut) for cut in rng.integers(1, count, 3)})]
    if count <= 9:
        partitions.append(list(range(1, count)))
    return every(*(consistent(computed_as(whole, in_chunks(f, x, cuts)), whole) for cuts in partitions))


@family(STRUCTURE, where=recurrent, cases=of_any_length, after=STEPPING)
def hidden_units_permute_with_their_weights(f: Run, x: Inputs) -> Verdict:
    """Hidden units have no order: numbered anew, with all that belongs to them, they do the same.

    W ↦ ΠW,  U ↦ ΠUΠᵀ,  b ↦ Πb,  s_0 ↦ Πs_0   ⇒   y_t ↦ Πy_t,  s_T ↦ Πs_T

    Why: it fails where the last unit of a tile is left out, where gates are read across their borders
    in a packed matrix, and where rows and columns are taken for one another in one gate.
    """
    order = x.permutation("H")
    return consistent(f(x.take("H", order).take("G", order)), f(x).take(order, 2))


@family(STRUCTURE, where=recurrent, cases=moderate, after=STEPPING)
def every_weight_has_influence(f: Run, x: Inputs) -> Verdict:
    """Each row of each weight acts on the first step of the unit or gate that it belongs to.

    another W, U or b in any gate  ⇒  another y_1, and in every unit

    Why: a bias that starts at zero and is never added, or a gate that reads the weights of its
    neighbour, goes unnoticed until trained weights are loaded.
    """
    if x.size("B") < 8:  # among fewer, half types may round the change away in all of them
        return vacuous()
    plain, verdicts = steps(f(x), x).value[:, 0].T, []
    for name in KINDS[x.subject].WEIGHTS:
        if name in KINDS[x.subject].idle(f.dialect):
            continue
        array = getattr(x, name)
        scale = 1.0 if array.ndim == 1 else array.shape[-1] ** -0.5
        changed = f(x.but(**{name: array + scale * x.signs("other " + name, array.shape)}))
        verdicts.append(differs(steps(changed, x).value[:, 0].T, plain).called(name))
    return every(*verdicts)


@family(STRUCTURE, where=recurrent, after=STEPPING)
def without_memory_every_step_stands_alone(f: Run, x: Inputs) -> Verdict:
    """With the memory switched off by the weights, each step depends on its own input alone, not on when it comes.

    nothing kept from s_{t−1}  ⇒  y_t = φ(x_t), with the same φ at every t: the order may be changed

    Why: the same weights serve every step. A path from the past that no weight controls, or a step
    that knows its number, shows when everything else is silent.
    """
    silent = KINDS[x.subject].forgetful(x)
    other = silent.but(**{name: x.noise("other " + name, getattr(x, name).shape) for name in states(x)})
    plain, order = f(silent), x.permutation("T") if length(x) else np.arange(0)
    turned = f(silent.take("T", order))
    return every(
        consistent(steps(f(other), x), steps(plain, x)),
        consistent(steps(turned, x), steps(plain, x).take(order, 1)),
    )


@family(EDGES, where=recurrent, after=(*STEPPING, "agrees_with_its_definition"), examples=0.5)
def a_signal_after_silence_is_heard(f: Run, x: Inputs) -> Verdict:
    """Steps in which nothing comes in and nothing is remembered change nothing about what follows.

    s_0 = 0, b = 0, x_t = 0 for t ≤ 3   ⇒   y_t = 0 for t ≤ 3, and the rest is f(x_4 … x_T, 0)

    Why: recordings begin with silence, and padding on the left looks like it. A loop that ends when no state
    moves any more, and a step that is left out because it is all zeros, hear nothing of what comes later.
    """
    alone = without(x, *states(x), *KINDS[x.subject].OFFSETS)
    silence = np.zeros((x.size("B"), 3, x.size("D")))
    whole = f(alone.but(x=np.concatenate([silence, alone.x], axis=1)))
    return every(equals(whole[:, :3], 0.0), consistent(whole[:, 3:], f(alone)))


@family(EDGES, where=recurrent, cases=lambda subject: cases(KINDS[subject.name], fill=("huge", "loud")))
def extreme_inputs_stay_finite(f: Run, x: Inputs) -> Verdict:
    """However large the inputs are, states stay finite, and gradients too.

    |W x + U h + b| up to the largest number of the format  ⇒  |y_t| < ∞, |∂y_t/∂·| < ∞

    Why: a logistic function written as e^a / (1 + e^a) is NaN from a = 89 on in float32, and from
    a = 12 on in float16. One outlier is enough, and the state never recovers.
    """
    verdicts = [finite(f(x))]
    if f.can("gradient") and np.abs(x.x).max(initial=0.0) < 2e3:
        g = x.noise("gradient of the output", f.subject.shape(x))
        verdicts += [finite(each).called(f"∂/∂{name}") for name, each in f.gradient(x, g, ("x", *states(x))).items()]
    return every(*verdicts)


@family(EDGES, where=recurrent)
def an_empty_sequence_keeps_the_state(f: Run, x: Inputs) -> Verdict:
    """No steps leave the state as it was, bit by bit; a missing one, where it counts as zeros, as zeros.

    T = 0  ⇒  s_T = s_0

    Why: a batch in which nothing is new, a prompt that is empty and a chunk that was all padding
    must not cost the memory of what came before.
    """
    none = x.take("T", np.arange(0))
    due = np.stack([getattr(x, name) for name in states(x)], axis=1)
    verdict = identical(final(f(none), none).value, due)
    if f.dialect["missing_state"] == "zeros":
        missing = none.but(**dict.fromkeys(states(x)))
        started = identical(final(f(missing), missing).value, np.zeros_like(due))
        verdict = every(verdict, started.called("without a state"))
    return verdict


@family(EDGES, where=recurrent, when={"missing_state": ("zeros",)})
def a_missing_state_is_zero(f: Run, x: Inputs) -> Verdict:
    """No initial state is a state of zeros, on the way there and on the way back.

    f(x, None) = f(x, 0), also under no_grad after a call with a state;  and the same for the gradients of x and
    of the weights

    Why: the default is what most calls get. A learned, random or left-over state in its place gives
    two meanings to one call.
    """
    missing, zeros = x.but(**dict.fromkeys(states(x))), without(x, *states(x))
    served = [f(y, mode="no_grad") for y in (zeros, x, missing)]
    verdict = every(same(f(missing), f(zeros)), same(served[-1], served[0]).called("under no_grad"))
    if f.can("gradient"):
        g, of = cotangent(f, x), ("x", *KINDS[x.subject].WEIGHTS)
        found, due = f.gradient(missing, g, of), f.gradient(zeros, g, of)
        verdict = every(verdict, *(same(found[name], due[name]).called(f"∂/∂{name}") for name in of))
    return verdict


def lasting(subject: Subject) -> Cases:
    """Cases beyond a block of 64 steps, and beyond one of 128."""
    return cases(KINDS[subject.name], traps=TRAPS[-2:])


@family(EDGES, where=recurrent, needs_paths=True, cases=lasting, after=("agrees_on_all_paths",), examples=0.1)
def agrees_on_all_paths_over_many_steps(f: Run, x: Inputs) -> Verdict:
    """Every way to run the layer gives the same result for long sequences too, and sends back the same gradient.

    path(x) = f(x) and ∂⟨path(x), g⟩/∂· = ∂⟨f(x), g⟩/∂·, at T = 67 and T = 131

    Why: one way runs through, another goes block by block and has to hand the state on, there and back.
    Within the first block they are the same program.
    """
    plain = f(x)
    verdicts = [same(plain, f(x, path=path)).called(path) for path in f.paths]
    if f.can("gradient"):
        g, of = cotangent(f, x), ("x", *states(x), *KINDS[x.subject].WEIGHTS)
        due = f.gradient(x, g, of)
        for path in f.paths:
            found = f.gradient(x, g, of, path=path)
            if any(each.value.any() for each in found.values()):  # a path without gradients gives none at all
                verdicts += [same(due[name], found[name]).called(f"{path} ∂/∂{name}") for name in of]
    return every(*verdicts)
