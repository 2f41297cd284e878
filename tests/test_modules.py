"""A user's own module is judged by one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seqlaws

NAMES = {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent", "bias_ih_l0": "bias"}


class Own(nn.Module):
    """A long short-term memory with names of its own and one offset."""

    order = (0, 1, 2, 3)

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.recurrent = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Any:
        zeros = x.new_zeros(x.shape[0], self.recurrent.shape[1])
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        outputs = [x.new_zeros(x.shape[0], 0, h.shape[1])]
        for t in range(x.shape[1]):
            gates = (x[:, t] @ self.kernel.T + h @ self.recurrent.T + self.bias).chunk(4, dim=1)
            i, f, g, o = (gates[place] for place in self.order)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h[:, None])
        return torch.cat(outputs, dim=1), (h[None], c[None])


class Swapped(Own):
    """The same with the order of another library."""

    order = (0, 3, 1, 2)


@pytest.mark.parametrize(
    ("build", "like"),
    [
        (nn.RNN, "torch.nn.RNN"),
        (nn.LSTM, "torch.nn.LSTM"),
        (nn.GRU, "torch.nn.GRU"),
        (nn.MultiheadAttention, "torch.nn.MultiheadAttention"),
        (nn.TransformerEncoderLayer, "torch.nn.TransformerEncoderLayer"),
    ],
)
def test_a_class_with_the_interface_of_torch(build: Any, like: str) -> None:
    mine = seqlaws.module(build, like=like)
    for law in ("*definition", "*.leaves_random_generators_alone", "*.refuses_malformed_input"):
        report = seqlaws.check(mine, dtype="float32", profile="quick", law=law)
        assert [result.status for result in report] == ["holds"] * len(report.results)


def test_naming_a_class_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    seqlaws.module(nn.GRU, like="torch.nn.GRU")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_with_names_of_its_own() -> None:
    mine = seqlaws.module(Own, like="torch.nn.LSTM", names=NAMES)
    assert mine.name.endswith(".Own")
    report = seqlaws.check(mine, dtype="float32", profile="quick")
    assert report.broken == []
    assert sum(result.status == "holds" for result in report) > 30


def test_a_class_with_another_order_of_gates() -> None:
    report = seqlaws.check(seqlaws.module(Swapped, like="torch.nn.LSTM", names=NAMES), dtype="float32", profile="quick")
    assert report.broken


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"like": "torch.nn.Linear"}, r"unknown interface 'torch.nn.Linear'; there are: torch.nn.RNN, .*"),
        ({"like": "torch.nn.LSTM"}, r".*Own has no parameter 'bias_ih_l0'; names=\{…\} maps .* to a tuple of them"),
        (
            {"like": "torch.nn.LSTM", "names": {"bias": "bias"}},
            r".*: torch.nn.LSTM has no parameter 'bias'; it has: .*",
        ),
        (
            {"like": "torch.nn.LSTM", "names": {**NAMES, "bias_ih_l0": "bias_ih"}},
            r".*Own has no parameter 'bias_ih'; .*",
        ),
    ],
)
def test_what_does_not_match_is_named_in_one_line(how: Any, line: str) -> None:
    with pytest.raises(seqlaws.Misunderstood, match=f"^{line}$"):
        seqlaws.module(Own, **how)


class Plain(nn.Module):
    """A long short-term memory with torch's names, of which others change one thing."""

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size))

    def of_the_state(self) -> Tensor:
        return self.bias_hh_l0

    def start(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[0], self.weight_hh_l0.shape[1])

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Any:
        h, c = (self.start(x), self.start(x)) if state is None else (state[0][0], state[1][0])
        outputs = [x.new_zeros(x.shape[0], 0, self.weight_hh_l0.shape[1])]
        for t in range(x.shape[1]):
            own = h @ self.weight_hh_l0.T + self.of_the_state()
            i, f, g, o = (x[:, t] @ self.weight_ih_l0.T + self.bias_ih_l0 + own).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h[:, None])
        return torch.cat(outputs, dim=1), (h[None], c[None])


class WithoutTheSecondOffset(Plain):
    def of_the_state(self) -> Tensor:
        return torch.zeros_like(self.bias_hh_l0)


class WithTheSecondOffsetInAnotherOrder(Plain):
    def of_the_state(self) -> Tensor:
        i, f, g, o = self.bias_hh_l0.chunk(4)
        return torch.cat([f, i, g, o])


class WithTheFirstOffsetTwice(Plain):
    def of_the_state(self) -> Tensor:
        return self.bias_ih_l0


class StartingFromOnes(Plain):
    def start(self, x: Tensor) -> Tensor:
        return super().start(x) + 1


class OtherInEvaluation(Plain):
    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Any:
        return super().forward(x if self.training else 0.9 * x, state)


