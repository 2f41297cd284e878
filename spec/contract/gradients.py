"""The contract of a backward pass: whatever is asked for, however it lies in memory, and whatever happens meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.errors import Misbehaviour
from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, GRADIENTS, family
from seqlaws.layouts import LAYOUTS
from seqlaws.pieces import alone
from seqlaws.subject import nothing
from seqlaws.variants import (
    cotangent,
    few,
    leaves,
    negated,
    repeating,
    same_gradients,
    swept,
    turned,
)
from seqlaws.verdict import HOLDS, Output, Verdict, broken, every, identical, same

if TYPE_CHECKING:
    from seqlaws.run import Run


@family(EDGES, needs=("gradient",), cases=lambda subject: few(subject.cases), examples=0.25)
def gives_the_gradient_of_expanded_inputs(f: Run, x: Inputs) -> Verdict:
    """A tensor that repeats itself through a stride of 0 receives the gradient that its copy receives.

    ∂⟨f(x.expand(…)), g⟩/∂x = ∂⟨f(x.expand(…).contiguous()), g⟩/∂x, entry by entry

    Why: a buffer for the gradient that takes its strides from the input has one place where many are due,
    and what arrives there last stays.
    """
    g, of, verdicts = cotangent(f, x), leaves(f, x), []
    for axis in range(max(len(letters) for letters in x.axes.values())):
        y, repeated = repeating(x, axis)
        if repeated and f.subject.valid(y):
            found = f.gradient(y, g, of, expanded=dict.fromkeys(repeated, axis))
            verdicts.append(same_gradients(found, f.gradient(y, g, of)))
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
    verdicts = [same_gradients(f.gradient(x, g, of, cotangent_layout=layout), plain) for layout in LAYOUTS[1:]]
    verdicts += [same_gradients(f.gradient(x, g, of, layout=layout), plain) for layout in LAYOUTS[1:]]
    everywhere = tuple(range(g.ndim))
    for axes in dict.fromkeys((everywhere, everywhere[-1:], everywhere[:1])):
        first = g[tuple(slice(0, 1) if axis in axes else slice(None) for axis in everywhere)]
        constant = np.broadcast_to(first, g.shape)
        expanded = f.gradient(x, constant, of, cotangent_expanded=axes)
        verdicts.append(same_gradients(expanded, f.gradient(x, constant, of)))
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
    subsets.append(tuple(name for name in of if x.axes[name][:1] == "B"))  # frozen weights
    return every(*(same_gradients(f.gradient(x, g, each), together) for each in dict.fromkeys(subsets)))


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
        verdicts.append(same_gradients(f.gradient(x, one, of, only=place), f.gradient(x, one, of)))
    return every(*verdicts)


@family(GRADIENTS, needs=("gradient",), cases=lambda subject: few(subject.cases), examples=0.25)
def gives_the_same_gradient_again(f: Run, x: Inputs) -> Verdict:
    """One graph may be walked back twice; each walk gives its own gradients, and those of the first stay.

    y.backward(h, retain_graph=True);  y.backward(g): the second gradients are those of g alone, and the
    tensors that the first has returned still hold what they held

    Why: two losses on one output, and every Jacobian row by row, walk it again. A backward pass that
    writes over what the forward pass has saved, or over what it returned before, is right the first time only.
    """
    g, of = cotangent(f, x), leaves(f, x)
    h = x.noise("gradient of the output in an earlier walk", g.shape)
    return same_gradients(f.gradient(x, g, of, first=h), f.gradient(x, g, of))


@family(GRADIENTS, needs=("gradient",), cases=lambda subject: few(subject.cases), examples=0.25)
def gradients_forget_other_calls(f: Run, x: Inputs) -> Verdict:
    """The gradients of a call do not depend on other calls: not on one before, with the same tensors, that recorded
    nothing, nor on one with other numbers that is recorded between the call and its backward pass.

    f(x), nothing recorded;  y = f(x);  y' = f(x');  y.backward(g): the gradients are those of y = f(x) alone

    Why: two microbatches, a siamese network and a pipeline have several graphs open at once. What is saved in a
    workspace, and not for the graph, is that of the last call; and a packed copy of weights that was made while
    nothing learned never learns.
    """
    g, of = cotangent(f, x), leaves(f, x)
    verdicts = [
        same_gradients(f.gradient(x, g, of, meanwhile=other), f.gradient(x, g, of))
        for other in (turned(x), negated(x))
        if f.subject.valid(other)
    ]
    return every(*verdicts)


@family(GRADIENTS, needs=("gradient",), cases=lambda subject: few(subject.cases), examples=0.25)
def gradients_outlive_the_output(f: Run, x: Inputs) -> Verdict:
    """Writing into the output before the backward pass changes no gradient, or the backward pass refuses.

    y = f(x);  y ← 3·y, in place;  y.backward(g): the gradients are those of f, or there is an exception

    Why: the next layer may work in place, as a rectifier does. What the backward pass needs of the output it must
    save where torch can see that it was changed; a plain attribute of the context is read as it is by then.
    """
    g, of = cotangent(f, x), leaves(f, x)
    plain = f.gradient(x, g, of)
    try:
        return same_gradients(f.gradient(x, g, of, spoiled=True), plain)
    except Misbehaviour as refusal:
        return broken(str(refusal)) if refusal.law else HOLDS


@family(GRADIENTS, needs=("gradient",), examples=0.5)
def gradients_leave_the_value_alone(f: Run, x: Inputs) -> Verdict:
    """The output is the same whether gradients are recorded or not, and the backward pass leaves it as it is.

    y = f(x) if x requires gradients, after y.backward();  y = f(x) under no_grad and under inference_mode

    Why: a layer is trained with the one and used with the other. Where a kernel for inference computes
    something else, the model that was validated is not the one that is served.
    """
    plain, trained = f(x), f.trained(x, cotangent(f, x), leaves(f, x))
    modes = (same(f(x, mode=mode), plain).called(mode) for mode in ("no_grad", "inference_mode"))
    return every(same(trained, plain).called("recorded"), *modes)


@family(
    EDGES,
    where=lambda subject: subject.exact is not None,
    cases=swept,
    after=("gradients_leave_the_value_alone",),
    examples=0.1,
)
def agrees_at_every_size_in_every_mode(f: Run, x: Inputs) -> Verdict:
    """The output is the same under no_grad, and where gradients are recorded, at every size.

    f(x) under no_grad = f(x) = f(x) where x requires gradients, within the sum of both bounds, at the sizes and
    numbers at which the laws of values try it

    Why: inference has a kernel of its own, and so has training. Tests of sizes call neither.
    """
    plain, served = f(x), f(x, mode="no_grad")
    verdicts = [_alike(served, plain).called("no_grad")]
    if f.can("gradient"):
        verdicts.append(_alike(f(x, learning=leaves(f, x)), plain).called("recorded"))
    return every(*verdicts)


def _alike(one: Output, other: Output) -> Verdict:
    """Whether two outputs are the same; of equal bits, no bound need be known."""
    exactly = identical(one, other)
    return exactly if exactly.holds else same(one, other)
