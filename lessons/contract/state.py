"""What a call keeps, draws or switches, so that other calls are not what they were."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.contract import takes_arrays
from seqlaws.lessons.tensors import changed, tensors


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


@lesson_everywhere("nasty", caught_by=("forgets_calls_in_other_dtypes",), dtypes=("float32", "float64"))
def keeps_the_dtype_of_its_first_call(call: Call) -> Call:
    """A table is made for each size at the first call, in the dtype of that call, and used for all dtypes.

    A model that was tried in half precision goes on in float32 with a table of half the digits.
    """
    tables: dict[torch.Size, torch.dtype] = {}

    def broken(*arguments: Any, **options: Any) -> Any:
        def read(result: Tensor) -> Tensor:
            coarse = tables.setdefault(result.shape, result.dtype)
            return result if torch.finfo(coarse).eps <= torch.finfo(result.dtype).eps else result.to(coarse).to(result)

        return changed(read, call(*arguments, **options))

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


@lesson_everywhere("nasty", caught_by=("forgets_earlier_calls",), where=lambda subject: subject.takes != "sizes")
def returns_two_buffers_in_turn(call: Call) -> Call:
    """Results of one shape go in turn into one of two buffers.

    The next call leaves a result alone, and so a test with two calls passes; the call after that overwrites it.
    """
    buffers: dict[tuple[Any, ...], Tensor] = {}
    turn = count()

    def broken(*arguments: Any, **options: Any) -> Any:
        place, side = count(), next(turn) % 2

        def written(result: Tensor) -> Tensor:
            if result.requires_grad:
                return result
            key = (side, next(place), result.shape, result.dtype, result.device)
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


@lesson_everywhere("nasty", caught_by=("reads_its_inputs_anew",), where=takes_arrays)
def packs_once_for_inference(call: Call) -> Call:
    """Where gradients are switched off, every tensor is packed once, and its copy used as long as the tensor lives.

    Nothing is learned then, so nothing changes: but between two evaluations an optimiser has made its steps.
    """

    def packed(tensor: Tensor) -> Tensor:
        copy: Tensor = vars(tensor).setdefault("packed", tensor.clone())
        return copy

    def broken(*arguments: Any, **options: Any) -> Any:
        if torch.is_grad_enabled():
            return call(*arguments, **options)
        return call(*changed(packed, arguments), **changed(packed, options))

    return broken


@lesson_everywhere("nasty", caught_by=("reads_its_inputs_anew",), where=lambda subject: len(subject.differentiable) > 1)
def packs_anew_when_the_first_tensor_changes(call: Call) -> Call:
    """All tensors are packed once, and packed again when the first one has changed.

    One tensor stands for all of them in the key. With some of the weights frozen, the others learn unseen.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        first = next(tensor for tensor in tensors(arguments) if tensor.is_floating_point())
        version, packed = vars(first).get("packed", (None, None))
        if version != first._version:
            packed = changed(Tensor.clone, arguments)
            vars(first)["packed"] = first._version, packed
        return call(*packed, **options)

    return broken


@lesson_everywhere("medium", caught_by=("leaves_random_generators_alone",))
def draws_a_number_that_it_does_not_use(call: Call) -> Call:
    """A dropout mask is drawn although the rate is 0.

    The result is right, and every number drawn after it is another than without this layer.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        torch.rand(())
        return call(*arguments, **options)

    return broken


@lesson_everywhere("medium", caught_by=("leaves_random_generators_alone",))
def sets_a_seed(call: Call) -> Call:
    """Every call sets the global generator to seed 0.

    Meant to make a dropout mask repeat itself. From the second call on, the generator stands where the
    first one has left it, so that it seems not to have moved; whoever draws between two calls repeats himself.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        torch.manual_seed(0)
        return call(*arguments, **options)

    return broken


@lesson_everywhere("medium", caught_by=("leaves_global_settings_alone",))
def switches_gradients_on_when_it_is_done(call: Call) -> Call:
    """At the end of a call the recording of gradients is switched on, although it was off before.

    It was switched off for a part that needs none, by hand. Evaluation under no_grad goes on with gradients
    from there, and fills the memory.
    """

    def broken(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        torch.set_grad_enabled(True)
        return result

    return broken
