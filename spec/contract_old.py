"""The contract: what every call of every subject must do, whatever it computes.

`f` is the implementation and `x` a case of its subject. The laws of the first level gate everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.frames import LAYOUTS
from seqlaws.inputs import Inputs
from seqlaws.law import CONTRACT, EDGES, GRADIENTS, family
from seqlaws.pieces import alone
from seqlaws.subject import nothing
from seqlaws.variants import (
    arrays_of,
    at,
    company,
    cotangent,
    cut,
    few,
    free_axes,
    layouts,
    leaves,
    may_repeat,
    same_gradients,
)
from seqlaws.verdict import HOLDS, Verdict, broken, every, identical, not_finite, same, within

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
    options; and the first is still the same afterwards

    Why: buffers, masks and tables kept from one call to the next, under a key that forgets what they
    depend on, are right until the second sequence has another length.
    """
    others = list(company(f, x))
    there = [f(each) for each in others]
    back = [f(each) for each in reversed(others)]
    if any(f.overwrites(x, other) for other in others[1:3]):
        return broken("a later call overwrote what an earlier one had returned")
    return every(*(identical(first, last) for first, last in zip(there, reversed(back), strict=True)))


@family(
    CONTRACT,
    after=("answers_in_kind", "leaves_its_inputs_alone", "repeats_itself", "forgets_earlier_calls"),
    where=lambda subject: subject.takes == "arrays",
    cases=lambda subject: few(subject.cases),
    examples=0.25,
)
def reads_its_inputs_anew(f: Run, x: Inputs) -> Verdict:
    """What a call returns is computed from the numbers that its tensors hold now, whatever they held before.

    f(x);  x ← y, in place;  f(x) = f(y), bit by bit

    Why: an optimiser changes the weights where they are. A packed or converted copy that is kept for the
    tensor, and not for its numbers, goes on with those of the first step.
    """
    turned = {name: np.roll(array, 1, axis=tuple(range(array.ndim - 1))) for name, array in arrays_of(x)}
    negated = {name: -array for name, array in arrays_of(x) if array.dtype.kind == "f" and np.isfinite(array).all()}
    others = [each for each in (x.but(**turned), x.but(**negated)) if f.subject.valid(each)]
    return every(*(identical(f.reread(x, other), f(other)) for other in others))


@family(EDGES)
def leaves_random_generators_alone(f: Run, x: Inputs) -> Verdict:
    """A call does not move a global random generator.

    state after = state before

    Why: a layer that draws numbers which it does not use shifts every later draw, so that adding
    it to a model changes the initialisation, the shuffling and the dropout of everything else.
    """
    return broken("moved a global random generator") if f.consumes_randomness(x) else HOLDS


@family(EDGES, examples=0.5, where=lambda subject: subject.takes != "sizes")
def reads_any_layout(f: Run, x: Inputs) -> Verdict:
    """How the numbers lie in memory does not matter: transposed, sliced and strided views are read right.

    f(view) = f(copy) for every view that holds the numbers of the copy

    Why: heads are split by transposing and packed projections by slicing, so real inputs are rarely
    contiguous; reading past their strides mixes tokens, heads or batch entries.
    """
    plain = f(x)
    return every(*(same(plain, f(x, layout=layout)) for layout in layouts(x)))


@family(EDGES, examples=0.5, where=lambda subject: subject.takes != "sizes")
def reads_expanded_inputs(f: Run, x: Inputs) -> Verdict:
    """A tensor that repeats itself through a stride of 0 is read like its copy.

    f(x.expand(…)) = f(x.expand(…).contiguous())

    Why: masks, shared keys and broadcast biases arrive expanded. Code that computes addresses from
    sizes, or writes into what it was given, goes wrong on them alone.
    """
    verdicts = []
    for axis in range(max(len(letters) for letters in x.axes.values())):
        constant = {name: array for name, array in arrays_of(x) if may_repeat(array, axis)}
        y = x.but(**{name: np.repeat(array[at(axis, 0)], array.shape[axis], axis) for name, array in constant.items()})
        if constant and f.subject.valid(y):
            verdicts.append(same(f(y), f(y, expanded=dict.fromkeys(constant, axis))))
    return every(*verdicts)


