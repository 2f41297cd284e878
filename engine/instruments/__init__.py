"""Instruments: what a sequence model does, measured exactly and without looking into it.

    from seqlaws.instruments import path_length

    print(path_length(torch.nn.LSTM(16, 16, batch_first=True)))

Each takes any module or callable [B, T, D] → [B, T, D'], or an Implementation, and returns a frozen
value: the numbers, how they grow, how exact they are and why, and a plot.
"""

from seqlaws.instruments.exactness import Exactness
from seqlaws.instruments.figure import Figure
from seqlaws.instruments.growth import Growth
from seqlaws.instruments.model import Model
from seqlaws.instruments.path import PathLength, path_length
from seqlaws.instruments.transparent import transparent

INSTRUMENTS = {"path": path_length}
"""By the names that the command line gives them."""

__all__ = ["Exactness", "Figure", "Growth", "Model", "PathLength", "path_length", "transparent"]
