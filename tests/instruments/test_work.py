"""Work: exact polynomials, and what is not counted."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqlaws.instruments import Polynomial, work
from seqlaws.instruments.polynomial import in_t, in_t_and_d

from .models import Attention, D, DoublingScan, LinearAttention


@pytest.mark.parametrize(
    ("make", "terms", "order"),
    [
        (lambda D: nn.RNN(D, D), {(1, 2): 4}, "O(T)"),
        (lambda D: nn.LSTM(D, D, batch_first=True), {(1, 2): 16}, "O(T)"),
        (lambda D: nn.GRU(D, D), {(1, 2): 12}, "O(T)"),
        (lambda D: nn.MultiheadAttention(D, 2), {(1, 2): 8, (2, 1): 4}, "O(T²)"),
        (lambda D: nn.TransformerEncoderLayer(D, 2, D), {(1, 2): 12, (2, 1): 4}, "O(T²)"),
        (lambda D: nn.Conv1d(D, D, 3, padding=1), {(1, 2): 6}, "O(T)"),
    ],
    ids=["RNN", "LSTM", "GRU", "MultiheadAttention", "TransformerEncoderLayer", "Conv1d"],
)
def test_closed_forms(make: Callable[[int], nn.Module], terms: dict[tuple[int, int], int], order: str) -> None:
    result = work(make)
    assert result.contractions is not None and dict(result.contractions.coefficients) == terms
    assert (result.order, str(result.exactness)) == (order, "exact")


def test_one_width_gives_a_polynomial_in_t() -> None:
    result = work(nn.MultiheadAttention(16, 2))
    assert str(result.contractions) == "64·T² + 2048·T"
    assert result.values[16] == 64 * 256 + 2048 * 16


def test_a_mask_saves_no_work() -> None:
    assert work(Attention("causal")).contractions == work(Attention("full")).contractions


def test_a_linear_attention_that_only_says_that_it_is_linear() -> None:
    honest, quadratic = work(LinearAttention()), work(LinearAttention(materialises=True))
    assert (honest.order, quadratic.order) == ("O(T)", "O(T²)")
    x = torch.randn(2, 9, D)
    torch.testing.assert_close(LinearAttention()(x), LinearAttention(materialises=True)(x), rtol=1e-4, atol=1e-5)


def test_vectors_count_too() -> None:
    weights = torch.randn(D)
    assert str(work(lambda x: (x @ weights).unsqueeze(-1), width=D).contractions) == f"{2 * D}·T"


def test_what_is_no_polynomial_says_so() -> None:
    result = work(DoublingScan(), width=D)
    assert result.elements is None and str(result.exactness).startswith("unknown: the counts are exact")


@pytest.mark.parametrize(
    ("call", "name"), [(lambda x: torch.fft.fft(x, dim=1).real, "_fft_r2c"), (lambda x: x.sort(1)[0], "sort")]
)
def test_what_is_not_counted_is_named(call: Callable[[Tensor], Tensor], name: str) -> None:
    assert str(work(call, width=D).exactness) == f"unknown: what {name} does inside is not counted"


def test_a_branch_is_noticed() -> None:
    found = work(lambda x: x * 2 if bool(x.sum() > 1e9) else x, width=D).exactness
    assert str(found).startswith("unknown: data leave the tensors by _local_scalar_dense")


def test_fused_attention_is_counted() -> None:
    result = work(lambda x: F.scaled_dot_product_attention(x, x, x), width=D)
    assert str(result.contractions) == f"{4 * D}·T²"


def test_polynomials() -> None:
    assert in_t({t: 3 * t * t - t + 7 for t in (4, 5, 6, 7, 8, 9)}) == Polynomial({(2, 0): 3, (1, 0): -1, (0, 0): 7})
    assert in_t({t: 2**t for t in (4, 5, 6, 7, 8, 9)}) is None
    table = {d: {t: d * d * t + 5 * d for t in (4, 5, 6, 7, 8)} for d in (2, 4, 6, 8)}
    found = in_t_and_d(table)
    assert found is not None and str(found) == "D²·T + 5·D" and found(10, 3) == 105
    table[8][8] += 1
    assert in_t_and_d(table) is None
    assert str(Polynomial({(1, 0): Fraction(-1, 2), (2, 0): Fraction(1)})) == "T² − 1/2·T"
    assert str(Polynomial({})) == "0" and Polynomial({}).order == "O(1)"
