"""Rules of shadow memory, against dependences and lengths that are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from seqlaws.instruments import path_length, sequential_depth
from seqlaws.instruments.fused import gru_cell, lstm_cell

D = 8


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def cached(x: Tensor) -> Tensor:
    steps = [F.scaled_dot_product_attention(x[:, t : t + 1], x[:, : t + 1], x[:, : t + 1]) for t in range(x.shape[1])]
    return torch.cat(steps, 1)


def rotated(x: Tensor) -> Tensor:
    angles = torch.outer(torch.arange(x.shape[1]).float(), torch.tensor([1.0, 0.1, 0.01, 0.001]))
    turns = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    q = torch.view_as_real(pairs * turns).flatten(2).to(x.dtype)
    return F.scaled_dot_product_attention(q, q, x, is_causal=True)


def flexible(x: Tensor) -> Tensor:
    heads = x[:, None]
    hide = lambda score, b, h, i, j: torch.where(i >= j, score, -float("inf"))  # noqa: E731
    return flex_attention(heads, heads, heads, score_mod=hide)[:, 0]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True), 2)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.layers(x, mask=mask, is_causal=True)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("model", "longest", "causal"),
    [
        (Encoder(), 24, True),
        (rotated, 1, True),
        (cached, 1, True),
        (flexible, 1, True),
        (lambda x: Square.apply(x).cumsum(1), 2, True),
        (lambda x: torch.vmap(lambda row: row.cumsum(0))(x), 1, True),
        (lambda x: torch.utils.checkpoint.checkpoint(torch.tanh, x, use_reentrant=False), 1, True),
        (torch.compile(nn.Linear(D, D), backend="eager"), 1, True),
        (nn.utils.parametrizations.weight_norm(nn.Linear(D, D)), 1, True),
        (nn.BatchNorm1d(D), 1, True),
        (nn.RNN(D, D, bidirectional=True), 25, False),
        (nn.LSTM(D, D, 2), 26, True),
        (nn.GRU(D, D).bfloat16(), 26, True),
        (lambda x: F.avg_pool1d(x.mT, 3, 1, 1).mT, 1, False),
        (lambda x: F.max_pool1d(F.pad(x.mT, (2, 0)), 3, 1).mT, 1, True),
        (lambda x: torch.cdist(x, x), 1, False),
        (lambda x: F.pad(x.mT, (1, 1), mode="reflect").mT[:, 1:-1], 0, True),
        (lambda x: torch.add(x, 1, out=torch.empty_like(x)), 1, True),
        (lambda x: torch.add(x, 1, out=x.new_empty(0)), 1, True),
        (lambda x: torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril() @ x, 1, True),
    ],
)  # fmt: skip
def test_known_programs(model: Callable[..., Tensor], longest: int, causal: bool) -> None:
    result = path_length(model, 8, width=D, growth=False)
    assert (str(result.exactness), result.longest, result.causal) == ("exact", longest, causal)


@torch.library.custom_op("seqlaws_tests::shifted_into", mutates_args=("out",))
def shifted_into(x: Tensor, out: Tensor) -> None:
    out[:, 1:] = x[:, :-1]


def test_what_is_written_without_being_returned_is_seen() -> None:
    def by_operator(x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        shifted_into(x.detach(), out)
        return out

    def by_list(x: Tensor) -> Tensor:
        out = x.roll(1, 1)
        torch._foreach_add_([out], [x])
        return out

    for model in (by_operator, by_list):
        result = path_length(model, 5, width=D, growth=False)
        assert str(result.exactness).startswith("unknown: no rule for ")
        assert result.depends(3, 2)


def test_a_residual_gate_of_zero_hides_nothing() -> None:
    """A learned zero may become anything; only constants hide."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.gate * x.cumsum(1)

    result = path_length(Gated(), 6, width=D, growth=False)
    assert result.depends(5, 0) and str(result.exactness).startswith("upper bound: 15 pairs are connected")


@pytest.mark.parametrize(
    "undo",
    [
        lambda s: (s + 2e4) @ torch.eye(s.shape[1], dtype=s.dtype),
        lambda s: (s + 2e4).softmax(-1),
        lambda s: (2e4 + s).exp(),
        lambda s: (-2e4 - s).exp(),
        lambda s: (s * 1e-4).exp(),
    ],
)
def test_a_mask_that_is_taken_off_again_hides_nothing(undo: Callable[[Tensor], Tensor]) -> None:
    def model(x: Tensor) -> Tensor:
        mask = torch.full((x.shape[1], x.shape[1]), -2e4, dtype=x.dtype).triu(1)
        return undo(torch.tanh(x @ x.mT) + mask)

    result = path_length(model, 5, width=D, growth=False)
    assert result.exactness.kind != "unknown" and not result.causal


@pytest.mark.parametrize("hide", [lambda s, later: s + later * -1e9, lambda s, later: s - later * 1e9])
def test_a_large_constant_hides_scores(hide: Callable[[Tensor, Tensor], Tensor]) -> None:
    def model(x: Tensor) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).triu(1)
        return hide(x @ x.mT, later).softmax(-1) @ x

    result = path_length(model, 5, width=D, growth=False)
    assert str(result.exactness) == "exact" and result.causal


def test_a_constant_that_takes_up_data_in_place_hides_nothing() -> None:
    def model(x: Tensor) -> Tensor:
        weights = torch.ones_like(x).mul_(torch.relu(x.roll(1, 1)))  # zero at half of the places, for this input
        return weights * torch.ones_like(x).cumsum(1)

    result = path_length(model, 16, width=1, growth=False, certify=False)
    assert all(result.depends(t, (t - 1) % 16) for t in range(16))


def test_writing_over_masked_scores_ends_their_mask() -> None:
    def model(x: Tensor) -> Tensor:
        scores = torch.tanh(x @ x.mT)
        scores.add_(torch.full_like(scores, -1e9).triu(1))
        scores.copy_(torch.tanh(x @ x.mT))
        return scores.softmax(-1) @ x

    assert not path_length(model, 5, width=D, growth=False).causal


@pytest.mark.parametrize(
    ("cell", "written_out", "gates"), [(nn.LSTMCell(5, D), lstm_cell, 4), (nn.GRUCell(5, D), gru_cell, 3)]
)
def test_what_cuda_keeps_fused_is_written_out(
    cell: nn.RNNCellBase, written_out: Callable[..., tuple[Tensor, ...]], gates: int
) -> None:
    x, h, c = torch.randn(3, 5), torch.randn(3, D), torch.randn(3, D)
    given, hidden = x @ cell.weight_ih.T, h @ cell.weight_hh.T
    if gates == 4:
        expected = cell(x, (h, c))
        found = written_out(given, hidden, c, cell.bias_ih, cell.bias_hh)
        torch.testing.assert_close(found[1], expected[1])
        torch.testing.assert_close(found[0], expected[0])
    else:
        found = written_out(given, hidden, h, cell.bias_ih, cell.bias_hh)
        torch.testing.assert_close(found[0], cell(x, h))


def test_depth_counts_a_fan_in() -> None:
    linear = nn.Linear(D, D, bias=False)
    assert sequential_depth(linear, 4).fan_in_2 == 1 + 3  # a product, then a sum over eight
    assert sequential_depth(lambda x: x.cumsum(1), 16, width=D).fan_in_2 == 4
