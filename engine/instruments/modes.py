"""What all dispatch modes of the instruments share: they see into operators that take functions."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch._C import DispatchKey
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode


@cache
def _composite(func: Any) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


class Seeing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode for which composite operators, flex attention and their kind run as what they stand for."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator, and see it."""
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            with self:
                if func is torch.ops.higher_order.cond:
                    condition, then, otherwise, given = args
                    return (then if bool(condition) else otherwise)(*given)
                return func.py_kernels[DispatchKey.CompositeExplicitAutograd](*args, **kwargs)
        if _composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        return self.see(func, args, kwargs)

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operator that takes no functions, and see it."""
        raise NotImplementedError
