"""Lessons of encoder–decoders: how a class becomes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from seqlaws.adapters.torch_seq2seq import factory
from seqlaws.lesson import honest, lesson

Made = type[nn.Module]
CONTEXT: dict[str, Any] = {"can": {"padding", "gradient"}, "dialect": {"padding": "anywhere"}}
ATTENDS: dict[str, Any] = {"dialect": {"padding": "anywhere"}}


def made(
    grade: str, *, caught_by: tuple[str, ...] = (), make: Any = factory, **declared: Any
) -> Callable[[Made], Made]:
    """Make a factory of the decorated class a lesson, or an honest variant, under the name of the class."""

    def define(kind: Made) -> Made:
        built = make(kind)
        built.__name__, built.__doc__ = kind.__name__, kind.__doc__
        if grade == "honest":
            honest("seq2seq", **declared)(built)
        else:
            lesson("seq2seq", grade, caught_by=caught_by, **declared)(built)
        return kind

    return define
