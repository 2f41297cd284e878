"""Global switches are put back, whatever happens."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqlaws.instruments import transparent
from seqlaws.instruments.transparent import SWITCHES


def state() -> list[bool]:
    sdp = torch.backends.cuda
    kernels = sdp.flash_sdp_enabled(), sdp.mem_efficient_sdp_enabled(), sdp.math_sdp_enabled()
    return [*(get() for get, _ in SWITCHES), *kernels]


def test_the_switches_are_restored_after_an_error() -> None:
    before = state()
    with pytest.raises(ZeroDivisionError), transparent():
        assert state() != before
        raise ZeroDivisionError
    assert state() == before


def test_a_causal_convolution_stays_causal_in_large_batches() -> None:
    """With oneDNN off and NNPACK on, torch 2.13.0 changes outputs 36 … 47 with input 40."""
    layer = nn.Conv1d(8, 8, 3)
    x = torch.randn(16, 8, 64)
    changed = x.clone()
    changed[..., 40] += 1
    with torch.no_grad(), transparent():
        before, after = (layer(nn.functional.pad(each, (2, 0))) for each in (x, changed))
    assert (before != after).any(1)[0].nonzero().flatten().tolist() == [40, 41, 42]


def test_it_nests() -> None:
    before = state()
    with transparent():
        inside = state()
        with transparent():
            pass
        assert state() == inside
    assert state() == before


@pytest.mark.parametrize(
    "layer",
    [nn.LSTM(8, 8), nn.MultiheadAttention(8, 2), nn.TransformerEncoderLayer(8, 2, 16)],
    ids=lambda each: type(each).__name__,
)
def test_results_agree(layer: nn.Module) -> None:
    layer.eval()
    x = torch.randn(5, 3, 8)
    given = (x, x, x) if isinstance(layer, nn.MultiheadAttention) else (x,)
    with torch.no_grad():
        fused = layer(*given)
        with transparent():
            plain = layer(*given)
    first = lambda result: result[0] if isinstance(result, tuple) else result  # noqa: E731
    torch.testing.assert_close(first(fused), first(plain), rtol=1e-5, atol=1e-5)
