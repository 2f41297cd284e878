"""Embedding: facts that are known otherwise, and gradients of honest programs within their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from seqlaws.catalogue import load_lessons
from seqlaws.formats import DTYPES, FORMATS
from seqlaws.reference.embedding import embed, table_gradient
from seqlaws.run import Run
from seqlaws.spec.embedding import PATTERNS, EmbeddingCase, embedding

HONEST = [each.implementation for each in load_lessons("embedding") if each.honest]


def test_a_place_gets_the_row_that_its_id_names() -> None:
    table = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert embed(np.array([[1, 0, 1]]), table).tolist() == [[[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]]


def test_gradients_of_repeated_ids_add_up() -> None:
    ids, g = np.array([2, 0, 2]), np.array([[1.0], [10.0], [100.0]])
    assert table_gradient(ids, np.zeros((4, 1)), g).tolist() == [[10.0], [0.0], [101.0], [0.0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_gradients_stay_within_their_bounds(dtype: str) -> None:
    worst, places = 0.0, 0
    for seed in range(60):
        case = EmbeddingCase((1 + seed % 3, 2 + seed * 7 % 131), 1 + seed * 5 % 67, 3, PATTERNS[seed % 4], seed)
        x = case.inputs(FORMATS[dtype])
        cotangent = x.noise("cotangent", (*x.ids.shape, 3))
        for each in HONEST:
            run = Run(each, "cpu", dtype)
            value, bound = embedding.exact_gradient(x, cotangent, run.dialect)["table"]
            error = np.abs(run.gradient(x, cotangent, ("table",))["table"].value - value)
            worst, places = max(worst, float((error[error > 0] / bound[error > 0]).max(initial=0.0))), places + x.rows
    print(f"{dtype}: {places} places, largest error as a fraction of its bound {worst:.3f}")
    assert places >= 2000
    assert worst <= 1.0
