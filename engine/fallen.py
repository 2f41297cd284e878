"""Fallen: what is said of a law during which the process that judged it ended."""

from __future__ import annotations

import textwrap
from dataclasses import replace

from seqlaws.card import WIDTH, again
from seqlaws.guard import Died, Unfit
from seqlaws.implementation import Implementation
from seqlaws.law import Law
from seqlaws.result import Result


def fallen(
    law: Law, implementation: Implementation, device: str, dtype: str, death: Died, found: Result | None, command: str
) -> Result:
    """The result of a law during which the process ended; ``found`` is a failure that it had found before."""
    if death.fault:
        return Result(law.name, device, dtype, "error", message=str(death), counterexample=death.case or None)
    how = str(death)
    if found is not None:
        result = replace(found, message=f"{found.message}; while it was reduced: {how}")
    else:
        result = Result(law.name, device, dtype, "broken", message=how, counterexample=death.case or None)
        known = implementation.known_at(law.name, device, dtype)
        if known is not None:
            return replace(result, status="known", reason=known.account)
    return replace(result, card=_card(law, implementation, result, command))


def _card(law: Law, implementation: Implementation, result: Result, command: str) -> str:
    """The card of a law whose case ended the process, so that nothing could make it smaller."""
    lines = [
        f"BROKEN  {law.name}   by {implementation.name}   [{result.device}-{result.dtype}]",
        "",
        *textwrap.wrap(law.claim, WIDTH, initial_indent="  ", subsequent_indent="  "),
        *[f"      {line}" for line in law.formula.splitlines()],
        "",
        f"  {result.message}",
        "",
        f"  Drawn as: {result.counterexample or 'unknown, for it ended before the first case'}",
    ]
    if command:
        lines += [f"  Again:    {again(command, law.name, result.device, result.dtype)}"]
    return "\n".join(lines)


def must_answer(device: str) -> None:
    """End this child if its device no longer answers: after some faults CUDA fails every later call."""
    if device == "cuda":
        import torch

        try:
            torch.cuda.synchronize()
        except RuntimeError:
            raise Unfit("the device no longer answers") from None
