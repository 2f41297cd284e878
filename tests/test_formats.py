"""Rounding in NumPy agrees with rounding in torch, in every format."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqlaws.formats import DTYPES, FORMATS

RNG = np.random.default_rng(0)
SPREAD = RNG.standard_normal(20_000) * 10.0 ** RNG.uniform(-50, 38, 20_000)
ODD = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 65519.0, 65520.0, 3.3895e38, 3.4028e38, 2.0**-149, 2.0**-133]
NUMBERS = np.concatenate([SPREAD, ODD]).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_single_precision_round_as_torch_rounds_them(dtype: str) -> None:
    due = torch.from_numpy(NUMBERS).to(getattr(torch, dtype)).double().numpy()
    np.testing.assert_array_equal(FORMATS[dtype].round(NUMBERS), due)


def test_rounding_to_bfloat16_does_not_round_twice() -> None:
    just_above_half = 1 + 2.0**-8 + 2.0**-40
    assert FORMATS["bfloat16"].round(just_above_half) == 1 + 2.0**-7
    assert FORMATS["bfloat16"].round(1 + 2.0**-8) == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_constants_of_a_format_are_those_of_torch(dtype: str) -> None:
    info, format = torch.finfo(getattr(torch, dtype)), FORMATS[dtype]
    assert (format.unit, format.largest) == (info.eps / 2, info.max)
    smallest = float(
        torch.tensor(0.0, dtype=getattr(torch, dtype)).nextafter(torch.tensor(1.0, dtype=getattr(torch, dtype)))
    )
    assert format.eta in (smallest / 2, smallest)  # half of float64's smallest is no float64
    assert format.eta > 0