@pytest.mark.parametrize(
    ("build", "law", "status"),
    [
        (Plain, "lstm.*definition", "holds"),
        (Plain, "lstm.agrees_on_all_paths", "holds"),
        (Plain, "lstm.a_missing_state_is_zero", "holds"),
        (WithoutTheSecondOffset, "lstm.*definition", "broken"),
        (WithTheSecondOffsetInAnotherOrder, "lstm.*definition", "broken"),
        (WithTheFirstOffsetTwice, "lstm.*definition", "broken"),
        (StartingFromOnes, "lstm.a_missing_state_is_zero", "broken"),
        (OtherInEvaluation, "lstm.agrees_on_all_paths", "broken"),
    ],
)
def test_what_only_a_module_can_get_wrong(build: Any, law: str, status: str) -> None:
    report = seqlaws.check(
        seqlaws.module(build, like="torch.nn.LSTM"), dtype="float32", profile="quick", law=law, seed=0
    )
    assert [result.status for result in report] == [status]


class Apart(nn.Module):
    """Multi-head attention whose three projections are layers of their own."""

    def __init__(self, embed_dim: int, num_heads: int, batch_first: bool = True) -> None:
        super().__init__()
        self.heads = num_heads
        self.q, self.k, self.v, self.out = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(
        self, *tokens: Tensor, key_padding_mask: Any = None, attn_mask: Any = None, need_weights: bool = False,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:  # fmt: skip
        q, k, v = (
            layer(each).unflatten(-1, (self.heads, each.shape[-1] // self.heads)).transpose(1, 2)
            for layer, each in zip((self.q, self.k, self.v), tokens, strict=True)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        for mask in (attn_mask, None if key_padding_mask is None else key_padding_mask[:, None, None]):
            if mask is not None:
                mask = mask.view(len(scores), -1, *mask.shape[-2:]) if mask.dim() == 3 else mask
                scores = scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)), None


APART = {
    "in_proj_weight": ("q.weight", "k.weight", "v.weight"), "in_proj_bias": ("q.bias", "k.bias", "v.bias"),
    "out_proj.weight": "out.weight", "out_proj.bias": "out.bias",
}  # fmt: skip


def test_parameters_that_are_held_in_parts() -> None:
    mine = seqlaws.module(Apart, like="torch.nn.MultiheadAttention", names=APART)
    for law in ("*definition", "*.agrees_on_all_paths", "*.causality_and_a_mask_both_apply"):
        report = seqlaws.check(mine, dtype="float32", profile="quick", law=law)
        assert {result.status for result in report} == {"holds"}


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda width, units: nn.GRU(width, units), r".*\(3, 2, batch_first=True\) cannot be made: TypeError: .*"),
        (lambda *sizes, **options: len, r".* is a builtin_function_or_method; a class of torch.nn.Module was due"),
    ],
)
def test_what_is_no_class_of_modules_is_refused(build: Any, line: str) -> None:
    with pytest.raises(seqlaws.Misunderstood, match=f"^{line}$"):
        seqlaws.module(build, like="torch.nn.GRU")


def test_one_parameter_for_two_is_refused() -> None:
    with pytest.raises(seqlaws.Misunderstood, match="gives one parameter to two of torch's"):
        seqlaws.module(Own, like="torch.nn.LSTM", names={**NAMES, "bias_hh_l0": "bias"})


class ResetFirst(nn.Module):
    """A gated recurrent unit whose reset gate comes before the product, with both offsets."""

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[0], self.weight_hh_l0.shape[1]) if state is None else state[0]
        outputs = [x.new_zeros(x.shape[0], 0, h.shape[1])]
        (U_r, U_z, U_n), offsets = self.weight_hh_l0.chunk(3), self.bias_ih_l0 + self.bias_hh_l0
        for t in range(x.shape[1]):
            r, z, n = (x[:, t] @ self.weight_ih_l0.T + offsets).chunk(3, dim=1)
            r, z = torch.sigmoid(r + h @ U_r.T), torch.sigmoid(z + h @ U_z.T)
            h = (1 - z) * torch.tanh(n + (r * h) @ U_n.T) + z * h
            outputs.append(h[:, None])
        return torch.cat(outputs, dim=1), h[None]


class ResetFirstWithOneOffset(ResetFirst):
    """The same with the one offset that its equations have."""

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, batch_first)
        del self.bias_hh_l0

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.bias_hh_l0 = torch.zeros_like(self.bias_ih_l0)
        return super().forward(x, state)


@pytest.mark.parametrize("build", [ResetFirst, ResetFirstWithOneOffset])
def test_a_unit_that_resets_first_adds_its_two_offsets(build: Any) -> None:
    mine = seqlaws.module(build, like="torch.nn.GRU", dialect={"reset": "before"})
    for law in ("gru.*definition", "gru.a_shut_reset_gate*"):
        report = seqlaws.check(mine, dtype="float32", profile="quick", law=law)
        assert {result.status for result in report} == {"holds"}
