"""The pytest door: every law is a test item, in an existing suite or without one.

    pytest --implementation my.module:mine

    test_mine = seqlaws.tests_for(mine)    # in any test file

A session that uses neither pays nothing: all but the hooks stands in `seqlaws.items` and
`seqlaws.bench`, which are loaded with the first implementation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from seqlaws.implementation import Implementation

PROFILE = "seqlaws-"  # what the names of our Hypothesis profiles begin with


@dataclass(frozen=True)
class LawTests:
    """What `tests_for` returns, and what the plugin collects wherever a test file holds it."""

    implementations: tuple[Implementation, ...]
    several: bool
    limit: float
    memory: float | None


def tests_for(
    implementations: Implementation | Iterable[Implementation], *, limit: float = 30.0, memory: float | None = None
) -> LawTests:
    """All laws of one or several implementations, as pytest items: ``test_mine = seqlaws.tests_for(mine)``.

    One call may take ``limit`` seconds, and ``memory`` GiB (None: half of what is free).
    """
    from seqlaws.errors import Misunderstood
    from seqlaws.implementation import Implementation

    several = isinstance(implementations, Iterable)
    made = tuple(implementations) if isinstance(implementations, Iterable) else (implementations,)
    for each in made:
        if not isinstance(each, Implementation):
            raise Misunderstood(f"tests_for takes Implementations, not a {type(each).__name__}: wrap it in one")
    if len({each.name for each in made}) < max(1, len(made)):
        raise Misunderstood("tests_for takes at least one Implementation, and no two of the same name")
    return LawTests(made, several, limit, memory)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for what is judged, and where; how is for pytest's own options and Hypothesis's."""
    group = parser.getgroup("seqlaws", "laws of sequence layers")
    group.addoption(
        "--implementation",
        action="append",
        default=[],
        metavar="TARGET",
        help="judge an implementation: package.module:name, path/to/file.py:name, a module or file, "
        "or a shipped one such as torch.softmax (may be given several times)",
    )
    _add_device(group, "--law-device")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Offer --device too, unless a conftest file or another plugin has an option of that name."""
    result = yield
    with suppress(pytest.UsageError):  # the complaint of an option that is there, and lacks its value
        _, unknown = parser.parse_known_and_unknown_args(["--device"])
        if unknown:
            _add_device(parser.getgroup("seqlaws"), "--device")
    return result


def _add_device(group: Any, name: str) -> None:
    group.addoption(
        name, dest="law_device", default="cpu", choices=("cpu", "cuda", "all"), help="where to judge implementations"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse an absent device, register our profiles if one is asked for, and leave out the test files
    where an implementation is named and no file is."""
    config.addinivalue_line("markers", "seqlaws: a law of a sequence layer; it also bears its subject and its level.")
    config.pluginmanager.register(_Verdicts(), "seqlaws-verdicts")
    if config.option.law_device != "cpu":
        _refuse_absent(config.option.law_device)
    if (config.getoption("--hypothesis-profile", None) or "").startswith(PROFILE):
        from seqlaws.bench import register_profiles

        register_profiles(PROFILE)
    if config.option.implementation and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


def _refuse_absent(device: str) -> None:
    from seqlaws.checking import devices_present
    from seqlaws.errors import Misunderstood

    try:
        devices_present(device, lambda note: None)
    except Misunderstood as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Collect what --implementation names, before any file."""
    report = yield
    if isinstance(collector, pytest.Session) and collector.config.option.implementation and report.passed:
        from seqlaws.items import Targets

        report.result = [
            Targets.from_parent(collector, name="--implementation", nodeid="--implementation"),
            *report.result,
        ]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> Any:
    """Collect what `tests_for` made; `tests_for` itself is no test, although its name begins like one."""
    if obj is tests_for:
        return []
    if not isinstance(obj, LawTests):
        return None
    from seqlaws.items import collector_of

    return collector_of(obj, collector, name)


class _Verdicts:
    """The verdicts of a session, as the reports bring them: from this process or from workers."""

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.blockers: set[str] = set()
        self.notes: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how an item ended."""
        if report.when != "call":
            return
        properties = {str(name): str(value) for name, value in report.user_properties}
        if "seqlaws" in properties:
            self.statuses[report.nodeid] = properties["seqlaws"]
            self.blockers |= {properties[name] for name in properties if name == "seqlaws_blocked_by"}
            self.notes |= {properties[name] for name in properties if name == "seqlaws_note"}

    @property
    def unexplained(self) -> list[str]:
        """Items that blocked others, and yet held when their own turn came, if it came."""
        return sorted(name for name in self.blockers if self.statuses.get(name, "broken") not in ("broken", "blocked"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A law that was broken when another asked, and held when judged, must not go unseen."""
        if self.unexplained and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """A few lines: how many laws ended how, out of how many."""
        if not self.statuses:
            return
        from seqlaws.result import RED, STATUSES

        counts = Counter(self.statuses.values())
        terminalreporter.write_sep("=", "seqlaws")
        for status in STATUSES:
            if counts[status]:
                line = f"{status.replace('_', ' '):<16}{counts[status]:>6} of {len(self.statuses)}"
                terminalreporter.write_line(line, red=status in RED)
        for name in self.unexplained:
            line = f"{name} was found broken when another law asked, and held when judged: run it again"
            terminalreporter.write_line(line, red=True)
        for note in sorted(self.notes):
            terminalreporter.write_line(note)
