"""Items: implementations, devices, dtypes and laws as nodes of a pytest session."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pytest

from seqlaws.bench import Bench, Trial
from seqlaws.checking import devices_present
from seqlaws.errors import Misunderstood
from seqlaws.guard import Limits
from seqlaws.implementation import Implementation
from seqlaws.law import LEVELS, Law
from seqlaws.plugin import LawTests
from seqlaws.result import Result
from seqlaws.targets import resolve_all


class Targets(pytest.Collector):
    """What --implementation names."""

    def collect(self) -> Iterator[pytest.Collector]:
        """The implementations, each under its own name."""
        try:
            resolved = resolve_all(self.config.option.implementation)
        except Misunderstood as error:
            raise self.CollectError(str(error)) from None
        for target, each in resolved:
            yield Laws.from_parent(
                self, name=each.name, nodeid=each.name, implementation=each, limits=Limits(),
                command=f"pytest --implementation {shlex.quote(target)}",
            )  # fmt: skip


class Several(pytest.Collector):
    """A list of implementations in a test file."""

    def __init__(self, *, tests: LawTests, **node: Any) -> None:
        super().__init__(**node)
        self.tests = tests

    def collect(self) -> Iterator[pytest.Collector]:
        """The implementations, each under its own name."""
        for each in self.tests.implementations:
            yield _laws(self.tests, each, self, each.name)


class Laws(pytest.Collector):
    """One implementation."""

    def __init__(self, *, implementation: Implementation, limits: Limits, command: str = "", **node: Any) -> None:
        super().__init__(**node)
        self.implementation, self.limits, self.command = implementation, limits, command

    def collect(self) -> Iterator[pytest.Item]:
        """One item per device, dtype and law; a device on which nothing is judged is one item that says so."""
        _name_markers(self.config, self.implementation)
        asked = self.config.option.law_device
        present = devices_present(asked, lambda note: None)
        for device in ("cpu", "cuda") if asked == "all" else (asked,):
            if device not in self.implementation.devices:
                yield Absent.from_parent(self, name=device, reason=f"does not declare the device {device}")
            elif device not in present:
                yield Absent.from_parent(self, name=device, reason=f"no {device} device is present")
            else:
                for dtype in self.implementation.dtypes:
                    for law in self.implementation.definition.laws:
                        name = f"{law.name}[{device}-{dtype}]"
                        # given whole, the id is read as that of a parametrised test, as --lf reads it from its cache
                        nodeid = f"{self.nodeid}::{name}"
                        yield LawItem.from_parent(self, name=name, nodeid=nodeid, law=law, device=device, dtype=dtype)


class _Item(pytest.Item):
    """What all items of an implementation have in common."""

    def __init__(self, *, parent: Laws, **node: Any) -> None:
        super().__init__(parent=parent, **node)
        self.implementation, self.limits, self.command = parent.implementation, parent.limits, parent.command
        self.add_marker("seqlaws")
        self.add_marker(self.implementation.subject)

    def reportinfo(self) -> tuple[Any, int, str]:
        """Where skips are reported, namely at the definition of the call, and the headline of a failure."""
        code = getattr(inspect.unwrap(self.implementation.call), "__code__", None)
        place = (self.path, 0) if code is None else (code.co_filename, code.co_firstlineno - 1)
        return *place, f"{self.parent.name if self.parent else ''}: {self.name}"


class Absent(_Item):
    """A device on which an implementation is not judged."""

    def __init__(self, *, reason: str, **node: Any) -> None:
        super().__init__(**node)
        self.reason = reason

    def runtest(self) -> None:
        """Say why."""
        _skip(self.reason)


class LawItem(_Item):
    """One law for one implementation at one device and dtype."""

    def __init__(self, *, law: Law, device: str, dtype: str, **node: Any) -> None:
        super().__init__(**node)
        self.law, self.device, self.dtype = law, device, dtype
        self.add_marker(LEVELS[law.level])
        if self.config.pluginmanager.hasplugin("hypothesispytest"):
            self.add_marker("hypothesis")

    @property
    def place(self) -> tuple[int, str, str]:
        """Where results of other laws say something about this one."""
        return id(self.implementation), self.device, self.dtype

    @cached_property
    def trial(self) -> Trial:
        """The law made ready to be tried, once."""
        return Trial(self.law, Bench.of(self.session).run(self), self.command)

    @property
    def obj(self) -> Any:
        """The test function, decorated with `given`: where Hypothesis's own plugin looks for it."""
        return self.trial.test

    def tried(self, how: Callable[[Trial], Result]) -> Result:
        """The result of a trial, which is not kept."""
        try:
            return how(self.trial)
        finally:
            self._forget()

    def runtest(self) -> None:
        """Judge the law, and end as pytest has it."""
        outcome = Bench.of(self.session).judge(self)
        self._forget()
        self.user_properties.append(("seqlaws", outcome.result.status))
        if outcome.blocker is not None:
            self.user_properties.append(("seqlaws_blocked_by", outcome.blocker.nodeid))
        if outcome.note:
            self.user_properties.append(("seqlaws_note", outcome.note))
        _end(self.law, outcome.result)

    def _forget(self) -> None:
        vars(self).pop("trial", None)
        # else Hypothesis's plugin would offer a patch for a test function that is in no file
        vars(self).pop("_hypothesis_failing_examples", None)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The card and nothing else."""
        if not isinstance(excinfo.value, LawFailed):
            return super().repr_failure(excinfo, style)
        shown = excinfo.getrepr(style="value")
        if shown.reprcrash is not None:
            shown.reprcrash.message = excinfo.value.line
        return shown


class LawFailed(Exception):
    """A law that is broken, or known and yet not broken, or could not be judged."""

    def __init__(self, law: Law, result: Result) -> None:
        super().__init__(result.card or "\n".join(filter(None, (result.message, result.counterexample, result.reason))))
        last = (result.message or result.status).splitlines()[-1]
        self.line = f"{last}: {law.claim}"


def _end(law: Law, result: Result) -> None:
    match result.status:
        case "holds":
            return
        case "known":
            pytest.xfail(result.reason)
        case "not_claimed":
            _skip(result.reason)
        case "blocked":
            _skip(f"blocked: {result.reason}")
        case "vacuous":
            _skip("vacuous: no drawn case reached what the law is about")
    raise LawFailed(law, result)


def _skip(reason: str) -> None:
    raise pytest.skip.Exception(reason, _use_item_location=True)


def collector_of(tests: LawTests, parent: pytest.Collector, name: str) -> pytest.Collector:
    """The node of what `tests_for` made."""
    if tests.several:
        return Several.from_parent(parent, name=name, tests=tests)
    return _laws(tests, tests.implementations[0], parent, name)


def _laws(tests: LawTests, implementation: Implementation, parent: pytest.Collector, name: str) -> Laws:
    limits = Limits(tests.limit, tests.memory)
    return Laws.from_parent(parent, name=name, implementation=implementation, limits=limits)


def _name_markers(config: pytest.Config, implementation: Implementation) -> None:
    for marker in (implementation.subject, *LEVELS):
        line = f"{marker}: set by seqlaws."
        if line not in config.getini("markers"):
            config.addinivalue_line("markers", line)