@family(EDGES, needs=("gradient",), examples=0.5)
def reads_any_layout_of_its_gradient(f: Run, x: Inputs) -> Verdict:
    """How the gradient of the output lies in memory does not matter, nor how the inputs do.

    ∂⟨y, g⟩/∂x is the same for a g that is transposed, strided or expanded, as y.sum() expands it

    Why: backward passes assume more about layouts than forward passes do, and the most common loss
    in a test, y.sum(), sends back a gradient whose strides are all 0.
    """
    g, of = cotangent(f, x), leaves(f, x)
    plain = f.gradient(x, g, of)
    verdicts = [same_gradients(plain, f.gradient(x, g, of, cotangent_layout=layout)) for layout in LAYOUTS[1:]]
    verdicts += [same_gradients(plain, f.gradient(x, g, of, layout=layout)) for layout in LAYOUTS[1:]]
    everywhere = tuple(range(g.ndim))
    for axes in dict.fromkeys((everywhere, everywhere[-1:], everywhere[:1])):
        first = g[tuple(slice(0, 1) if axis in axes else slice(None) for axis in everywhere)]
        constant = np.broadcast_to(first, g.shape)
        expanded = f.gradient(x, constant, of, cotangent_expanded=axes)
        verdicts.append(same_gradients(f.gradient(x, constant, of), expanded))
    return every(*verdicts)


@family(GRADIENTS, needs=("gradient",), where=lambda subject: len(subject.differentiable) > 1, examples=0.5)
def gives_each_gradient_by_itself(f: Run, x: Inputs) -> Verdict:
    """The gradient of one input does not depend on which other gradients are asked for.

    ∂⟨y, g⟩/∂a is the same for every set of inputs that require a gradient and contain a

    Why: frozen weights and learned biases make unusual sets, and a backward pass that was written
    for "all of them" returns nothing, or the wrong one, for the rest.
    """
    g, of = cotangent(f, x), leaves(f, x)
    together = f.gradient(x, g, of)
    subsets = [(name,) for name in of] + [tuple(name for name in of if name != left_out) for left_out in of]
    return every(*(same_gradients(together, f.gradient(x, g, each)) for each in dict.fromkeys(subsets)))


@family(
    EDGES,
    needs=("gradient",),
    where=lambda subject: subject.pieces is not nothing,
    cases=lambda subject: few(subject.cases),
    after=("reads_any_layout_of_its_gradient",),
    examples=0.25,
)
def gives_the_gradient_of_each_result_by_itself(f: Run, x: Inputs) -> Verdict:
    """A loss on one of several results has its gradient, although none arrives for the others.

    ∂⟨y_k, g⟩/∂x is the same whether the other results receive no gradient, or one of zeros

    Why: a classifier reads the last state alone, a tagger the outputs alone. A backward pass that counts
    on a gradient for each result returns nothing, or fails, for whoever needs only one.
    """
    g, of, pieces = cotangent(f, x), leaves(f, x), f.subject.pieces(x)
    verdicts = []
    for place in range(len(pieces)):
        one = alone(g, pieces, place)
        verdicts.append(same_gradients(f.gradient(x, one, of), f.gradient(x, one, of, only=place)))
    return every(*verdicts)


@family(GRADIENTS, needs=("gradient",), cases=lambda subject: few(subject.cases), examples=0.25)
def gives_the_same_gradient_again(f: Run, x: Inputs) -> Verdict:
    """One graph may be walked back twice, and gives the same gradients both times.

    y.backward(g, retain_graph=True);  y.backward(g): the second gradient = the first

    Why: two losses on one output, and every Jacobian row by row, walk it again. A backward pass that
    writes over what the forward pass has saved is right the first time only.
    """
    g, of = cotangent(f, x), leaves(f, x)
    return same_gradients(f.gradient(x, g, of), f.gradient(x, g, of, walks=2))


