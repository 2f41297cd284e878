"""The card: what a person reads about a broken law."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import Law
from seqlaws.verdict import Verdict

if TYPE_CHECKING:
    from seqlaws.run import Run

WIDTH = 92


def card_text(law: Law, run: Run, case: Any, x: Inputs, verdict: Verdict, *, hint: str = "", command: str = "") -> str:
    """The card of a broken law, on its smallest case."""
    implementation = run.implementation
    lines = [
        f"BROKEN  {law.name}   by {implementation.name}   [{run.device}-{run.format.name}]",
        "",
        *_wrapped(law.claim, "  "),
        *[f"      {line}" for line in law.formula.splitlines()],
        "",
        "  Smallest case found:",
        *[f"      {line}" for line in show_inputs(x).splitlines()],
        *_other_calls(x, run.calls),
        *_cotangents(run.cotangents),
        *_place(verdict),
        "",
        *_wrapped("Why it matters: " + law.why, "  "),
    ]
    if run.implementation.dialect:
        declared = ", ".join(f"{key}={value!r}" for key, value in implementation.dialect.items())
        lines += ["", f"  Dialect declared: {declared}"]
    if hint:
        lines += ["", *_wrapped("Perhaps a convention: " + hint + ".", "  ")]
    lines += ["", f"  Drawn as: {case!r}"]
    if command:
        lines += [f"  Again:    {again(command, law.name, run.device, run.format.name)}"]
    return "\n".join(lines)


def _other_calls(x: Inputs, calls: list[Inputs], limit: int = 3) -> list[str]:
    """What the law changed for the calls that it compares, where it changed anything."""
    texts: dict[str, None] = {}
    for call in calls:
        changed = [name for name, array in call.arrays.items() if not _alike(array, x.arrays[name])]
        parts = show_inputs(call, only=changed).splitlines()
        parts += [f"{name} = {value!r}" for name, value in call.options.items() if value != x.options[name]]
        if parts:
            texts.setdefault("\n".join(parts))
    lines: list[str] = []
    for text in list(texts)[:limit]:
        first, *rest = text.splitlines()
        lead = "   and with:" if lines else "called with:"
        lines += [f"  {lead}  {first}", *[f"      {'':10}{line}" for line in rest]]
    if len(texts) > limit:
        lines.append(f"  and with {len(texts) - limit} more")
    return lines


def _cotangents(arrays: list[Array], limit: int = 2) -> list[str]:
    """What was sent back from the output, where the law asks for gradients."""
    texts = list(dict.fromkeys(_shown(np.vectorize(_six_digits, otypes=[float])(array)) for array in arrays))
    lines = [f"  gradient of the output:  {text}" for text in texts[:limit]]
    return [*lines, f"  and {len(texts) - limit} more"] if len(texts) > limit else lines


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def _alike(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    )


def _place(verdict: Verdict) -> list[str]:
    lines = []
    if verdict.where is not None:
        name = verdict.name or "output"
        lines.append(f"  at {name}[{', '.join(map(str, verdict.where))}]:   {'   '.join(show_numbers(verdict))}")
    if verdict.message:
        lines.append(f"  {verdict.message}")
    return ["", *lines]


def show_numbers(verdict: Verdict) -> list[str]:
    """What came out, what was due, and the allowance; in as many digits as tell the first two apart."""
    pair = (verdict.got, verdict.expected)
    alike = None in pair or verdict.got == verdict.expected
    digits = 6 if alike else next((few for few in (6, 9, 12) if f"{pair[0]:.{few}g}" != f"{pair[1]:.{few}g}"), 17)
    shown = [
        f"{label} {number:.{digits}g}"
        for label, number in zip(("got", "expected"), pair, strict=True)
        if number is not None
    ]
    return shown if verdict.allowed is None else [*shown, f"allowed ±{verdict.allowed:.2g}"]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def show_inputs(x: Inputs, limit: int = 64, only: list[str] | None = None) -> str:
    """Inputs as Python: whole where they are small, by shape where they are not; or only some of the arrays."""
    lines = []
    for name, array in x.arrays.items():
        if only is not None and name not in only:
            continue
        if array is None:
            if only is not None:
                lines.append(f"{name} = None")
            continue
        lines.append(f"{name} = {_shown(array, limit)}")
    if only is None:
        options = ", ".join(f"{name} = {value!r}" for name, value in x.options.items() if value is not None)
        lines += [options] if options else []
    return "\n".join(lines)


def _shown(array: Array, limit: int = 64) -> str:
    text = _literal(array) if array.size <= limit else f"<{array.dtype.kind}{list(array.shape)}>"
    return _sparse(array) or text


def _sparse(array: Array, most: int = 6) -> str:
    """A larger array that is one number but for a few places; "" where it is none."""
    if array.size <= 16:
        return ""
    numbers, counts = np.unique(array, return_counts=True, equal_nan=False)
    usual = numbers[np.argmax(counts)]
    others = np.argwhere(array != usual)
    if len(others) > most:
        return ""
    text = f"zeros({list(array.shape)})" if usual == 0 and array.dtype.kind != "b" else ""
    text = text or f"full({list(array.shape)}, {_number(usual.item())})"
    places = ", ".join(f"{list(map(int, place))} = {_number(array[tuple(place)].item())}" for place in others)
    return f"{text} but {places}" if places else text


def _literal(array: Array) -> str:
    if array.ndim == 0:
        return _number(array.item())
    if array.ndim == 1:
        return "[" + ", ".join(_number(item) for item in array.tolist()) + "]"
    if array.size == 0:
        return f"zeros({list(array.shape)})"
    return "[" + ", ".join(_literal(part) for part in array) + "]"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    if np.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)


def again(command: str, law: str, device: str, dtype: str) -> str:
    """The command that judges one law at one place again, as the command line or pytest has it."""
    if command.startswith("pytest"):  # what Hypothesis drew is in its database, and comes first
        return f"{command} -k {shlex.quote(f'{law}[{device}-{dtype}]')}"
    return f"{command} --law {law} --device {device} --dtype {dtype}"
