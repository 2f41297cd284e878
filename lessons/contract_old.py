"""Lessons of the contract: what goes wrong around a computation that is right. Every subject has them."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.tensors import changed, from_memory, tensors, with_gradient
from seqlaws.subject import Subject


def takes_arrays(subject: Subject) -> bool:
    """Whether numbers go in, and decide the dtype of the result."""
    return subject.takes == "arrays"


def has_gradients(subject: Subject) -> bool:
    """Whether there is anything to differentiate."""
    return bool(subject.differentiable)


@lesson_everywhere(
    "easy", caught_by=("answers_in_kind",), dtypes=("float16", "bfloat16", "float64"), where=takes_arrays
)
def answers_in_float32(call: Call) -> Call:
    """The result is float32, whatever came in.

    The cast back was forgotten. The next operation promotes everything that it meets.
    """
    return lambda *arguments, **options: changed(Tensor.float, call(*arguments, **options))


@lesson_everywhere("nasty", caught_by=("answers_in_kind",))
def squeezes_axes_of_length_one(call: Call) -> Call:
    """Axes of length 1 disappear from the result.

    squeeze() without an axis was meant for one of them. A batch of one is the first to notice.
    """
    return lambda *arguments, **options: changed(Tensor.squeeze, call(*arguments, **options))


@lesson_everywhere("medium", caught_by=("leaves_its_inputs_alone",), where=takes_arrays)
def scales_its_input_in_place(call: Call) -> Call:
    """The first input of floating-point numbers is halved when the result is done.

    An in-place operation saved an allocation, on memory that belongs to the caller.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        result: Tensor = call(*arguments, **options)
        next(tensor for tensor in tensors(arguments) if tensor.is_floating_point()).data.mul_(0.5)
        return result

    return broken


@lesson_everywhere("nasty", caught_by=("leaves_its_inputs_alone",), where=has_gradients)
def scales_the_incoming_gradient_in_place(call: Call) -> Call:
    """The gradient of the output is doubled in place, and the result corrected for it.

    Everything that this layer returns is right; whoever shares that gradient, as the other branch
    of a residual connection does, gets twice as much.
    """

    def halved(g: Tensor) -> Tensor:
        g.data.mul_(2.0)
        return g / 2.0

    return lambda *arguments, **options: with_gradient(call(*arguments, **options), halved)


@lesson_everywhere("medium", caught_by=("repeats_itself",))
def changes_its_mind(call: Call) -> Call:
    """The result is a little different every time.

    A regulariser of the training was left on; it has a generator of its own, so no seed stops it.
    """
    dice = random.Random()

    def broken(*arguments: Any, **options: Any) -> Any:
        factor = 1.0 + 0.02 * dice.random()
        return changed(lambda result: result * factor, call(*arguments, **options))

    return broken


@lesson_everywhere("nasty", caught_by=("forgets_earlier_calls",), where=takes_arrays)
def keeps_its_result_until_the_shape_changes(call: Call) -> Call:
    """A result is made anew only when the shape of the input is another than last time.

    A cache whose key forgets the contents. Any test with one call per shape passes.
    """
    kept: dict[str, Any] = {"shapes": None}

    def broken(*arguments: Any, **options: Any) -> Any:
        shapes = [tensor.shape for tensor in tensors((arguments, options))]
        if kept["shapes"] != shapes:
            kept.update(shapes=shapes, result=changed(Tensor.detach, call(*arguments, **options)))
        return changed(Tensor.clone, kept["result"])

    return broken


@lesson_everywhere("nasty", caught_by=("forgets_earlier_calls",), where=lambda subject: subject.takes != "sizes")
def returns_the_same_buffer_again(call: Call) -> Call:
    """Results of one shape share one buffer.

    Each is right until the next call overwrites it. Whoever keeps two of them has the last one twice.
    """
    buffers: dict[tuple[Any, ...], Tensor] = {}

    def broken(*arguments: Any, **options: Any) -> Any:
        place = count()

        def written(result: Tensor) -> Tensor:
            if result.requires_grad:
                return result
            key = (next(place), result.shape, result.dtype, result.device)
            return buffers.setdefault(key, torch.empty_like(result)).copy_(result)

        return changed(written, call(*arguments, **options))

    return broken