@family(EDGES, where=lambda subject: subject.free_axes is not nothing, examples=0.5)
def accepts_none_and_one(f: Run, x: Inputs) -> Verdict:
    """An axis may have length 0 or 1: the result is empty, or what the definition says, and no error.

    f(x[:0]) = the definition at length 0, and so is its gradient; f(x[:1]) = the definition at length 1

    Why: the last batch, the first step and the empty prompt have these sizes, and they come in
    production, after the tests with comfortable sizes.
    """
    verdicts = []
    for letters in free_axes(f, x):
        for length in (0, 1):
            y = cut(x, letters, length)
            if f.subject.valid(y):
                verdicts.append(within(f(y)))
                if length == 0 and f.can("gradient"):
                    gradients = f.gradient(y, cotangent(f, y), leaves(f, y))
                    verdicts += [within(each).called(f"∂/∂{name}") for name, each in gradients.items()]
    return every(*verdicts)


@family(EDGES, where=lambda subject: subject.with_nan is not nothing)
def shows_nan(f: Run, x: Inputs) -> Verdict:
    """NaN in an input is not hidden: every output that depends on it is NaN.

    x_i = NaN  ⇒  y_j = NaN for every j that depends on i

    Why: NaN is the only sign that something upstream has failed. A maximum that skips it, or a
    clean-up that replaces it by 0, turns a failed run into a wrong result.
    """
    verdicts = []
    for y, reached in f.subject.with_nan(x, f.dialect):
        value = f(y).value
        verdicts.append(not_finite(np.where(np.broadcast_to(reached, value.shape), value, np.nan)))
    return every(*verdicts)


@family(EDGES, where=lambda subject: subject.malformed is not nothing, examples=0.25)
def refuses_malformed_input(f: Run, x: Inputs) -> Verdict:
    """Inputs that do not fit together are refused with an exception.

    sizes or options that contradict each other  ⇒  an exception, never a result and never a crash

    Why: whatever is returned instead was made by trimming or broadcasting until two sides fitted,
    and the mistake in the caller goes unseen.
    """
    for y in f.subject.malformed(x):
        if not f.refuses(y):
            sizes = ", ".join(f"{name} {array.shape}" for name, array in y.arrays.items() if array is not None)
            return broken(f"accepted {sizes} with {dict(y.options)}")
    return HOLDS


@family(GRADIENTS, needs=("gradient",), examples=0.5)
def gradients_leave_the_value_alone(f: Run, x: Inputs) -> Verdict:
    """The output is the same whether gradients are recorded or not, and the backward pass leaves it as it is.

    y = f(x) if x requires gradients, after y.backward();  y = f(x) under no_grad and under inference_mode

    Why: a layer is trained with the one and used with the other. Where a kernel for inference computes
    something else, the model that was validated is not the one that is served.
    """
    plain, trained = f(x), f.trained(x, cotangent(f, x), leaves(f, x))
    modes = (same(plain, f(x, mode=mode)).called(mode) for mode in ("no_grad", "inference_mode"))
    return every(same(plain, trained).called("recorded"), *modes)


@family(EDGES, needs_paths=True, examples=0.5)
def agrees_on_all_paths(f: Run, x: Inputs) -> Verdict:
    """Every way to run the function gives the same result.

    path(x) = f(x): the same non-finite entries, shape and dtype, values within the sum of both bounds;
    the same gradients, where the path has any; the same inputs refused

    Why: training, evaluation, a fused kernel and a fallback are switched silently, so a difference
    between them is a model that changes when nobody has changed it.
    """
    plain = f(x)
    verdicts = [same(plain, f(x, path=path)).called(path) for path in f.paths]
    if f.can("gradient"):
        g, of = cotangent(f, x), leaves(f, x)
        gradients = f.gradient(x, g, of)
        for path in f.paths:
            found = f.gradient(x, g, of, path=path)
            if any(each.value.any() for each in found.values()):  # a path without gradients gives none at all
                verdicts.append(same_gradients(gradients, found, path))
    for y in f.subject.malformed(x):
        verdicts += [
            broken(f"the path {path} and the function itself do not refuse the same inputs")
            for path in f.paths
            if f.refuses(y, path=path) != f.refuses(y)
        ]
    return every(*verdicts)
