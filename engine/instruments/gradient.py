"""Gradient profile: how much of the gradient at one output is left at every distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqlaws.errors import Misunderstood
from seqlaws.instruments.exactness import EXACT, Exactness, finite, unknown
from seqlaws.instruments.figure import Figure, Series
from seqlaws.instruments.lyapunov import Lyapunov, lyapunov, recurrence_of
from seqlaws.instruments.model import Model, Target
from seqlaws.instruments.transparent import transparent

RESAMPLES, CONFIDENCE = 400, 0.95
TINY = 1e-290
"""Below, float64 begins to underflow."""
FLAT = 1e-9
"""Logarithms of norms that differ by no more differ by rounding."""


@dataclass(frozen=True)
class GradientProfile:
    """‖∂y_at/∂x_{at−d}‖₂ for every lag d, and the law that it follows.

    ``rate`` is the slope of the logarithm of the norm per lag, with a confidence interval by
    resampling blocks of residuals along the one trajectory; ``exponent`` is the slope against the
    logarithm of the lag. ``law`` is "exponential", "power law" or "no decay", and ``r2_exponential``
    and ``r2_power`` say how well either fits. ``reach`` is the largest lag with a gradient at all.
    """

    name: str
    at: int
    norms: tuple[float, ...]
    rate: float
    interval: tuple[float, float]
    exponent: float
    r2_exponential: float
    r2_power: float
    law: str
    reach: int
    exactness: Exactness
    lyapunov: Lyapunov | None = None

    @property
    def half_life(self) -> float:
        """The lags after which half of the gradient is left; infinite where it does not fade."""
        return math.log(0.5) / self.rate if self.law == "exponential" else math.inf

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "quantity": "gradient profile",
            "name": self.name,
            "at": self.at,
            "rate": finite(self.rate),
            "interval": [finite(each) for each in self.interval],
            "exponent": finite(self.exponent),
            "r2_exponential": finite(self.r2_exponential),
            "r2_power": finite(self.r2_power),
            "law": self.law,
            "reach": self.reach,
            "lyapunov": self.lyapunov and self.lyapunov.to_json(),
            "exactness": self.exactness.kind,
            "reason": self.exactness.reason,
            "norms": [finite(each) for each in self.norms],
        }

    def plot(self) -> Figure:
        """The norm against the lag, relative to that at lag 0."""
        first = next((norm for norm in self.norms if norm > 0), 1.0)
        lags = range(len(self.norms))
        series = Series(f"{self.name}, {self.law}", lags, [norm / first for norm in self.norms])
        return Figure(
            "How much of the gradient is left", "lag d", "‖∂y(t)/∂x(t−d)‖ relative to d = 0", (series,), False, True
        )

    def __str__(self) -> str:
        lines = [f"{self.name}: gradient at output {self.at}, lags 0 … {len(self.norms) - 1}: {self.law}"]
        if math.isfinite(self.rate):
            low, high = self.interval
            half = f", half-life {self.half_life:.3g} lags" if self.law == "exponential" else ""
            fits = f"R² {self.r2_exponential:.3f} exponential, {self.r2_power:.3f} power law d^{self.exponent:.2f}"
            lines += [f"  rate per lag {self.rate:+.4f} [{low:+.4f}, {high:+.4f}]{half}", f"  {fits}"]
        if self.reach < 0:
            lines.append("  no gradient at all")
        elif self.reach < len(self.norms) - 1:
            why = "float64 underflows" if self.norms[self.reach] < TINY else "no gradient at all"
            lines.append(f"  {why} beyond lag {self.reach}")
        if self.lyapunov:
            lines.append(f"  {self.lyapunov}")
        return "\n".join([*lines, f"  {self.exactness}"])


def gradient_profile(
    target: Target | Model,
    length: int = 100,
    *,
    at: int | None = None,
    width: int | None = None,
    seed: int = 0,
    spectrum: bool = False,
) -> GradientProfile:
    """The gradient profile of a model [B, T, D] → [B, T, D'] at one output (default: the last).

    Copy i of the input is seeded with the i-th output channel, so one backward gives every Jacobian
    exactly, in float64. ``spectrum`` adds the Lyapunov spectrum where the model is a recurrence.
    """
    model = Model.of(target, width).doubled()
    place = length - 1 if at is None else at
    if not 0 <= place < length:
        raise Misunderstood(f"there is no output {place} among 0 … {length - 1}")
    jacobians = _jacobians(model, length, place, seed)
    found = None
    if spectrum and (recurrence := recurrence_of(target, model)):
        found = lyapunov(recurrence, length, seed=seed)
    if jacobians is None:
        norms, exactness = (
            np.zeros(place + 1),
            unknown("no gradient reaches the input: it is detached or not differentiable"),
        )
    else:
        norms = torch.linalg.matrix_norm(jacobians.flip(0), 2).cpu().numpy()
        exactness = (
            EXACT if model.dtype == torch.float64 else unknown(f"computed in {model.dtype}: small norms are rounding")
        )
    return _fitted(model.name, place, norms, exactness, found)


def _jacobians(model: Model, length: int, at: int, seed: int) -> Tensor | None:
    """∂y_at/∂x_s for s = 0 … at: [at + 1, D', D]."""
    with model.still(), transparent():
        with torch.no_grad():
            outputs = model(model.inputs(1, min(length, 2))).shape[-1]
        x = model.inputs(outputs, length, seed=seed).requires_grad_()
        out = model(x)
        if not out.requires_grad:
            return None
        channels = torch.arange(outputs, device=out.device)
        (gradient,) = torch.autograd.grad(out[channels, at, channels].sum(), x, allow_unused=True)
    return None if gradient is None else gradient[:, : at + 1].transpose(0, 1)


def _fitted(
    name: str, at: int, norms: np.ndarray[Any, Any], exactness: Exactness, found: Lyapunov | None
) -> GradientProfile:
    shown = np.isfinite(norms) & (norms > TINY)
    reach = int(np.flatnonzero(norms).max()) if norms.any() else -1
    lags = np.flatnonzero(shown[1:]) + 1  # lag 0 passes no step of time
    logs = np.log(norms[lags])
    settings: dict[str, Any] = {"name": name, "at": at, "norms": tuple(map(float, norms)), "reach": reach}
    if len(lags) < 4:
        rate, interval, exponent, fits, law = (
            math.nan,
            (math.nan, math.nan),
            math.nan,
            (math.nan, math.nan),
            "unclassified",
        )
    else:
        rate, r2_exponential, residuals = _line(lags.astype(float), logs)
        exponent, r2_power, _ = _line(np.log(lags), logs)
        interval = _interval(lags.astype(float), rate, residuals)
        fits = (r2_exponential, r2_power)
        if np.ptp(logs) <= FLAT:
            rate, interval, exponent, law = 0.0, (0.0, 0.0), 0.0, "no decay"
        elif interval[0] <= 0 <= interval[1] or max(fits) < 0.5:  # a law explains at least half of what varies
            law = "no decay"
        elif r2_power > r2_exponential:
            law = "power law"
        else:
            law = "exponential"
        if law == "exponential" and rate > 0:
            law = "exponential growth"
    return GradientProfile(
        rate=rate,
        interval=interval,
        exponent=exponent,
        r2_exponential=fits[0],
        r2_power=fits[1],
        law=law,
        exactness=exactness,
        lyapunov=found,
        **settings,
    )


def _line(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[float, float, np.ndarray[Any, Any]]:
    """The slope of the least-squares line, R² and the residuals."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residuals = y - y.mean() - slope * centred
    total = float(((y - y.mean()) ** 2).sum())
    return slope, (1 - float(residuals @ residuals) / total if total else 0.0), residuals


def _interval(x: np.ndarray[Any, Any], slope: float, residuals: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Neighbouring lags share their steps, so residuals are resampled in blocks."""
    count = len(x)
    block = math.ceil(math.sqrt(count))
    starts = np.random.default_rng(0).integers(0, count, (RESAMPLES, math.ceil(count / block)))
    places = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count] % count
    centred = x - x.mean()
    slopes = slope + residuals[places] @ centred / (centred @ centred)
    low, high = np.quantile(slopes, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
