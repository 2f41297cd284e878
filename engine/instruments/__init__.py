"""Instruments: what a sequence model does, measured exactly and without looking into it.

    from seqlaws.instruments import path_length

    print(path_length(torch.nn.LSTM(16, 16, batch_first=True)))

Each takes any module or callable [B, T, D] → [B, T, D'], or an Implementation, and returns a frozen
value: the numbers, how they grow, how exact they are and why, and a plot.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from seqlaws.instruments.chart import Bars, Heat, Picture
from seqlaws.instruments.depth import SequentialDepth, sequential_depth
from seqlaws.instruments.exactness import Exactness
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.gradient import GradientProfile, gradient_profile
from seqlaws.instruments.growth import Growth
from seqlaws.instruments.memory import Memory, memory
from seqlaws.instruments.model import Model
from seqlaws.instruments.path import PathLength, path_length
from seqlaws.instruments.polynomial import Polynomial
from seqlaws.instruments.streaming import StreamingState, streaming_state
from seqlaws.instruments.table1 import Table1, table1
from seqlaws.instruments.transparent import transparent
from seqlaws.instruments.work import Work, work

INSTRUMENTS: dict[str, Callable[..., Any]] = {
    "path": path_length,
    "depth": sequential_depth,
    "work": work,
    "memory": memory,
    "gradient": partial(gradient_profile, spectrum=True),
}
"""By the names that the command line gives them."""

__all__ = [
    "INSTRUMENTS",
    "Bars",
    "Exactness",
    "Figure",
    "GradientProfile",
    "Growth",
    "Heat",
    "Memory",
    "Model",
    "PathLength",
    "Picture",
    "Polynomial",
    "SequentialDepth",
    "Series",
    "StreamingState",
    "Table1",
    "Work",
    "gradient_profile",
    "memory",
    "path_length",
    "sequential_depth",
    "streaming_state",
    "table1",
    "transparent",
    "work",
]
