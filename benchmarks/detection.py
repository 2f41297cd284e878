"""The smallest fault that is seen: an error of the scale of attention, ever smaller, at every dtype.

python benchmarks/detection.py
"""

from __future__ import annotations

import torch

from seqlaws.formats import DTYPES, FORMATS
from seqlaws.implementation import Implementation
from seqlaws.matrix import broken_laws
from seqlaws.targets import resolve

EXACT = resolve("torch.nn.functional.scaled_dot_product_attention.math")[0]


def off_by(error: float) -> Implementation:
    """Attention with the scale wrong by a relative error."""

    def attend(q: torch.Tensor, *rest: torch.Tensor, scale: float | None = None, **options: object) -> torch.Tensor:
        given = q.shape[-1] ** -0.5 if scale is None else scale
        result: torch.Tensor = EXACT.call(q, *rest, scale=given * (1 + error), **options)
        return result

    return Implementation(name=f"scale off by {error:.0e}", subject="attention", call=attend, can=EXACT.can)


def main() -> None:
    """Print, for every dtype, the smallest error of the scale that some law sees."""
    torch.set_num_threads(1)
    for dtype in DTYPES:
        seen = None
        for exponent in range(1, 17):
            broken = next(broken_laws(off_by(10.0**-exponent), dtype, profile="quick"), None)
            if broken is None:
                break
            seen = 10.0**-exponent
        unit = FORMATS[dtype].unit
        print(f"{dtype:9} sees a scale that is off by {seen:.0e}; its unit roundoff is {unit:.1e}" if seen else dtype)


if __name__ == "__main__":
    main()
