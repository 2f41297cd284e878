"""The command line: `seqlaws check`, `measure`, `claims`, `laws`, `explain` and `lessons`.

Exit status: 0 nothing is broken, 1 a law is broken, 2 the request could not be understood.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import seqlaws
from seqlaws.claiming import add_claims
from seqlaws.errors import Misunderstood
from seqlaws.measuring import add_measure
from seqlaws.output import STDOUT, refuse_unwritable, write
from seqlaws.terminal import Terminal

if TYPE_CHECKING:
    from seqlaws.result import Judged, Report, Result

GREEN, RED, MISUNDERSTOOD, PIPE_BROKEN, INTERRUPTED = 0, 1, 2, 141, 130


def command() -> NoReturn:
    """The command `seqlaws`."""
    status = main()
    gc.freeze()  # else Python looks through all of torch for garbage before it ends, which takes half a second
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a symbol must not end the run
    try:
        asked = _parser().parse_args(argv)
        return int(asked.run(asked))
    except Misunderstood as error:
        print(f"seqlaws: {error}", file=sys.stderr)
        return MISUNDERSTOOD
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read the output has gone; what Python still holds for them must go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_BROKEN


def _check(asked: argparse.Namespace) -> int:
    from seqlaws.warm import warm_up, without_collecting

    warm_up()
    from seqlaws.checking import judge_all
    from seqlaws.report import Live, show_report, why_nothing_was_judged
    from seqlaws.targets import resolve_all

    with _aside(asked), without_collecting():
        addressed = resolve_all(asked.targets)
    addresses = {implementation.name: address for address, implementation in addressed}
    again = _options_to_repeat(asked)
    refuse_unwritable(asked.json)
    out, err = Terminal.of(sys.stderr if asked.json == STDOUT else sys.stdout), Terminal.of(sys.stderr)
    live = Live(out, err)

    def heard(result: Result, judged: Judged) -> None:
        try:
            live.heard(result, judged)
        except BrokenPipeError:
            raise KeyboardInterrupt from None  # nobody reads on, but what was found is still to be written

    with _aside(asked), _ended_like_ctrl_c():
        report = judge_all(
            [implementation for _, implementation in addressed],
            device=asked.device,
            dtypes=asked.dtype and dict.fromkeys(asked.dtype),
            laws=asked.law or "*",
            profile=asked.profile,
            seed=asked.seed,
            limit=asked.limit,
            memory=asked.memory,
            jobs=asked.jobs,
            fail_fast=asked.x,
            command=lambda implementation: f"seqlaws check {shlex.quote(addresses[implementation.name])}{again}",
            planned=live.expect,
            heard=heard,
        )
    live.clear()
    if asked.json:
        _write_json(report, asked.json)
    if nothing := why_nothing_was_judged(report):
        raise Misunderstood(nothing)
    show_report(out, report, live.planned)
    return INTERRUPTED if report.interrupted else RED if report.red else GREEN


def _aside(asked: argparse.Namespace) -> AbstractContextManager[Any]:
    """Where the report goes to standard output, nothing else does: what targets print goes to standard error."""
    return redirect_stdout(sys.stderr) if asked.json == STDOUT else nullcontext()


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """A job scheduler may end the run: what was found is shown and written, as after Ctrl-C."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _options_to_repeat(asked: argparse.Namespace) -> str:
    """What the command that repeats one judgement must say beside the target; the card adds the law and place."""
    default = _parser().parse_args(["check", "any"])
    return "".join(
        f" --{name} {getattr(asked, name)}"
        for name in ("profile", "seed", "limit", "memory")
        if getattr(asked, name) != getattr(default, name)
    )


def _write_json(report: Report, file: str) -> None:
    write(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n", file)


def _laws(asked: argparse.Namespace) -> int:
    from seqlaws.explain import show_laws

    show_laws(Terminal.of(sys.stdout), asked.subject)
    return GREEN


def _explain(asked: argparse.Namespace) -> int:
    from seqlaws.explain import show_law

    show_law(Terminal.of(sys.stdout), asked.law)
    return GREEN


def _lessons(asked: argparse.Namespace) -> int:
    from seqlaws.explain import show_lessons

    show_lessons(Terminal.of(sys.stdout), asked.subject)
    return GREEN


class _Parser(argparse.ArgumentParser):
    """A parser that answers what it does not understand in one line."""

    def error(self, message: str) -> NoReturn:
        raise Misunderstood(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    from seqlaws.guard import Limits

    parser = _Parser(
        prog="seqlaws",
        description="Judge sequence layers by the laws that every correct one obeys.",
        epilog="Exit status: 0 nothing is broken, 1 a law is broken, 2 the request could not be understood.",
    )
    parser.add_argument("--version", action="version", version=f"seqlaws {seqlaws.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser(
        "check",
        help="judge implementations",
        description="Judge implementations by the laws of their subject.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=TARGETS,
    )
    check.set_defaults(run=_check)
    add = check.add_argument
    add("targets", nargs="+", metavar="TARGET", help="what to judge (see below)")
    add("--device", default="cpu", metavar="NAME", help="cpu, cuda or all (default: cpu)")
    add("--dtype", action="extend", type=_names, metavar="NAME", help="only these: float32,float64 (default: all)")
    add("--law", action="append", metavar="GLOB", help="only laws of such names, '*.*mask*' (may be given again)")
    add("--profile", default="default", metavar="NAME", help="how many cases to draw: quick, default or thorough")
    add("--seed", type=int, default=0, metavar="N", help="where the drawing starts (default: 0)")
    add("--json", metavar="FILE", help="write the results there too; - for standard output")
    add("-x", action="store_true", help="stop at the first broken law")
    limit = Limits.seconds
    add("--limit", type=_positive, default=limit, metavar="SECONDS", help=f"for one call (default: {limit:g})")
    add("--memory", type=_positive, metavar="GIB", help="for one call (default: half of what is free, over the jobs)")
    add("--jobs", type=int, metavar="N", help="so many judge at once (default: one a core, at most 8; one on CUDA)")

    add_measure(commands)
    add_claims(commands)
    for name, run, argument, optional, text in (
        ("laws", _laws, "subject", True, "list the laws, of one subject or of all"),
        ("explain", _explain, "law", False, "say what a law claims, why, and which lessons it catches"),
        ("lessons", _lessons, "subject", True, "list the lessons: broken implementations with one sin each"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=run)
        command.add_argument(argument, nargs="?" if optional else None, metavar=argument.upper())
    return parser


TARGETS = """A TARGET is one of
  package.module:name     an Implementation, or a list of them
  path/to/file.py:name    the same in a file
  package.module          every Implementation at the top level of a module
  path/to/file.py         the same of a file
  torch                   what ships for a library
  torch.softmax           one of those, or all whose names begin so
  lesson:subject.name     a lesson ('seqlaws lessons' lists them)

Exit status: 0 nothing is broken, 1 a law is broken, 2 the request could not be understood."""


def _names(text: str) -> list[str]:
    return text.split(",")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")


if __name__ == "__main__":
    command()
