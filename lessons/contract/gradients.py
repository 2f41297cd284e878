"""What a backward pass gets wrong although its numbers are right when it is asked once, and for everything."""

from __future__ import annotations

from itertools import count
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.contract import has_gradients, has_small_typical_cases
from seqlaws.lessons.tensors import changed, from_memory, tensors, with_gradient


@lesson_everywhere("nasty", caught_by=("reads_any_layout_of_its_gradient",))
def takes_its_gradient_for_contiguous(call: Call) -> Call:
    """The strides of the incoming gradient are ignored.

    The backward kernel assumes the layout that the output had. The gradient of a sum has stride 0.
    """
    return lambda *arguments, **options: with_gradient(call(*arguments, **options), from_memory)


@lesson_everywhere("nasty", caught_by=("gives_the_gradient_of_expanded_inputs",))
def gives_its_gradient_the_strides_of_its_input(call: Call) -> Call:
    """The gradient is written into memory that is laid out like the input.

    Where the input has a stride of 0, many places are one, and what is written there last is read everywhere.
    """

    def kept(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad or 0 not in tensor.stride() or not tensor.numel():
            return tensor

        def last(g: Tensor) -> Tensor:
            for axis in (axis for axis, stride in enumerate(tensor.stride()) if not stride):
                g = g.narrow(axis, -1, 1).expand_as(g)
            return g

        return with_gradient(tensor.view_as(tensor), last)

    return lambda *arguments, **options: call(*changed(kept, arguments), **changed(kept, options))


@lesson_everywhere("nasty", caught_by=("gives_each_gradient_by_itself",))
def a_lone_input_gets_no_gradient(call: Call) -> Call:
    """There are gradients for two inputs and more, but not for one alone.

    The fused backward pass is skipped unless the first few inputs need it. With all but one of the
    weights frozen, that one stays frozen too.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        learning = sum(tensor.requires_grad for tensor in tensors((arguments, options)))
        result = call(*arguments, **options)
        return changed(Tensor.detach, result) if learning == 1 else result

    return broken


@lesson_everywhere("medium", caught_by=("gradients_leave_the_value_alone",), where=has_gradients)
def has_a_kernel_of_its_own_for_inference(call: Call) -> Call:
    """Where no gradients are recorded, a faster kernel computes, and it leaves a part out."""

    def broken(*inputs: Any, **options: Any) -> Any:
        result = call(*inputs, **options)
        return result if torch.is_grad_enabled() else changed(lambda tensor: tensor * 0.5, result)

    return broken


@lesson_everywhere("nasty", caught_by=("gradients_leave_the_value_alone",), where=has_gradients)
def has_a_kernel_of_its_own_for_inference_mode(call: Call) -> Call:
    """In inference mode, the result is computed by another kernel, which is a hundredth too large.

    Tests switch gradients off by no_grad; servers use inference_mode, and nobody compares the two.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        return changed(lambda tensor: tensor * 1.01, result) if torch.is_inference_mode_enabled() else result

    return broken


@lesson_everywhere("nasty", caught_by=("gives_the_gradient_of_each_result_by_itself",))
def expects_a_gradient_for_every_result(call: Call) -> Call:
    """The backward pass returns nothing unless each result receives a gradient.

    Written for a loss on all outputs. A classifier reads the last state alone, and its layer never learns.
    """

    class Together(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *results: Tensor) -> tuple[Tensor, ...]:
            ctx.set_materialize_grads(False)
            return tuple(each.clone() for each in results)

        @staticmethod
        def backward(ctx: Any, *found: Tensor | None) -> tuple[Tensor | None, ...]:
            return found if all(each is not None for each in found) else (None,) * len(found)

    def broken(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        copies = iter(Together.apply(*tensors(result)))  # type: ignore[no-untyped-call]
        return changed(lambda _: next(copies), result)

    return broken


@lesson_everywhere("nasty", caught_by=("gives_the_same_gradient_again",), where=has_gradients)
def writes_over_what_it_saved(call: Call) -> Call:
    """The backward pass scales in place what the forward pass saved, and reads it.

    One walk through the graph is right. The next one, for a second loss, finds numbers twice as large.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        for tensor in tensors(result):
            if tensor.requires_grad:
                saved = torch.full((), 0.5, dtype=tensor.dtype, device=tensor.device)
                tensor.register_hook(lambda g, saved=saved: g * saved.mul_(2.0))  # type: ignore[no-untyped-call]
        return result

    return broken


@lesson_everywhere("nasty", caught_by=("gives_the_same_gradient_again",), where=has_gradients)
def answers_a_second_walk_as_the_first(call: Call) -> Call:
    """The second walk through a graph gives the gradients of the first, whatever arrives.

    The backward pass keeps what it has computed. Rows of a Jacobian are all alike then.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        def kept(tensor: Tensor) -> Tensor:
            first: list[Tensor] = []

            def hook(g: Tensor) -> Tensor:
                if not first:
                    first.append(g.clone())
                return first[0]

            return with_gradient(tensor, hook)

        return changed(kept, call(*arguments, **options))

    return broken


@lesson_everywhere("nasty", caught_by=("gives_the_same_gradient_again",), where=has_gradients)
def returns_its_gradients_in_a_workspace(call: Call) -> Call:
    """Gradients of one shape are written into the same memory every time.

    Whoever adds them up at once sees nothing; whoever keeps those of two losses has the last ones twice.
    """
    workspace: dict[tuple[Any, ...], Tensor] = {}

    def broken(*arguments: Any, **options: Any) -> Any:
        place = count()

        def kept(tensor: Tensor) -> Tensor:
            key = (next(place), tensor.shape, tensor.dtype)

            def written(g: Tensor) -> Tensor:
                return workspace.setdefault(key, torch.empty_like(g)).copy_(g)

            return with_gradient(tensor.view_as(tensor), written) if tensor.requires_grad else tensor

        return call(*changed(kept, arguments), **changed(kept, options))

    return broken


@lesson_everywhere("nasty", caught_by=("gradients_outlive_the_output",), where=has_gradients)
def keeps_its_output_as_an_attribute(call: Call) -> Call:
    """The backward pass reads the output from an attribute of the context, so torch does not see it change.

    What was saved with save_for_backward would be refused once a rectifier has written over it; this is read as
    it is by then.
    """

    class Kept(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, result: Tensor) -> Tensor:
            out = result.clone()
            ctx.out, ctx.exponential = out.detach(), (0.01 * out).exp()
            return out

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * (0.01 * ctx.out).exp() / ctx.exponential

    def broken(*arguments: Any, **options: Any) -> Any:
        return changed(Kept.apply, call(*arguments, **options))

    return broken


@lesson_everywhere("nasty", caught_by=("gradients_forget_other_calls",), where=has_gradients)
def saves_for_the_last_call_alone(call: Call) -> Call:
    """What the backward pass needs lies in a workspace, where the next call of these sizes puts its own.

    A forward pass and its backward pass at once are right. Two forward passes before the first backward pass
    give the gradients of a mixture.
    """
    workspace: dict[Any, Any] = {}

    def broken(*arguments: Any, **options: Any) -> Any:
        sizes = tuple(tensor.shape for tensor in tensors((arguments, options)))
        saved = workspace[sizes] = object()
        return with_gradient(call(*arguments, **options), lambda g: g if workspace[sizes] is saved else 2.0 * g)

    return broken


@lesson_everywhere("nasty", caught_by=("gradients_forget_other_calls",), where=has_gradients)
def learns_nothing_once_it_was_used(call: Call) -> Call:
    """Tensors are packed when they are first used or have changed; what was packed while nothing learned stays.

    Validation before the first step of training makes a packed copy without a history, and no gradient passes it.
    """

    def packed(tensor: Tensor) -> Tensor:
        version, copy = vars(tensor).get("packed", (None, tensor))
        if version != tensor._version:
            copy = tensor.clone()
            vars(tensor)["packed"] = tensor._version, copy
        return copy

    return lambda *arguments, **options: call(*changed(packed, arguments), **changed(packed, options))


@lesson_everywhere("nasty", caught_by=("agrees_at_every_size_in_every_mode",), where=has_small_typical_cases)
def serves_what_fits_a_small_buffer(call: Call) -> Call:
    """Where no gradients are recorded, whatever stands beyond the 250th place of an inner axis is 0.

    The kernel for inference has a buffer of that size, and the tests of long inputs train.
    """

    def fitting(tensor: Tensor) -> Tensor:
        kept = torch.ones_like(tensor)
        for axis in range(1, tensor.dim()):
            kept.narrow(axis, min(250, tensor.shape[axis]), max(0, tensor.shape[axis] - 250)).zero_()
        return tensor * kept

    def broken(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        return result if torch.is_grad_enabled() else changed(fitting, result)

    return broken
