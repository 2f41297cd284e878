"""Charts that are no curves: bars, and heat maps. SVG by hand, in the manner of `figure`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seqlaws.instruments.figure import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    LETTER,
    RIGHT,
    TOP,
    Axis,
    Figure,
    canvas,
    line,
    number,
    text,
)

PALE, DEEP, OPPOSITE = (0xFF, 0xFF, 0xFF), (0x00, 0x3F, 0x6B), (0xA8, 0x3C, 0x00)
"""Of a heat map: nothing, much, and much below zero."""


@dataclass(frozen=True)
class Bars:
    """Values side by side: one group of bars for each label, one bar for each series."""

    title: str
    y_label: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[float]]
    y_log: bool = False

    def svg(self) -> str:
        """The chart as the text of an SVG file."""
        values = [value for each in self.series.values() for value in each if value > 0 or not self.y_log]
        ys = Axis.over(values, self.y_log, HEIGHT - BOTTOM, TOP)
        named = len(self.series) > 1
        width = round(RIGHT + 60 + (LETTER * max(map(len, self.series)) if named else 0))
        group = (RIGHT - LEFT) / len(self.labels)
        bar = group * 0.8 / len(self.series)
        parts = []
        for value in ys.ticks:
            parts += [
                line(LEFT, ys(value), RIGHT, ys(value), "#e4e4e4"),
                text(ys.label(value), LEFT - 8, ys(value) + 4, anchor="end"),
            ]
        for index, (name, heights) in enumerate(self.series.items()):
            colour = COLOURS[index % len(COLOURS)]
            for place, value in enumerate(heights):
                if self.y_log and value <= 0:
                    continue
                base = ys.ticks[0] if self.y_log else 0.0
                top, foot = sorted((ys(value), ys(base)))
                left = LEFT + group * (place + 0.1) + bar * index
                parts.append(
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{bar:.1f}" height="{foot - top:.1f}" fill="{colour}"/>'
                )
                if len(self.labels) * len(self.series) <= 12:
                    parts.append(text(number(value), left + bar / 2, top - 4, anchor="middle", size=11))
            if named:
                height = TOP + 14 + 22 * index
                parts.append(f'<rect x="{RIGHT + 16}" y="{height - 11}" width="26" height="12" fill="{colour}"/>')
                parts.append(text(name, RIGHT + 48, height))
        for place, label in enumerate(self.labels):
            parts.append(text(label, LEFT + group * (place + 0.5), HEIGHT - BOTTOM + 20, anchor="middle"))
        parts.append(line(LEFT, HEIGHT - BOTTOM, RIGHT, HEIGHT - BOTTOM, "#444"))
        parts.append(text(self.y_label, 20, (TOP + HEIGHT - BOTTOM) / 2, anchor="middle", turned=True))
        return canvas(self.title, width, parts)


@dataclass(frozen=True)
class Heat:
    """A table of numbers as colours; row by row from the top. What is not finite stays grey."""

    title: str
    x_label: str
    y_label: str
    x: Sequence[str]
    y: Sequence[str]
    values: Sequence[Sequence[float]]

    def svg(self) -> str:
        """The chart as the text of an SVG file."""
        finite = [value for row in self.values for value in row if math.isfinite(value)]
        most = max(map(abs, finite), default=1.0) or 1.0
        across, down = (RIGHT - LEFT) / len(self.x), (HEIGHT - BOTTOM - TOP) / len(self.y)
        written = len(self.x) <= 10 and len(self.y) <= 10
        parts = []
        for i, row in enumerate(self.values):
            for j, value in enumerate(row):
                left, top = LEFT + across * j, TOP + down * i
                shade = abs(value) / most if math.isfinite(value) else 0.0
                parts.append(
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{across + 0.3:.1f}" height="{down + 0.3:.1f}" '
                    f'fill="{_colour(value, most)}"/>'
                )
                if written and math.isfinite(value):
                    ink = "#fff" if shade > 0.55 else "#222"
                    parts.append(
                        text(number(value), left + across / 2, top + down / 2 + 4, anchor="middle", size=11, ink=ink)
                    )
        for j, label in enumerate(self.x):
            if j % math.ceil(len(self.x) / 12) == 0:
                parts.append(text(label, LEFT + across * (j + 0.5), HEIGHT - BOTTOM + 20, anchor="middle"))
        for i, label in enumerate(self.y):
            if i % math.ceil(len(self.y) / 12) == 0:
                parts.append(text(label, LEFT - 8, TOP + down * (i + 0.5) + 4, anchor="end"))
        least = -most if min(finite, default=0.0) < 0 else 0.0
        for step in range(5):
            value = most + (least - most) * step / 4
            parts.append(
                f'<rect x="{RIGHT + 16}" y="{TOP + 30 * step}" width="16" height="30" fill="{_colour(value, most)}"/>'
            )
            parts.append(text(number(value), RIGHT + 38, TOP + 30 * step + 19))
        parts.append(text(self.x_label, (LEFT + RIGHT) / 2, HEIGHT - 14, anchor="middle"))
        parts.append(text(self.y_label, 20, (TOP + HEIGHT - BOTTOM) / 2, anchor="middle", turned=True))
        return canvas(self.title, RIGHT + 110, parts)


Picture = Figure | Bars | Heat
"""What an experiment can show beside its numbers."""


def _colour(value: float, most: float) -> str:
    if not math.isfinite(value):
        return "#bbb"
    share = abs(value) / most
    full = DEEP if value >= 0 else OPPOSITE
    return "#" + "".join(f"{round(low + (high - low) * share):02x}" for low, high in zip(PALE, full, strict=True))
