"""Recall: found by contents, never for other contents, and only as much as there is room for."""

from __future__ import annotations

import numpy as np
import pytest

from seqlaws.catalogue import load_subject
from seqlaws.formats import FORMATS, Array
from seqlaws.inputs import Inputs
from seqlaws.recall import Recall, key_of
from seqlaws.run import Run
from seqlaws.targets import resolve


def inputs(dtype: str = "float32") -> Inputs:
    subject = load_subject("attention")
    return next(
        iter(subject.cases.always(resolve("torch.nn.functional.scaled_dot_product_attention")[0].claims))
    ).inputs(FORMATS[dtype])


def ones(calls: list[int], count: int = 4) -> Array:
    calls.append(count)
    return np.ones(count)


def test_what_was_computed_is_not_computed_again() -> None:
    calls: list[int] = []
    recall = Recall(1000)
    assert recall(b"a", lambda: ones(calls)) is recall(b"a", lambda: ones(calls))
    assert calls == [4]


def test_what_was_asked_for_least_lately_makes_room() -> None:
    calls: list[int] = []
    recall = Recall(100)  # three of 32 bytes each
    for key in (b"a", b"b", b"c", b"a", b"d", b"a", b"b"):
        recall(key, lambda: {"q": (ones(calls, 2), np.ones(2))})
    assert len(calls) == 5
    assert recall.held == 96


def test_nobody_can_change_what_is_kept() -> None:
    kept = Recall(1000)(b"a", lambda: np.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 2.0


def test_equal_contents_have_one_key_and_others_another() -> None:
    x = inputs()
    key = key_of("values", x, {})
    assert key_of("values", x.but(q=x.q.copy()), {}) == key
    nudged = x.q.copy()
    nudged.flat[-1] += 1.0
    others = [
        key_of("gradients", x, {}),
        key_of("values", x, {"empty_row": "zero"}),
        key_of("values", x, {}, x.q),
        key_of("values", x.but(q=nudged), {}),
        key_of("values", x.but(q=x.q.swapaxes(-1, -2)), {}),
        key_of("values", x.but(scale=0.3), {}),
        key_of("values", x.in_format(FORMATS["float16"]), {}),
    ]
    assert len({key, *others}) == len(others) + 1


def test_two_implementations_share_the_reference() -> None:
    first, second = (resolve(name)[0] for name in ("lesson:attention.loops", "lesson:attention.einsum"))
    x = inputs()
    x = x.but(q=np.asarray(x.q) * 0.75)  # asked for by no other test
    for implementation, computed in ((first, True), (second, False)):
        run = Run(implementation, "cpu", "float32")
        assert run(x).bound.shape == run(x).value.shape
        assert (run.clock.reference > 0) is computed
