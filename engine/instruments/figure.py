"""Figures: curves as SVG, written by hand, so that a plot needs nothing that is not here."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

from seqlaws.errors import Misunderstood
from seqlaws.output import refuse_unwritable

HEIGHT = 420
LEFT, RIGHT, TOP, BOTTOM = 76, 550, 48, 56
"""The edges of the plot: from the left, from the left, from the top, from below."""
LETTER = 7.4
"""About the width of a letter of 13 pixels."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")  # told apart by all eyes
DASHES = ("", "7 3", "2 3", "9 3 2 3")


def refuse_undrawable(file: str | Path) -> None:
    """Raise Misunderstood, in one line, if a plot cannot be written there."""
    kind = Path(file).suffix
    if kind not in (".svg", ".png"):
        raise Misunderstood(f"cannot write {file}: a plot is an .svg or a .png")
    if kind == ".png":
        try:
            importlib.import_module("matplotlib")
        except ImportError:
            raise Misunderstood(f"cannot write {file}: PNG needs matplotlib; .svg needs nothing") from None
    refuse_unwritable(str(file))


@dataclass(frozen=True)
class Series:
    """One curve, with its name; or single points, where nothing lies between them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    joined: bool = True


@dataclass(frozen=True)
class Figure:
    """Curves over one pair of axes, linear or logarithmic."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False

    @classmethod
    def together(cls, figures: Iterable[Figure]) -> Figure:
        """The curves of several figures of one quantity in one."""
        every = list(figures)
        return replace(every[0], series=tuple(series for figure in every for series in figure.series))

    def save(self, file: str | Path) -> None:
        """Write the figure; the ending of the name says how."""
        refuse_undrawable(file)
        if Path(file).suffix == ".svg":
            Path(file).write_text(self.svg(), encoding="utf-8")
        else:
            self._save_png(Path(file))

    def _save_png(self, path: Path) -> None:
        from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]

        drawn, axes = pyplot.subplots(figsize=(7.6, 4.2), layout="constrained")
        for index, series in enumerate(self._drawable()):
            style = {} if series.joined else {"linestyle": "", "marker": "o"}
            axes.plot(series.x, series.y, color=COLOURS[index % len(COLOURS)], label=series.name, **style)
        axes.set(title=self.title, xlabel=self.x_label, ylabel=self.y_label)
        axes.set_xscale("log", base=2) if self.x_log else None
        axes.set_yscale("log") if self.y_log else None
        axes.legend(frameon=False)
        drawn.savefig(path, dpi=200)
        pyplot.close(drawn)

    def svg(self) -> str:
        """The figure as the text of an SVG file."""
        series = self._drawable()
        xs = Axis.over([value for each in series for value in each.x], self.x_log, LEFT, RIGHT)
        ys = Axis.over([value for each in series for value in each.y], self.y_log, HEIGHT - BOTTOM, TOP)
        width = round(RIGHT + 60 + LETTER * max((len(each.name) for each in series), default=0))
        parts = [
            *self._grid(xs, ys),
            text(self.x_label, (LEFT + RIGHT) / 2, HEIGHT - 14, anchor="middle"),
            text(self.y_label, 20, (TOP + HEIGHT - BOTTOM) / 2, anchor="middle", turned=True),
            *(part for index, each in enumerate(series) for part in _curve(each, index, xs, ys)),
        ]
        return canvas(self.title, width, parts)

    def _grid(self, xs: Axis, ys: Axis) -> list[str]:
        lines = []
        for value in xs.ticks:
            lines.append(line(xs(value), TOP, xs(value), HEIGHT - BOTTOM, "#e4e4e4"))
            lines.append(text(xs.label(value), xs(value), HEIGHT - BOTTOM + 20, anchor="middle"))
        for value in ys.ticks:
            lines.append(line(LEFT, ys(value), RIGHT, ys(value), "#e4e4e4"))
            lines.append(text(ys.label(value), LEFT - 8, ys(value) + 4, anchor="end"))
        lines.append(line(LEFT, HEIGHT - BOTTOM, RIGHT, HEIGHT - BOTTOM, "#444"))
        lines.append(line(LEFT, TOP, LEFT, HEIGHT - BOTTOM, "#444"))
        return lines

    def _drawable(self) -> list[Series]:
        """The curves without what their axes cannot show: zero on a logarithmic one, and what is not finite."""

        def shown(value: float, log: bool) -> bool:
            return math.isfinite(value) and (value > 0 or not log)

        drawable = []
        for each in self.series:
            pairs = [
                (x, y) for x, y in zip(each.x, each.y, strict=True) if shown(x, self.x_log) and shown(y, self.y_log)
            ]
            drawable.append(replace(each, x=[x for x, _ in pairs], y=[y for _, y in pairs]))
        return drawable


