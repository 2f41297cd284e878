"""The contract of a call: what comes back, what is left alone, what is accepted and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import CONTRACT, EDGES, family
from seqlaws.layouts import NESTED, SHARED
from seqlaws.subject import nothing
from seqlaws.variants import (
    arrays_of,
    company,
    contradictions,
    cotangent,
    cut,
    few,
    free_axes,
    has_twins,
    layouts,
    leaves,
    longer,
    negated,
    nested,
    nests,
    repeating,
    same_gradients,
    turned,
    twins,
)
from seqlaws.verdict import HOLDS, Verdict, broken, every, identical, not_finite, same, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


@family(CONTRACT)
def answers_in_kind(f: Run, x: Inputs) -> Verdict:
    """The output is a tensor of the expected shape, with the dtype and device of the input.

    y.shape = the subject's shape,  y.dtype = x.dtype,  y.device = x.device

    Why: a result in another dtype or shape is promoted or broadcast by the next operation, and the
    error appears layers later.
    """
    f(x)
    return HOLDS


@family(CONTRACT, after=("answers_in_kind",), where=lambda subject: subject.takes != "sizes")
def leaves_its_inputs_alone(f: Run, x: Inputs) -> Verdict:
    """Inputs, masks and weights hold the same numbers after the call and after the backward pass.

    x_after = x_before, bit by bit

    Why: the caller still owns them. A residual connection, a second head or the backward pass reads
    them again, and finds other numbers.
    """
    f(x)
    if f.can("gradient"):
        f.gradient(x, cotangent(f, x), leaves(f, x))
    return HOLDS


@family(CONTRACT, after=("answers_in_kind", "leaves_its_inputs_alone"))
def repeats_itself(f: Run, x: Inputs) -> Verdict:
    """The same call twice gives the same numbers.

    f(x) = f(x), bit by bit

    Why: a result that changes by itself reads memory that nobody wrote, or draws random numbers
    where none were asked for; no other statement about it can be checked.
    """
    return identical(f(x), f(x))


@family(CONTRACT, after=("answers_in_kind", "leaves_its_inputs_alone", "repeats_itself"), examples=0.5)
def forgets_earlier_calls(f: Run, x: Inputs) -> Verdict:
    """What a call returns does not depend on the calls before it, nor is it changed by those after it.

    f(x), f(y), f(x): the first and the last are equal bit by bit, whatever y's sizes, contents and
    options, also under no_grad, and whatever is written into what was returned; and the first is still the same
    afterwards

    Why: buffers, masks and tables kept from one call to the next, under a key that forgets what they
    depend on, are right until the second sequence has another length.
    """
    others = list(company(f, x))
    there = [f(each) for each in others]
    back = [f(each) for each in reversed(others)]
    if f.overwrites(x, others[1:3] * 2):  # a ring of a few buffers comes round
        return broken("a later call overwrote what an earlier one had returned, or returned what was written into it")
    served = [f(each, mode="no_grad") for each in (*others[:3], x)]
    again = (identical(first, last) for first, last in zip(there, reversed(back), strict=True))
    return every(*again, identical(served[0], served[-1]).called("under no_grad"))


@family(
    EDGES,
    where=lambda subject: subject.exact is not None and subject.takes == "arrays",
    cases=lambda subject: few(subject.cases),
    examples=0.25,
)
def forgets_calls_in_other_dtypes(f: Run, x: Inputs) -> Verdict:
    """What a call returns is as exact as its own dtype, whatever the dtype of the calls before it.

    f(x) in the coarsest dtype that is declared, then f(x): the definition, within the bound of its own dtype

    Why: tables and masks are made at the first call and kept, in its dtype. A model that was tried in half
    precision goes on with half the digits.
    """
    y = longer(f, x)  # of a size that hardly any other law has
    f.in_coarsest_dtype(y)
    return within(f(y))


@family(
    CONTRACT,
    after=("answers_in_kind", "leaves_its_inputs_alone", "repeats_itself", "forgets_earlier_calls"),
    where=lambda subject: subject.takes != "sizes",
    cases=lambda subject: few(subject.cases),
    examples=0.25,
)
def reads_its_inputs_anew(f: Run, x: Inputs) -> Verdict:
    """What a call returns is computed from the numbers that its tensors hold now, whatever they held before.

    f(x);  x ← y, in place, one array after another;  f(x) = f(y) each time, bit by bit; and so for all arrays at
    once under no_grad

    Why: an optimiser changes the weights where they are. A packed or converted copy that is kept for the
    tensor, and not for its numbers, goes on with those of the first step.
    """
    z, y, stages = turned(x), x, []
    for name, _ in arrays_of(x):
        y = y.but(**{name: z.arrays[name]})
        stages.append(y)
    stages = [each for each in (*stages, negated(x)) if f.subject.valid(each)]
    verdicts = [identical(found, f(each)) for found, each in zip(f.reread(x, *stages), stages, strict=True)]
    if f.subject.valid(z):
        verdicts.append(identical(f.reread(x, z, mode="no_grad")[0], f(z, mode="no_grad")).called("under no_grad"))
    return every(*verdicts)


@family(EDGES)
def leaves_random_generators_alone(f: Run, x: Inputs) -> Verdict:
    """A call does not move a global random generator.

    state after = state before

    Why: a layer that draws numbers which it does not use shifts every later draw, so that adding
    it to a model changes the initialisation, the shuffling and the dropout of everything else. One
    that sets a seed makes all that comes after it repeat itself.
    """
    return broken("moved a global random generator") if f.consumes_randomness(x) else HOLDS


@family(CONTRACT, after=("answers_in_kind",), cases=lambda subject: few(subject.cases), examples=0.25)
def leaves_global_settings_alone(f: Run, x: Inputs) -> Verdict:
    """A call leaves the default dtype, the recording of gradients and every other global setting as it finds them.

    settings after = settings before

    Why: a layer that switches something and does not switch it back changes layers that it has never
    heard of, and only those that are called after it.
    """
    changed = f.changed_settings(x)
    return broken(f"changed {', '.join(changed)}") if changed else HOLDS


@family(EDGES, examples=0.5, where=lambda subject: subject.takes != "sizes")
def reads_any_layout(f: Run, x: Inputs) -> Verdict:
    """How the numbers lie in memory does not matter: transposed, sliced and strided views are read right.

    f(view) = f(copy) for every view that holds the numbers of the copy

    Why: heads are split by transposing and packed projections by slicing, so real inputs are rarely
    contiguous; reading past their strides mixes tokens, heads or batch entries.
    """
    plain = f(x)
    return every(*(same(f(x, layout=layout), plain) for layout in layouts(x)))


@family(EDGES, examples=0.5, where=lambda subject: subject.takes != "sizes")
def reads_expanded_inputs(f: Run, x: Inputs) -> Verdict:
    """A tensor that repeats itself through a stride of 0 is read like its copy.

    f(x.expand(…)) = f(x.expand(…).contiguous())

    Why: masks, shared keys and broadcast biases arrive expanded. Code that computes addresses from
    sizes, or writes into what it was given, goes wrong on them alone.
    """
    verdicts = []
    for axis in range(max(len(letters) for letters in x.axes.values())):
        y, repeated = repeating(x, axis)
        if repeated and f.subject.valid(y):
            verdicts.append(same(f(y, expanded=dict.fromkeys(repeated, axis)), f(y)))
    return every(*verdicts)


@family(EDGES, where=has_twins, after=("reads_any_layout",), examples=0.5)
def reads_inputs_that_share_memory(f: Run, x: Inputs) -> Verdict:
    """Inputs that lie in one memory are read like copies: one tensor in several places, views into one buffer.

    f(t, t) = f(t, copy of t);  f(t, t[:n]) = f(t, copy of t[:n]);  f(views into one buffer) = f(copies of them)

    Why: self-attention hands over one tensor as queries, keys and values, and a packed projection three views of
    its result. Code that tells tensors apart by what they are, and not by where they stand, or takes any shared
    memory for the packing that it knows, goes wrong on them alone.
    """
    verdicts = []
    for names in twins(x):
        alike = x.but(**dict.fromkeys(names, x.arrays[names[0]]))
        for how in SHARED:
            y = alike if how == "one tensor" else x
            if f.subject.valid(y):
                named = ", ".join(names)
                verdicts.append(same(f(y, shared={how: names}), f(y)).called(f"output ({named}: {how})"))
    # with an axis cut short another array may be the largest
    shorter = [cut(x, letters, 2) for letters in free_axes(f, x)]
    for names, y in {names: nested(each, names) for each in (*shorter, x) for names in nests(each)}.items():
        if f.subject.valid(y):
            verdicts.append(same(f(y, shared={NESTED: names}), f(y)).called(f"output ({', '.join(names)}: {NESTED})"))
    return every(*verdicts)


@family(EDGES, where=lambda subject: subject.free_axes is not nothing, examples=0.5)
def accepts_none_and_one(f: Run, x: Inputs) -> Verdict:
    """An axis may have length 0 or 1: the result is empty, or what the definition says, and no error.

    f(x[:0]) = the definition at length 0, and so is its gradient; f(x[:1]) = the definition at length 1

    Why: the last batch, the first step and the empty prompt have these sizes, and they come in
    production, after the tests with comfortable sizes.
    """
    short = [(length, cut(x, letters, length)) for letters in free_axes(f, x) for length in (0, 1)]
    short = [(length, y) for length, y in short if f.subject.valid(y)]
    values = every(*(within(f(y)) for _, y in short))
    if not values.holds or not f.can("gradient"):
        return values
    gradients = (f.gradient(y, cotangent(f, y), leaves(f, y)) for length, y in short if length == 0)
    return every(values, *(within(each).called(f"∂/∂{name}") for some in gradients for name, each in some.items()))


@family(EDGES, where=lambda subject: subject.with_nan is not nothing)
def shows_nan(f: Run, x: Inputs) -> Verdict:
    """NaN in an input is not hidden: every output that depends on it is NaN or infinite.

    x_i = NaN  ⇒  y_j = NaN for every j that depends on i

    Why: NaN is the only sign that something upstream has failed. A maximum that skips it, or a
    clean-up that replaces it by 0, turns a failed run into a wrong result.
    """
    verdicts = []
    for y, reached in f.subject.with_nan(x, f.dialect):
        value = f(y).value
        verdict = not_finite(np.where(np.broadcast_to(reached, value.shape), value, np.nan))
        poisoned = [name for name, array in arrays_of(y) if array is not x.arrays[name]]
        verdicts.append(verdict.called(f"with NaN in {', '.join(poisoned)}:"))
    return every(*verdicts)


@family(EDGES, where=lambda subject: subject.malformed is not nothing, examples=0.25)
def refuses_malformed_input(f: Run, x: Inputs) -> Verdict:
    """Inputs that do not fit together are refused with an exception.

    sizes or options that contradict each other  ⇒  an exception, never a result and never a crash,
    whether gradients are recorded, not needed, or switched off

    Why: whatever is returned instead was made by trimming or broadcasting until two sides fitted,
    and the mistake in the caller goes unseen. What a loop over the keys or over blocks never comes upon, such as
    a value too many, is refused only by those who look for it: they declare misfits="refused".
    """
    ways: dict[str, dict[str, Any]] = {"": {}, ", under no_grad": {"mode": "no_grad"}}
    if f.can("gradient"):
        ways[", where gradients are recorded"] = {"learning": leaves(f, x)}
    asked = [*contradictions(f, x)]
    for y in asked:
        for how, way in ways.items():
            if not f.refuses(y, **way):
                sizes = ", ".join(f"{name} {array.shape}" for name, array in arrays_of(y))
                return broken(f"accepted {sizes} with {dict(y.options)}{how}")
    return HOLDS if asked else vacuous()


@family(EDGES, needs_paths=True, examples=0.5)
def agrees_on_all_paths(f: Run, x: Inputs) -> Verdict:
    """Every way to run the function gives the same result.

    path(x) = f(x): the same non-finite entries, shape and dtype, values within the sum of both bounds;
    the same gradients, where the path has any; the same inputs refused

    Why: training, evaluation, a fused kernel and a fallback are switched silently, so a difference
    between them is a model that changes when nobody has changed it.
    """
    plain = f(x)
    verdicts = [same(f(x, path=path), plain).called(path) for path in f.paths]
    if f.can("gradient"):
        g, of = cotangent(f, x), leaves(f, x)
        gradients = f.gradient(x, g, of)
        for path in f.paths:
            found = f.gradient(x, g, of, path=path)
            if any(each.value.any() for each in found.values()):  # a path without gradients gives none at all
                verdicts.append(same_gradients(found, gradients, path))
    for y in contradictions(f, x):
        verdicts += [
            broken(f"the path {path} and the function itself do not refuse the same inputs")
            for path in f.paths
            if f.refuses(y, path=path) != f.refuses(y)
        ]
    return every(*verdicts)
