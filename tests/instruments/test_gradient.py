"""Gradient profile: rates that are known, and the bounds that hold."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor, nn

from seqlaws.errors import Misunderstood
from seqlaws.instruments import gradient_profile

from .models import Attention, CausalConvolution, D, Orthogonal, PowerLaw, Slope, remembering


def test_it_is_the_jacobian() -> None:
    torch.manual_seed(0)
    model = nn.GRU(3, 5, batch_first=True).double()
    result = gradient_profile(model, 9, at=6)
    x = gradient_inputs(model)
    (jacobian,) = (torch.func.jacrev(lambda x: model(x)[0][0, 6])(x)[:, 0],)
    for lag, norm in enumerate(result.norms):
        assert norm == pytest.approx(torch.linalg.matrix_norm(jacobian[:, 6 - lag], 2).item(), rel=1e-12)
    assert len(result.norms) == 7 and str(result.exactness) == "exact"


def gradient_inputs(model: nn.Module) -> Tensor:
    from seqlaws.instruments import Model

    return Model.of(model).inputs(1, 9)


@pytest.mark.parametrize("scale", [0.95, 1.0, 1.05])
def test_a_linear_orthogonal_recurrence_has_the_rate_ln_s(scale: float) -> None:
    result = gradient_profile(Orthogonal(scale), width=D)
    assert result.rate == pytest.approx(math.log(scale), abs=1e-12)
    assert result.law == {0.95: "exponential", 1.0: "no decay", 1.05: "exponential growth"}[scale]


@pytest.mark.parametrize("slope", [0.1, 0.5])
def test_alibi_has_the_rate_of_its_slope(slope: float) -> None:
    result = gradient_profile(Slope(slope), width=D)
    assert result.rate == pytest.approx(-slope, abs=1e-9) and result.law == "exponential"


def test_a_power_law_is_told_from_an_exponential() -> None:
    result = gradient_profile(PowerLaw(), width=D)
    assert result.law == "power law" and result.exponent == pytest.approx(-1.5, abs=1e-9)


def test_attention_at_initialisation_does_not_decay() -> None:
    torch.manual_seed(0)
    assert gradient_profile(nn.MultiheadAttention(16, 2)).law == "no decay"


def test_an_lstm_that_only_says_that_it_remembers() -> None:
    forgetful, lasting = (gradient_profile(remembering(bias)) for bias in (0.0, 5.0))
    assert forgetful.half_life < 2 and forgetful.norms[50] < 1e-6 * forgetful.norms[0]
    assert lasting.norms[50] > 1e-2 * lasting.norms[0]


def test_a_window_has_no_gradient_beyond_it() -> None:
    result = gradient_profile(CausalConvolution(), 20, at=10, width=D)
    assert result.reach == 1 and result.law == "unclassified"
    assert "no gradient at all beyond lag 1" in str(result)


def test_the_gradient_keeps_below_the_product_of_the_norms() -> None:
    torch.manual_seed(0)
    for model in (nn.RNN(D, D), nn.GRU(D, D, batch_first=True)):
        result = gradient_profile(model, 60, spectrum=True)
        found = result.lyapunov
        assert found is not None and found.spectrum[0] <= found.bound
        for lag, norm in enumerate(result.norms):
            assert math.log(norm) <= found.ceiling(lag) + 1e-9
        assert result.rate == pytest.approx(found.spectrum[0], abs=0.03)


def test_the_spectrum_of_a_linear_recurrence_is_known() -> None:
    model = nn.RNN(D, D, nonlinearity="relu")
    with torch.no_grad():  # positive states: relu passes them all
        model.weight_hh_l0.copy_(torch.diag(torch.linspace(0.2, 0.9, D)))
        model.weight_ih_l0.zero_()
        model.bias_ih_l0.fill_(1.0)
        model.bias_hh_l0.zero_()
    found = gradient_profile(model, 20, spectrum=True).lyapunov
    assert found is not None
    assert found.spectrum == pytest.approx([math.log(each) for each in torch.linspace(0.9, 0.2, D).tolist()], abs=1e-6)
    assert found.bound == pytest.approx(math.log(0.9), abs=1e-6)


def test_a_lyapunov_spectrum_needs_a_recurrence() -> None:
    assert gradient_profile(Attention(), 10, spectrum=True).lyapunov is None


def test_it_takes_little_more_than_one_backward() -> None:
    model = nn.LSTM(16, 16, batch_first=True).double()

    def seconds(work: object) -> float:
        started = time.perf_counter()
        work()  # type: ignore[operator]
        return time.perf_counter() - started

    def once() -> None:
        x = torch.randn(1, 100, 16, dtype=torch.float64, requires_grad=True)
        model(x)[0].sum().backward()

    once()
    plain = min(seconds(once) for _ in range(5))
    profile = min(seconds(lambda: gradient_profile(model)) for _ in range(5))
    assert profile < 5 * plain  # 2 on an idle core; this one is shared


def test_a_long_sequence_needs_memory_in_proportion() -> None:
    result = gradient_profile(remembering(5.0), 10_000)
    assert len(result.norms) == 10_000 and result.reach > 500


def test_what_has_no_gradient_says_so() -> None:
    assert str(gradient_profile(lambda x: x.detach() * 2, 6, width=D).exactness).startswith("unknown: no gradient")
    assert str(gradient_profile(lambda x: x.round(), 6, width=D).exactness) == "exact"
    with pytest.raises(Misunderstood, match=r"there is no output 6 among 0 … 5"):
        gradient_profile(nn.RNN(D, D), 6, at=6)
