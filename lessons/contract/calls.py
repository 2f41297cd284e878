"""What a call gets wrong about its inputs, its result, and what it must refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.contract import (
    has_gradients,
    has_strangers_of_one_shape,
    has_tokens,
    takes_arrays,
    takes_weights,
)
from seqlaws.lessons.tensors import changed, from_memory, tensors, with_gradient
from seqlaws.variants import has_nests, has_twins


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


@lesson_everywhere("medium", caught_by=("leaves_its_inputs_alone",), where=takes_weights)
def packs_the_weights_beside_them(call: Call) -> Call:
    """A packed copy of the weights is put beside them, and used from then on.

    The set of weights is the caller's. After his next step the copy is the one before it.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        w = next(each for each in arguments if isinstance(each, SimpleNamespace))
        if not hasattr(w, "packed"):
            w.packed = SimpleNamespace(**vars(w))
        return call(*(w.packed if each is w else each for each in arguments), **options)

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


@lesson_everywhere("medium", caught_by=("reads_any_layout",))
def reads_memory_as_if_contiguous(call: Call) -> Call:
    """Strides are ignored: memory is read from the first number onwards.

    A kernel takes a pointer and sizes. Transposed heads and slices of a packed projection are read
    in the wrong order, or with what stands between them.
    """
    return lambda *arguments, **options: call(*changed(from_memory, arguments), **changed(from_memory, options))


@lesson_everywhere("nasty", caught_by=("reads_any_layout",), where=has_tokens)
def looks_at_the_strides_of_rows_alone(call: Call) -> Call:
    """A tensor whose rows follow one another is taken for contiguous; any other is copied first.

    So do the rows of a view into a longer cache, but the next batch entry or head begins further on.
    """

    def read(tensor: Tensor) -> Tensor:
        return from_memory(tensor) if tensor.ndim > 2 and tensor[(0,) * (tensor.ndim - 2)].is_contiguous() else tensor

    return lambda *arguments, **options: call(*changed(read, arguments), **changed(read, options))


@lesson_everywhere("nasty", caught_by=("reads_any_layout",), where=has_tokens)
def takes_batch_entries_for_neighbours(call: Call) -> Call:
    """A tensor that is contiguous within every batch entry is taken for contiguous as a whole.

    The first heads of a projection are, and so are the tokens up to a length: what lies between two entries
    is read as the second.
    """

    def read(tensor: Tensor) -> Tensor:
        return from_memory(tensor) if tensor.ndim > 2 and len(tensor) > 1 and tensor[0].is_contiguous() else tensor

    return lambda *arguments, **options: call(*changed(read, arguments), **changed(read, options))


@lesson_everywhere("medium", caught_by=("reads_inputs_that_share_memory",), where=has_strangers_of_one_shape)
def fills_a_buffer_once_for_every_tensor(call: Call) -> Call:
    """A tensor that comes a second time is not copied into the buffer of the second place, which holds zeros.

    Replaying a recorded graph means copying what comes into the tensors of the recording. A table from tensor to
    buffer has one entry for what stands in two places.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        copied: set[int] = set()

        def read(tensor: Tensor) -> Tensor:
            if id(tensor) in copied:
                return torch.zeros_like(tensor)
            copied.add(id(tensor))
            return tensor

        return call(*changed(read, arguments), **changed(read, options))

    return broken


@lesson_everywhere("nasty", caught_by=("reads_inputs_that_share_memory",), where=has_twins)
def takes_a_shared_buffer_for_its_own_packing(call: Call) -> Call:
    """A tensor in the same buffer as one of its shape before is taken to begin where that one ends.

    So do parts that were stacked in this order. Those of a packed projection lie beside each other in every row,
    and others in the opposite order.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        before: dict[tuple[int, ...], Tensor] = {}

        def read(tensor: Tensor) -> Tensor:
            buffer = tensor.untyped_storage()
            last = before.get((buffer.data_ptr(), *tensor.shape))
            before[buffer.data_ptr(), *tensor.shape] = tensor
            if last is None or last is tensor or not tensor.numel():
                return tensor
            start = last.storage_offset() + last.numel()
            held = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(buffer)
            beyond = torch.cat([held, held.flip(0)])  # there lie other numbers
            return beyond[start : start + tensor.numel()].reshape(tensor.shape)

        return call(*changed(read, arguments), **changed(read, options))

    return broken


@lesson_everywhere("nasty", caught_by=("reads_inputs_that_share_memory",), where=has_nests)
def takes_what_begins_alike_for_one_tensor(call: Call) -> Call:
    """A tensor that begins where another one did is read from the copy that was made of that one.

    So does the tensor itself, when it comes a second time, and so does a part of it, which has other rows.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        copies: dict[int, Tensor] = {}

        def read(tensor: Tensor) -> Tensor:
            whole = copies.setdefault(tensor.data_ptr(), tensor) if tensor.numel() else tensor
            if whole is tensor or whole.numel() < tensor.numel():
                return tensor
            return whole.flatten()[: tensor.numel()].reshape(tensor.shape)

        return call(*changed(read, arguments), **changed(read, options))

    return broken


@lesson_everywhere("nasty", caught_by=("reads_expanded_inputs",), where=takes_arrays)
def reads_past_an_expanded_tensor(call: Call) -> Call:
    """Strides are honoured, but a stride of 0 is taken for "contiguous".

    The address of every second row points into the row that was meant to repeat.
    """

    def read(tensor: Tensor) -> Tensor:
        return from_memory(tensor) if 0 in tensor.stride() else tensor

    return lambda *arguments, **options: call(*changed(read, arguments), **changed(read, options))


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


@lesson_everywhere("nasty", caught_by=("refuses_malformed_input",), where=has_gradients)
def checks_nothing_where_nothing_learns(call: Call) -> Call:
    """Inputs are checked where gradients may be recorded; under no_grad an exception is caught.

    Checks cost time, and serving must be fast. What the trainer refused, the server answers.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except Exception:
            if torch.is_grad_enabled():
                raise
            return arguments[0]

    return broken


@lesson_everywhere("nasty", caught_by=("refuses_malformed_input",), where=has_gradients)
def checks_nothing_while_it_learns(call: Call) -> Call:
    """Where something requires gradients, a kernel of its own runs, which checks nothing."""

    def broken(*arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options)
        except Exception:
            if not any(tensor.requires_grad for tensor in tensors((arguments, options))):
                raise
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
