"""The command `seqlaws measure`: from what a person types to instruments, their results and their plots."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import seqlaws
from seqlaws.errors import Misunderstood
from seqlaws.implementation import DEVICES
from seqlaws.nearest import misunderstood
from seqlaws.output import STDOUT, refuse_unwritable, write
from seqlaws.terminal import Terminal

if TYPE_CHECKING:
    from seqlaws.instruments import Model

TABLE = "table1"
QUANTITIES = {
    "path": "how many operators lie between two positions, for every pair",
    "depth": "how many operators must follow one another",
    "work": "how many operations it takes, as an exact polynomial in T (and D)",
    "memory": "what is kept for backward, the peak of inference, and the state of a stream",
    "gradient": "how fast the gradient fades with distance",
    TABLE: 'Table 1 of "Attention Is All You Need", measured beside the published rows',
}
WIDTH = 16
PATIENCE = 2.0
ALLOWED = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.List, ast.Add, ast.Sub,
    ast.Mult, ast.FloorDiv, ast.USub,
)  # fmt: skip
EPILOG = """A TARGET is one of
  torch.nn.LSTM              a class or factory of modules, with --args 'input_size=16,hidden_size=16'
  'torch.nn.LSTM(16, 16)'    the same with its arguments; quote it for the shell
  package.module:name        a module, a class, a factory, a callable [B, T, D] → [B, T, D'], or an Implementation
  path/to/file.py:name       the same in a file
  lesson:subject.name        a lesson ('seqlaws lessons' lists them)

Arguments are literals; the name D in them stands for the width, which `work` varies:
  seqlaws measure work 'torch.nn.LSTM(D, D)'

Exit status: 0 measured, 2 the request could not be understood."""


@dataclass(frozen=True)
class Asked:
    """A target as it was typed, which builds its model for any width."""

    text: str
    build: Callable[[int], Any]
    varies: bool
    """Whether its arguments name D."""

    def model(self, width: int | None, device: str) -> Model:
        """The model at a width; what is wrong with it, in one line."""
        from seqlaws.instruments import Model

        return Model.of(self.build(width or WIDTH), width or (WIDTH if self.varies else None), device)


def add_measure(commands: Any) -> None:
    """Add the command to the parser."""
    measure = commands.add_parser(
        "measure",
        help="measure a model: path length, depth, work, memory, gradient",
        description="Measure what a model does: " + "; ".join(f"{name}: {text}" for name, text in QUANTITIES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    measure.set_defaults(run=run)
    add = measure.add_argument
    add("quantity", choices=QUANTITIES, metavar="QUANTITY", help=", ".join(QUANTITIES))
    add("targets", nargs="*", metavar="TARGET", help="what to measure (see below); several go into one plot")
    add("--args", default="", metavar="LIST", help="arguments of the class or factory: input_size=16,hidden_size=16")
    add(
        "--length",
        type=_length,
        metavar="T",
        help="the sequence length (default: 64; gradient: 100; memory: 1024)",
    )
    add("--width", type=_length, metavar="D", help="the input width (default: inferred)")
    add("--seed", type=int, default=0, metavar="N", help="from which the weights are drawn (default: 0)")
    add("--device", default="cpu", metavar="NAME", help="cpu or cuda (default: cpu)")
    add("--plot", metavar="FILE", help="write a plot there: .svg, or .png where matplotlib is installed")
    add("--json", metavar="FILE", help="write the results there too; - for standard output")


def run(asked: argparse.Namespace) -> int:
    """Measure what was asked for, show it and write it."""
    _refuse_what_is_not_used(asked)
    refuse_unwritable(asked.json)
    if asked.plot:
        from seqlaws.instruments.figure import refuse_undrawable

        refuse_undrawable(asked.plot)
    targets = [understood(text, asked.args) for text in asked.targets]
    out = Terminal.of(sys.stderr if asked.json == STDOUT else sys.stdout)
    results = []
    for measure in _measurements(asked, targets):
        result = measure()
        out.say(str(result))
        results.append(result)
    if asked.plot:
        from seqlaws.instruments import Figure

        Figure.together([result.plot() for result in results]).save(asked.plot)
    if asked.json:
        _write_json([result.to_json() for result in results], asked.json)
    return 0


def _refuse_what_is_not_used(asked: argparse.Namespace) -> None:
    """An option without effect would make a number look like the answer to another question."""
    if asked.quantity != TABLE and not asked.targets:
        raise Misunderstood(f"measure {asked.quantity}: which TARGET? (see seqlaws measure --help)")
    if asked.device not in DEVICES:
        raise Misunderstood(f"unknown device {asked.device!r}; there are: {', '.join(DEVICES)}")
    options = {"--length": asked.length, "--width": asked.width, "--args": asked.args}
    given = ["TARGET"] if asked.targets else [name for name, value in options.items() if value]
    if asked.quantity == TABLE and given:
        raise Misunderstood(f"measure {TABLE}: its rows are fixed, it takes no {given[0]} (see seqlaws measure --help)")


def _measurements(asked: argparse.Namespace, targets: list[Asked]) -> Iterator[Callable[[], Any]]:
    import torch

    from seqlaws.instruments import INSTRUMENTS, table1

    if asked.quantity == TABLE:
        yield partial(_timed, "rows of table 1", table1)
        return
    instrument = INSTRUMENTS[asked.quantity]
    settings = {"length": asked.length} if asked.length else {}
    for target in targets:

        def seeded(build: Callable[..., Any], *sizes: Any) -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(asked.seed)
                return build(*sizes)

        given: Any = partial(seeded, target.build)
        if not (asked.quantity == "work" and target.varies):
            given = seeded(target.model, asked.width, asked.device)
        elif asked.width or asked.device != "cpu":
            raise Misunderstood(f"measure work: {target.text} is made on the cpu, for several widths D: not for one")
        yield partial(_timed, f"{asked.quantity} of {target.text}", partial(instrument, given, **settings))


def understood(text: str, arguments: str = "") -> Asked:
    """A target as a builder of what is measured. Raises Misunderstood in one line."""
    place, bracket, inline = text.partition("(")
    if bracket and not inline.rstrip().endswith(")"):
        raise Misunderstood(f"{text!r} has no closing bracket")
    given = ",".join(filter(None, (inline.rstrip()[:-1].strip() if bracket else "", arguments)))
    values, named = _arguments(given)
    found = _found(place.strip())
    varies = any(_names_d(value) for value in [*values, *named.values()])

    def build(width: int) -> Any:
        def value(node: ast.expr) -> Any:
            return eval(compile(ast.Expression(node), "--args", "eval"), {"__builtins__": {}}, {"D": width})

        if not (given or bracket or _needs_nothing(found)):
            if isinstance(found, type):
                raise Misunderstood(f"{text} needs arguments: --args '{', '.join(_required(found))}'")
            return found
        try:
            return found(*map(value, values), **{name: value(node) for name, node in named.items()})
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            raise Misunderstood(f"{text} cannot be made: {type(error).__name__}: {line}"[:300]) from error

    return Asked(text, build, varies)


def _needs_nothing(found: Any) -> bool:
    """Whether this is a class or a function that makes something when called without arguments."""
    from seqlaws.implementation import Implementation

    if isinstance(found, Implementation) or not (isinstance(found, type) or inspect.isroutine(found)):
        return False
    try:
        return not _required(found)
    except ValueError:
        return False


def _required(found: Any) -> list[str]:
    parameters = inspect.signature(found).parameters.values()
    return [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def _arguments(text: str) -> tuple[list[ast.expr], dict[str, ast.expr]]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except SyntaxError:
        raise Misunderstood(f"arguments {text!r} cannot be read; write input_size=16,batch_first=True") from None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise Misunderstood(f"arguments {text!r} cannot be read; write input_size=16,batch_first=True")
    for node in [*call.args, *(each.value for each in call.keywords)]:
        for part in ast.walk(node):
            if not isinstance(part, ALLOWED) or (isinstance(part, ast.Name) and part.id != "D"):
                raise Misunderstood(f"argument {ast.unparse(node)!r} is not a literal (D stands for the width)")
    return call.args, {str(each.arg): each.value for each in call.keywords}


def _names_d(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) for part in ast.walk(node))


def _found(place: str) -> Any:
    """What a name stands for: a Python object, or an Implementation that ships."""
    from seqlaws.targets import LESSON, load_place, resolve

    if place.startswith(LESSON):
        return resolve(place)[0]
    file, colon, name = place.partition(":")
    if colon:
        module = load_place(file)
        if not hasattr(module, name):
            raise misunderstood(
                f"{file} has no {name!r}", name, [each for each in vars(module) if not each.startswith("_")]
            )
        return getattr(module, name)
    found = _dotted(place)
    if found is not None and not inspect.ismodule(found):
        return found
    try:
        implementations = resolve(place)
    except Misunderstood:
        raise Misunderstood(
            f"{place!r} names no class, factory, callable or Implementation that can be imported"
        ) from None
    if len(implementations) > 1:
        raise misunderstood(f"{place} names several implementations", place, [each.name for each in implementations])
    return implementations[0]


def _dotted(place: str) -> Any:
    parts = place.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except (ImportError, ValueError, TypeError):  # a path is not a name that can be imported
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found
    return None


def _timed(what: str, measure: Callable[[], Any]) -> Any:
    with _progress(what):
        return measure()


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """After two seconds, say what takes so long; a terminal counts on."""
    err = Terminal.of(sys.stderr)
    done = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        wait = PATIENCE
        while not done.wait(wait):
            text = f"measuring the {what} … {time.monotonic() - started:.0f} s"
            if err.interactive:
                print(f"\r{text}", end="", file=err.stream, flush=True)
            else:
                err.say(text)
            wait = 1.0 if err.interactive else 30.0
        if err.interactive and time.monotonic() - started > PATIENCE:
            print("\r\x1b[K", end="", file=err.stream, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _write_json(results: list[dict[str, Any]], file: str) -> None:
    import torch

    stored = {"schema": 1, "seqlaws": seqlaws.__version__, "torch": torch.__version__, "measured": results}
    write(json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n", file)


def _length(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
