"""Small models: what they weigh, and what a step costs on a small machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seqlaws.claim import Evidence, HoldsIf, NotExecutable, Refuted, claim
from seqlaws.instruments import Figure, Series, transparent

HIDDEN = 256


def parameters(model: nn.Module) -> int:
    """How many numbers a model learns."""
    return sum(each.numel() for each in model.parameters())


def lstm(inputs: int) -> nn.LSTM:
    """Two layers with 256 hidden units each."""
    return nn.LSTM(inputs, HIDDEN, num_layers=2, device="meta")


@dataclass(frozen=True)
class Machine:
    """What a machine does in a second."""

    name: str
    operations: float
    bytes: float

    def milliseconds(self, operations: int, read: int) -> float:
        """The least time for so many operations on so many bytes, which are read once."""
        return 1e3 * max(operations / self.operations, read / self.bytes)


@claim(
    "F13",
    Refuted("with 256 inputs it has 1,052,672, and with a single input still 791,552"),
    articles="S2",
)
def a_two_layer_lstm_has_half_a_million_parameters(see: Evidence) -> None:
    """An LSTM of two layers with 256 hidden units has about 500,000 parameters.

    4·h·(I + h) + 8·h in the first layer, 8·h² + 8·h in the second, h = 256, for I inputs

    Rule: the parameters of torch's LSTM are counted. "About" is read as within one half: even with a
    single input there are more than 750,000. One layer with 256 inputs alone has the number quoted.
    """
    h, inputs = HIDDEN, (1, 16, 64, 128, 256, 512)
    for each in (1, 256):
        formula = 4 * h * (each + h) + 8 * h + 8 * h * h + 8 * h
        see.refutes(f"I = {each}: parameters", parameters(lstm(each)), equals=formula)
        see.refutes(f"I = {each}: parameters, and 500,000 with one half more", parameters(lstm(each)), above=750_000)
    see.refutes("what is about 500,000, one layer, I = 256", parameters(nn.LSTM(h, h, device="meta")), equals=526_336)
    see.picture(
        Figure(
            "Parameters of an LSTM with 256 hidden units",
            "inputs I",
            "parameters, thousands",
            (
                Series("two layers", inputs, [parameters(lstm(each)) / 1e3 for each in inputs]),
                Series("one layer", inputs, [parameters(nn.LSTM(each, h, device="meta")) / 1e3 for each in inputs]),
                Series("as quoted", inputs, [500] * len(inputs)),
            ),
            x_log=True,
        )
    )


@claim("F14", HoldsIf("the phone does 2.1·10⁹ operations and reads 4.2·10⁹ bytes in a second"), articles="S2")
def a_two_layer_lstm_steps_in_a_millisecond(see: Evidence) -> None:
    """An LSTM of two layers with 256 hidden units takes 1 ms for a step on the processor of a phone.

    milliseconds ≥ 10³·max(operations/rate, bytes/bandwidth): 2·16·h² = 2,097,152 operations on
    4 · 1,052,672 = 4,210,688 bytes, with h = I = 256 in single precision

    Rule: operations and bytes are counted, not timed. The least time is then compared with 1 ms for
    10¹⁰ operations a second and two kinds of memory, read once for each step: LPDDR4X (34.1 GB/s) and
    the LPDDR of the first phones (1.6 GB/s).
    """
    model, x = lstm(HIDDEN), torch.empty(1, 1, HIDDEN, device="meta")
    with torch.no_grad(), transparent(), FlopCounterMode(display=False) as counter:
        model(x)
    operations = int(counter.get_total_flops())
    read = sum(each.nbytes for each in model.parameters())
    see.supports("operations for a step", operations, equals=2 * 16 * HIDDEN**2)
    for machine in (Machine("LPDDR4X", 1e10, 34.1e9), Machine("LPDDR", 1e10, 1.6e9)):
        least = machine.milliseconds(operations, read)
        if machine.bytes > 4.2e9:
            see.supports(f"{machine.name}: least milliseconds for a step", least, at_most=1.0)
        else:
            see.refutes(f"{machine.name}: least milliseconds for a step", least, above=1.0)


@claim(
    "F15",
    NotExecutable("nobody defines comparable quality; two layers of width 128 have 396,544 parameters"),
    articles="S2",
)
def a_comparable_transformer_has_millions_of_parameters(see: Evidence) -> None:
    """A small Transformer of comparable quality has millions of parameters."""


@claim("F21", NotExecutable("an inventory of hardware"), articles="S2")
def a_gpu_has_tens_of_thousands_of_units(see: Evidence) -> None:
    """A modern GPU has tens of thousands of units that compute in parallel."""
