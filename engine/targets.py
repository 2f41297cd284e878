"""Targets: from what a person types to the implementations that are meant.

A target is `package.module:name`, `path/to/file.py:name`, a file or a module (every Implementation
at its top level), the name of a shipped implementation or the beginning of such names (`torch`,
`torch.softmax`), or `lesson:subject.name`. Whatever cannot be resolved is Misunderstood, in one
line that names what is possible.

Adapters that ship are files of `seqlaws.adapters`, called after their library (`torch_attention.py`
belongs to `torch`), as are their implementations (`torch.softmax`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from seqlaws.errors import Misunderstood
from seqlaws.implementation import Implementation
from seqlaws.nearest import misunderstood

LESSON = "lesson:"
Addressed = tuple[str, Implementation]
"""An implementation, and the narrowest target that names it."""


def resolve(target: str) -> list[Implementation]:
    """The implementations that a target names; never none."""
    return [each for _, each in _addressed(target)]


def shipped() -> list[Implementation]:
    """Every implementation that ships."""
    return [each for library in _libraries() for each in _shipped(library)]


def resolve_all(targets: Iterable[str]) -> list[Addressed]:
    """The implementations of several targets, each once. Names must differ, since reports go by name."""
    every: dict[str, Addressed] = {}
    for target in targets:
        for address, each in _addressed(target):
            if every.setdefault(each.name, (address, each))[1] is not each:
                raise Misunderstood(f"two different implementations are called {each.name!r}: rename one")
    return list(every.values())


def _addressed(target: str) -> list[Addressed]:
    if target.startswith(LESSON):
        return [(target, _lesson(target.removeprefix(LESSON)))]
    place, _, name = target.partition(":")
    if not place:
        raise Misunderstood(f"{target!r} names no module, file or shipped adapter")
    if ":" not in target and place.partition(".")[0] in _libraries() and not _is_path(place):
        return [(each.name, each) for each in _shipped(place)]
    module = load_place(place)
    if ":" in target:
        return [(target, each) for each in _named(module, place, name)]
    found = _at_top_level(module)
    if not found:
        raise Misunderstood(f"{place} has no Implementation at its top level; {_how_to_wrap(module)}")
    return [(f"{place}:{name}", each) for name, each in found]


def _shipped(prefix: str) -> list[Implementation]:
    library = prefix.partition(".")[0]
    every = [each for adapter in _libraries()[library] for _, each in _at_top_level(_load_module(adapter))]
    if prefix == library:
        return every
    exact = [each for each in every if each.name == prefix]
    found = exact or [each for each in every if each.name.startswith((prefix + ".", prefix + "["))]
    if not found:
        raise misunderstood(f"no shipped implementation is called {prefix!r}", prefix, [each.name for each in every])
    return found


def _libraries() -> dict[str, list[str]]:
    """The modules of the adapters that ship, by library."""
    package = importlib.import_module("seqlaws.adapters")
    libraries: dict[str, list[str]] = {}
    for each in pkgutil.iter_modules(package.__path__):
        libraries.setdefault(each.name.partition("_")[0], []).append(f"{package.__name__}.{each.name}")
    return libraries


def _lesson(name: str) -> Implementation:
    from seqlaws.catalogue import load_lessons

    lessons = {each.name: each for each in load_lessons(name.partition(".")[0])}
    if name not in lessons:
        raise misunderstood(f"no lesson is called {name!r}", name, list(lessons))
    return lessons[name].implementation


def _named(module: ModuleType, place: str, name: str) -> list[Implementation]:
    if not hasattr(module, name):
        possible = [each for each, value in vars(module).items() if _implementations(value)]
        if not possible:
            raise Misunderstood(f"{place} has no {name!r}; {_how_to_wrap(module)}")
        raise misunderstood(f"{place} has no {name!r}", name, possible)
    value = getattr(module, name)
    found = _implementations(value)
    if not found:
        wrap = f"; wrap it: Implementation(name=…, subject=…, call={name})" if callable(value) else ""
        raise Misunderstood(f"{place}:{name} is a {type(value).__name__}, not an Implementation{wrap}")
    return found


def _at_top_level(module: ModuleType) -> list[Addressed]:
    """The implementations of a module, each under the first name that it has there."""
    found: dict[int, Addressed] = {}
    for name, value in vars(module).items():
        for each in _implementations(value):
            found.setdefault(id(each), (name, each))
    return list(found.values())


def _implementations(value: Any) -> list[Implementation]:
    """A value as implementations: itself, or those of a list or tuple that holds nothing else."""
    if isinstance(value, Implementation):
        return [value]
    if type(value) in (list, tuple) and value and all(isinstance(each, Implementation) for each in value):
        return list(value)
    return []


def _how_to_wrap(module: ModuleType) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]
    return f"add one: mine = Implementation(name=…, subject=…, call={own[0] if own else '…'})"


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place or "/" in place


def load_place(place: str) -> ModuleType:
    """The module of a file or of a dotted name; Misunderstood, in one line, if there is none."""
    return _load_file(place) if _is_path(place) else _load_module(place)


def _load_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        near = [str(each) for each in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        what = f"{place} is a folder: name a file in it" if path.is_dir() else f"there is no file {place}"
        raise misunderstood(what, place, near)
    path = path.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").exists():
        name, folder = f"{folder.name}.{name}", folder.parent
    _importable_from(folder)
    return _guarded(place, lambda: _import_file(name, path))


def _import_file(name: str, path: Path) -> ModuleType:
    """The file as the module that an import statement beside it would give, if it is that module."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is not None and found.origin is not None and Path(found.origin).resolve() == path:
        return importlib.import_module(name)
    private = f"seqlaws_target:{path}"
    if private in sys.modules:
        return sys.modules[private]
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[private]
        raise
    return module


def _load_module(place: str) -> ModuleType:
    _importable_from(Path.cwd())
    return _guarded(place, lambda: _import_module(place))


def _import_module(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if not f"{place}.".startswith(f"{error.name}."):
            raise  # the module is there, and one that it imports is not
        near = [each.name for each in pkgutil.iter_modules([str(Path.cwd())])]
        raise misunderstood(
            f"no module named {error.name!r} here or installed", place, [*_libraries(), *near]
        ) from None


def _guarded(place: str, load: Callable[[], ModuleType]) -> ModuleType:
    """What a target's own code raises while it is imported, as one line."""
    try:
        return load()
    except (Misunderstood, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit and the skips of pytest included
        text = (str(error).strip().splitlines() or [""])[0]
        kind = f"it calls sys.exit({text})" if isinstance(error, SystemExit) else f"{type(error).__name__}: {text}"
        raise Misunderstood(f"cannot import {place}: {kind.removesuffix(': ')}{_where(error)}"[:300]) from error


def _where(error: BaseException) -> str:
    """The last line of the target's side: neither the import machinery nor an installed library."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ")
        and frame.filename != __file__
        and not {"site-packages", "importlib"} & set(Path(frame.filename).parts)
    ]
    return f" ({_shown(frames[-1].filename)} line {frames[-1].lineno})" if frames else ""


def _shown(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _importable_from(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