@lesson_everywhere("nasty", caught_by=("reads_its_inputs_anew",), where=takes_arrays)
def keeps_a_copy_of_each_tensor(call: Call) -> Call:
    """Every tensor is packed once, and its packed copy is used as long as the tensor lives.

    Fast, and right until the first step of an optimiser, which changes the numbers and not the tensor.
    """

    def packed(tensor: Tensor) -> Tensor:
        copy: Tensor = vars(tensor).setdefault("packed", tensor.clone())
        return copy

    return lambda *arguments, **options: call(*changed(packed, arguments), **changed(packed, options))


@lesson_everywhere("medium", caught_by=("leaves_random_generators_alone",))
def draws_a_number_that_it_does_not_use(call: Call) -> Call:
    """A dropout mask is drawn although the rate is 0.

    The result is right, and every number drawn after it is another than without this layer.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        torch.rand(())
        return call(*arguments, **options)

    return broken


@lesson_everywhere("medium", caught_by=("reads_any_layout",))
def reads_memory_as_if_contiguous(call: Call) -> Call:
    """Strides are ignored: memory is read from the first number onwards.

    A kernel takes a pointer and sizes. Transposed heads and slices of a packed projection are read
    in the wrong order, or with what stands between them.
    """
    return lambda *arguments, **options: call(*changed(from_memory, arguments), **changed(from_memory, options))


@lesson_everywhere("nasty", caught_by=("reads_expanded_inputs",), where=takes_arrays)
def reads_past_an_expanded_tensor(call: Call) -> Call:
    """Strides are honoured, but a stride of 0 is taken for "contiguous".

    The address of every second row points into the row that was meant to repeat.
    """

    def read(tensor: Tensor) -> Tensor:
        return from_memory(tensor) if 0 in tensor.stride() else tensor

    return lambda *arguments, **options: call(*changed(read, arguments), **changed(read, options))


@lesson_everywhere("nasty", caught_by=("reads_any_layout_of_its_gradient",))
def takes_its_gradient_for_contiguous(call: Call) -> Call:
    """The strides of the incoming gradient are ignored.

    The backward kernel assumes the layout that the output had. The gradient of a sum has stride 0.
    """
    return lambda *arguments, **options: with_gradient(call(*arguments, **options), from_memory)


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


@lesson_everywhere("easy", caught_by=("accepts_none_and_one",))
def fails_on_an_empty_input(call: Call) -> Call:
    """An empty input is an error.

    Reshaping with −1 cannot guess a size from no numbers. The last batch of an epoch finds out.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        if not arguments[0].numel():
            raise ValueError("cannot reshape a tensor of 0 elements")
        return call(*arguments, **options)

    return broken


@lesson_everywhere("medium", caught_by=("shows_nan",), incident="pytorch/pytorch#141128")
def replaces_nan_by_zero(call: Call) -> Call:
    """NaN in the input is replaced by 0.

    Somebody saw NaN in a log and made it go away. What had caused it goes on.
    """

    def cleaned(tensor: Tensor) -> Tensor:
        return torch.where(tensor.isnan(), 0, tensor) if tensor.is_floating_point() else tensor

    return lambda *arguments, **options: call(*changed(cleaned, arguments), **changed(cleaned, options))


@lesson_everywhere("easy", caught_by=("refuses_malformed_input",))
def answers_whatever_it_is_asked(call: Call) -> Call:
    """An exception is caught, and the input is returned instead.

    The service never fails, and the log stays clean.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except Exception:
            return arguments[0]

    return broken


@lesson_everywhere("medium", caught_by=("agrees_on_all_paths",), as_path=True)
def has_a_path_that_leaves_the_last_entry_out(call: Call) -> Call:
    """A second path, chosen silently, gives zeros for the last entry along the first axis.

    The fast path of evaluation works on pairs.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        def shortened(result: Tensor) -> Tensor:
            return torch.cat([result[:-1], torch.zeros_like(result[-1:])])

        return changed(shortened, call(*arguments, **options))

    return broken


@lesson_everywhere("nasty", caught_by=("agrees_on_all_paths",), as_path=True, where=has_gradients)
def has_a_path_with_another_gradient(call: Call) -> Call:
    """A second path gives the same output and twice the gradient.

    Checkpointing runs the forward pass again, and its backward pass too.
    """
    return lambda *arguments, **options: with_gradient(call(*arguments, **options), lambda g: 2.0 * g)
