"""The contract: where its laws are stated, what they let pass, and the layouts that they use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from seqlaws.catalogue import load_laws, load_subject, subject_names
from seqlaws.formats import DTYPES, FORMATS, Array
from seqlaws.frames import Frame, NumpyFrame
from seqlaws.implementation import Implementation
from seqlaws.judge import judge_laws
from seqlaws.layouts import LAYOUTS, SHARED, in_one_memory
from seqlaws.result import Result
from seqlaws.subject import nothing
from seqlaws.torch_frame import TorchFrame

GATES = ["answers_in_kind", "leaves_its_inputs_alone", "repeats_itself", "forgets_earlier_calls"]
HOOKS = {"free_axes": "accepts_none_and_one", "with_nan": "shows_nan", "malformed": "refuses_malformed_input"}


def judged(law: str, call: Callable[..., Any] = torch.softmax, **declared: Any) -> Result:
    mine = Implementation(name="mine", subject="softmax", call=call, **declared)
    laws = [each for each in load_laws("softmax") if each.short == law]
    (result,) = judge_laws(mine, "cpu", "float32", laws, profile="quick", seed=0)
    return result


@pytest.mark.parametrize("subject", subject_names())
def test_every_subject_of_tensors_is_gated_by_the_same_laws(subject: str) -> None:
    definition = load_subject(subject)
    due = [law for law in GATES if definition.takes != "sizes" or law != "leaves_its_inputs_alone"]
    found = [law.short for law in load_laws(subject) if law.short in GATES]
    assert found == (due if definition.tensors else [])


@pytest.mark.parametrize("subject", subject_names())
def test_a_law_that_needs_a_hook_is_stated_where_the_hook_is_given(subject: str) -> None:
    stated = {law.short for law in load_laws(subject)}
    for hook, law in HOOKS.items():
        assert (law in stated) == (getattr(load_subject(subject), hook) is not nothing)


def test_paths_are_not_claimed_where_there_are_none() -> None:
    result = judged("agrees_on_all_paths")
    assert (result.status, result.reason) == ("not_claimed", "lists no paths")


def test_a_path_may_do_without_gradients() -> None:
    without = torch.inference_mode()(torch.softmax)
    assert judged("agrees_on_all_paths", paths={"without gradients": without}).status == "holds"


def test_a_path_must_refuse_what_the_function_refuses() -> None:
    lenient = {"lenient": lambda x, dim: torch.softmax(x, dim if -x.ndim <= dim < x.ndim else 0)}
    result = judged("agrees_on_all_paths", paths=lenient)
    assert result.status == "broken"
    assert "lenient" in result.message


def test_a_path_must_accept_what_the_function_accepts() -> None:
    def last_axis_only(x: torch.Tensor, dim: int) -> torch.Tensor:
        if dim % x.ndim != x.ndim - 1:
            raise NotImplementedError("the last axis only")
        return torch.softmax(x, dim)

    result = judged("agrees_on_all_paths", paths={"fast": last_axis_only})
    assert (result.status, "the last axis only" in result.message) == ("broken", True)


def frames(dtype: str) -> list[Frame]:
    return [TorchFrame(FORMATS[dtype], "cpu"), *([] if dtype == "bfloat16" else [NumpyFrame(FORMATS[dtype])])]


def strides(tensor: Any) -> tuple[int, ...]:
    return (
        tuple(tensor.stride())
        if isinstance(tensor, torch.Tensor)
        else tuple(s // tensor.itemsize for s in tensor.strides)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_holds_the_same_numbers_elsewhere(dtype: str, layout: str) -> None:
    numbers: Array = np.arange(24.0).reshape(2, 3, 4)
    for frame in frames(dtype):
        tensor = frame.tensor(numbers, layout)
        np.testing.assert_array_equal(frame.array(tensor, numbers.shape), numbers)
        assert (strides(tensor) == (12, 4, 1)) == (layout == "contiguous")


@pytest.mark.parametrize("how", SHARED)
def test_tensors_in_one_memory_hold_their_numbers_there(how: str) -> None:
    numbers = [np.arange(12.0).reshape(3, 4) + 100 * place for place in range(3)]
    for frame in frames("float32"):
        parts = in_one_memory([frame.tensor(each) for each in numbers], how)
        due = numbers[:1] * 3 if how == "one tensor" else numbers
        np.testing.assert_array_equal([frame.array(part, (3, 4)) for part in parts], due)
    buffers = {part.untyped_storage().data_ptr() for part in in_one_memory([torch.ones(3, 4) for _ in range(3)], how)}
    assert len(buffers) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_expanded_tensor_has_stride_zero(dtype: str) -> None:
    numbers: Array = np.broadcast_to(np.arange(3.0).reshape(1, 3, 1), (2, 3, 4))
    for frame in frames(dtype):
        tensor = frame.expanded(numbers, (0, 2))
        np.testing.assert_array_equal(frame.array(tensor, numbers.shape), numbers)
        assert strides(tensor)[::2] == (0, 0)


@pytest.mark.parametrize("kind", [bool, float])
def test_what_is_passed_is_a_copy_in_memory_order(kind: type) -> None:
    numbers: Array = np.ones((2, 3), dtype=kind).T
    for frame in frames("float32"):
        tensor = frame.tensor(numbers)
        tensor[0, 0] = 0
        assert strides(tensor) == (2, 1)
        assert numbers.all()
