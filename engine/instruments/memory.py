"""Memory: the bytes kept for backward, the peak of inference, and the state of a stream."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from seqlaws.instruments.exactness import EXACT, Exactness, unknown
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.polynomial import Polynomial, in_t
from seqlaws.instruments.streaming import StreamingState, streaming_state

LENGTHS = (64, 96, 128, 160, 192, 256)
LONGEST = 1024


@dataclass(frozen=True)
class Memory:
    """Bytes for one sequence, as the model runs: fused kernels stay fused.

    ``saved`` are the bytes that autograd keeps for backward, parameters excepted: a polynomial in T,
    or None where the values ``saved_at`` fit none. ``peak`` is the largest number of bytes allocated
    at once in inference, by T, beyond what was there before. ``state`` is the least that a streaming
    implementation must keep, in numbers.
    """

    name: str
    saved: Polynomial | None
    saved_at: dict[int, int]
    peak: dict[int, int]
    state: StreamingState
    exactness: Exactness

    @property
    def peak_exponent(self) -> float:
        """The power of T by which the peak grows from the last length but one to the last."""
        return _exponent(self.peak)

    @property
    def saved_exponent(self) -> float:
        """The same of the saved bytes."""
        return _exponent(self.saved_at)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "quantity": "memory",
            "name": self.name,
            "saved": self.saved and self.saved.to_json(),
            "saved_order": self.saved and self.saved.order,
            "saved_at": {str(length): count for length, count in self.saved_at.items()},
            "peak": {str(length): count for length, count in self.peak.items()},
            "saved_exponent": self.saved_exponent,
            "peak_exponent": self.peak_exponent,
            "state": self.state.to_json(),
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
        }

    def plot(self) -> Figure:
        """Saved bytes and peak against the length."""
        saved = Series(f"{self.name}, saved", list(self.saved_at), list(self.saved_at.values()))
        peak = Series(f"{self.name}, peak", list(self.peak), list(self.peak.values()))
        return Figure("Memory of one sequence", "sequence length T", "bytes", (saved, peak), True, True)

    def __str__(self) -> str:
        peaks = ", ".join(f"{count:,}" for count in self.peak.values())
        shown = f"{', '.join(map(str, self.saved_at.values()))} at T = {', '.join(map(str, self.saved_at))}, as T^"
        saved = f"{self.saved}, {self.saved.order}" if self.saved else f"{shown}{self.saved_exponent:.2f} at the end"
        return (
            f"{self.name}: bytes saved for backward: {saved}\n  {self.exactness}\n"
            f"  inference peaks at {peaks} bytes at T = {', '.join(map(str, self.peak))} "
            f"(as T^{self.peak_exponent:.2f} at the end)\n"
            f"  a stream must keep at least {self.state}"
        )


def memory(target: Target | Model, *, length: int | None = None, width: int | None = None) -> Memory:
    """The memory of a model [B, T, D] → [B, T, D'] for one sequence. ``length`` is the longest for the peak."""
    model = Model.of(target, width)
    saved = {n: saved_bytes(model, n) for n in LENGTHS}
    polynomial = in_t(saved)
    exactness = EXACT if polynomial else unknown("the values are exact, and no polynomial passes through all of them")
    peaks = peak_bytes(model, sorted({max(1, (length or LONGEST) >> halvings) for halvings in range(4)}))
    return Memory(model.name, polynomial, saved, peaks, streaming_state(target, width=width), exactness)


def _exponent(values: dict[int, int]) -> float:
    """The power by which values grow from the last length but one to the last."""
    if len(values) < 2:
        return 0.0
    (short, less), (long, more) = list(values.items())[-2:]
    return math.log(more / less) / math.log(long / short) if less and more else 0.0


def saved_bytes(model: Model, length: int) -> int:
    """Bytes of the storages that autograd saves for backward in one training pass, each counted once."""
    parameters = {each.untyped_storage()._cdata for each in model.learned}
    storages: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage  # held, so that its place is not given to another
        return tensor

    x = model.inputs(1, length).requires_grad_()
    with model.still(training=True), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(x)
        count = sum(storage.nbytes() for key, storage in storages.items() if key not in parameters)
    del out
    return count


def peak_bytes(model: Model, lengths: list[int]) -> dict[int, int]:
    """The largest number of bytes allocated at once during inference, by length, as the allocator saw it."""
    inputs = {n: model.inputs(1, n) for n in lengths}
    with model.still(), torch.no_grad():
        model(inputs[lengths[0]])  # what is allocated once and kept is no part of a call
        if model.device.type == "cuda":
            return {n: _cuda_peak(model, x) for n, x in inputs.items()}
        with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            for n, x in inputs.items():
                with record_function(f"seqlaws T={n}"):
                    model(x)
    events = list(seen.profiler.kineto_results.events())
    changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
    spans = {each.name(): (each.start_ns(), each.start_ns() + each.duration_ns()) for each in events}
    return {n: _highest(changes, *spans[f"seqlaws T={n}"]) for n in lengths}


def _highest(changes: list[tuple[int, int]], start: int, end: int) -> int:
    now = highest = 0
    for moment, count in changes:
        if start <= moment <= end:
            now += count
            highest = max(highest, now)
    return highest


def _cuda_peak(model: Model, x: Tensor) -> int:
    torch.cuda.synchronize(model.device)
    torch.cuda.reset_peak_memory_stats(model.device)
    before = torch.cuda.memory_allocated(model.device)
    model(x)
    torch.cuda.synchronize(model.device)
    return torch.cuda.max_memory_allocated(model.device) - before


@contextmanager
def _silent() -> Iterator[None]:
    """torch's profiler writes lines of its own to the standard error of the process."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