@dataclass(frozen=True)
class Axis:
    """Maps values to places, and knows where its ticks are."""

    ticks: list[float]
    place: Callable[[float], float]
    label: Callable[[float], str]

    def __call__(self, value: float) -> float:
        """Where a value is, in pixels."""
        return self.place(value)

    @classmethod
    def over(cls, values: Sequence[float], log: bool, start: float, end: float) -> Axis:
        """The axis that holds all these values between two pixels."""
        low, high = (min(values), max(values)) if values else (1.0, 2.0)
        ticks = _log_ticks(low, high) if log else _ticks(low, high)
        scale: Callable[[float], float] = math.log if log else float
        first, last = scale(min(low, ticks[0])), scale(max(high, ticks[-1]))
        by_powers = log and (ticks[0] < 1e-3 or ticks[-1] >= 1e6)
        return cls(
            ticks,
            lambda value: start + (end - start) * (scale(value) - first) / ((last - first) or 1),
            _power_of_ten if by_powers else number,
        )


def _ticks(low: float, high: float) -> list[float]:
    low = min(low, 0.0)
    rough = (high - low or 1) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.floor(low / step)
    return [step * count for count in range(first, math.ceil(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of two over a short range, of ten, a hundred … over a long one."""
    base = 2.0 if high / low < 300 else 10.0
    first, last = math.floor(math.log(low, base) + 1e-9), math.ceil(math.log(high, base) - 1e-9)
    step = max(1, math.ceil((last - first) / 8))
    return [base**power for power in range(first, max(last, first + 1) + step, step)]


def _curve(series: Series, index: int, xs: Axis, ys: Axis) -> list[str]:
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    points = " ".join(f"{xs(x):.1f},{ys(y):.1f}" for x, y in zip(series.x, series.y, strict=True))
    style = f'stroke="{colour}" stroke-width="2.2"' + (f' stroke-dasharray="{dash}"' if dash else "")
    height = TOP + 14 + 22 * index
    dots = zip(series.x, series.y, strict=True) if len(series.x) <= 12 or not series.joined else ()
    curve = f'<polyline points="{points}" fill="none" stroke-linejoin="round" {style}/>'
    middle = (RIGHT + 29, height - 4)
    return [
        *([curve] if series.joined else []),
        *(f'<circle cx="{xs(x):.1f}" cy="{ys(y):.1f}" r="3" fill="{colour}"/>' for x, y in dots),
        f'<line x1="{RIGHT + 16}" y1="{height - 4}" x2="{RIGHT + 42}" y2="{height - 4}" {style}/>'
        if series.joined
        else f'<circle cx="{middle[0]}" cy="{middle[1]}" r="4" fill="{colour}"/>',
        text(series.name, RIGHT + 48, height),
    ]


def canvas(title: str, width: int, parts: Sequence[str]) -> str:
    """A picture with its title, as the text of an SVG file."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
            'font-family="system-ui, sans-serif" font-size="13" fill="#222">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>',
            text(title, LEFT, TOP - 22, size=16),
            *parts,
            "</svg>\n",
        ]
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    """A straight line, in pixels."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(
    words: str, x: float, y: float, *, anchor: str = "start", size: int = 13, turned: bool = False, ink: str = ""
) -> str:
    """Words at a place, in pixels; turned, they read upwards."""
    more = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    more += f' fill="{ink}"' if ink else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(words)}</text>'


def number(value: float) -> str:
    """A number as short as a picture needs it."""
    if value == round(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.1e}" if abs(value) < 1e-3 or abs(value) >= 1e6 else f"{value:.4g}"


def _power_of_ten(value: float) -> str:
    power = round(math.log10(value))
    return "1" if power == 0 else f"10{_raised(power)}"


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
