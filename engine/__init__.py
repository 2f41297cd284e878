"""seqlaws: an executable specification of sequence layers.

    import seqlaws
    from seqlaws import Implementation

    mine = Implementation(name="mylib.attend", subject="attention", call=attend)
    report = seqlaws.check(mine)

Importing this package loads neither torch nor Hypothesis: they come with the first check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqlaws.checking import check
    from seqlaws.errors import Misunderstood
    from seqlaws.implementation import Implementation, Known
    from seqlaws.modules import module
    from seqlaws.plugin import tests_for
    from seqlaws.result import Report, Result

__version__ = "0.1.0"
__all__ = ["Implementation", "Known", "Misunderstood", "Report", "Result", "check", "module", "tests_for"]

_HOMES = {
    "Implementation": "seqlaws.implementation",
    "Known": "seqlaws.implementation",
    "Misunderstood": "seqlaws.errors",
    "Report": "seqlaws.result",
    "Result": "seqlaws.result",
    "check": "seqlaws.checking",
    "module": "seqlaws.modules",
    "tests_for": "seqlaws.plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqlaws' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
