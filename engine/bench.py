"""Bench: where the items of a pytest session are judged, as Hypothesis tests in guarded children."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from seqlaws.blocking import blocked, dependencies, first_blocker
from seqlaws.fallen import fallen, must_answer
from seqlaws.guard import Child, Died, Line, why_unguarded
from seqlaws.judge import conclude
from seqlaws.law import Law
from seqlaws.result import Result
from seqlaws.run import Run
from seqlaws.trial import PROFILES, Tally, hypothesis_test
from seqlaws.warm import one_thread

if TYPE_CHECKING:
    from seqlaws.items import LawItem

Place = tuple[int, str, str]  # an implementation, a device and a dtype


class Trial:
    """A law made ready to be tried under the active Hypothesis profile."""

    def __init__(self, law: Law, run: Run, command: str) -> None:
        self.law, self.run, self.command = law, run, command
        self.tally, implementation = Tally(), run.implementation
        always = law.cases.always(implementation.claims)
        test: Any = hypothesis_test(law, self.run, self.tally, always)
        # what Hypothesis's plugin does for parametrised tests: an entry of its own in the example database
        key = f"{implementation.name}::{law.name}[{run.device}-{run.format.name}]"
        test.hypothesis.inner_test._hypothesis_internal_add_digest = key.encode()
        self.test: Callable[[], None] = _settings(law)(test)

    def conclude(self) -> Result:
        """Try the law in this process and say how it ended."""
        return conclude(self.law, self.run, self.tally, self.test, command=self.command)

    def conclude_in_child(self, line: Line) -> Result:
        """Try the law in a child, leaving marks on the way and telling of a failure before it is reduced."""

        def found(result: Result) -> None:
            line.say(("found", result))
            must_answer(self.run.device)

        self.run.clock.watch = line.watch
        self.tally.announce = lambda case: line.announce(self.law.name, case)
        self.tally.announce("")
        return conclude(self.law, self.run, self.tally, self.test, command=self.command, found=found)


@dataclass(frozen=True)
class Outcome:
    """A result, the item that blocked it if one did, and what must be said of the way it was judged."""

    result: Result
    blocker: LawItem | None = None
    note: str = ""


class Bench:
    """Judges the items of a session, and remembers the results, since laws depend on one another.

    Implementations run in a child that serves all items of one implementation on one device, since
    CUDA takes its time to start in a new one.
    """

    _KEY = pytest.StashKey["Bench"]()

    def __init__(self, items: list[LawItem], debugging: bool) -> None:
        self._debugging = debugging
        self._items = {item.nodeid: item for item in items}
        self._at: dict[Place, dict[str, LawItem]] = defaultdict(dict)
        for item in items:
            self._at[item.place].setdefault(item.law.name, item)
        self._results: dict[Place, dict[str, Result]] = defaultdict(dict)
        self._notes: dict[str, str] = {}
        self._child: tuple[tuple[int, str], Child] | None = None
        self._run: tuple[Place, Run] | None = None

    @classmethod
    def of(cls, session: pytest.Session) -> Bench:
        """The bench of a session, which is made for its first item and cleared when it ends."""
        from seqlaws.items import LawItem

        stash = session.config.stash
        if cls._KEY not in stash:
            debugging = session.config.getoption("usepdb") or session.config.getoption("trace")
            stash[cls._KEY] = cls([item for item in session.items if isinstance(item, LawItem)], bool(debugging))
            session.config.add_cleanup(stash[cls._KEY].end)
        return stash[cls._KEY]

    def judge(self, item: LawItem) -> Outcome:
        """Judge an item. If it is broken, and so is an item of this session on which it depends, it is blocked."""
        at, results = self._at[item.place], self._results[item.place]
        every = {law.name: law for law in item.implementation.definition.laws}
        blocker = first_blocker(item.law, every, results)
        if blocker:
            result = Result(item.law.name, item.device, item.dtype, "blocked", reason=f"{blocker} is broken")
        else:
            result = self._verdict(item, aloud=True)
            if result.status == "broken":
                blocker = self._explanation(item.law, every, at, results)
                result = blocked(result, blocker) if blocker else result
        results[item.law.name] = result
        return Outcome(result, at[blocker] if blocker else None, self._note(item.device))

    def run(self, item: LawItem) -> Run:
        """What the laws of an item's place call; of one place at a time, since it keeps what many of them try."""
        if self._run is None or self._run[0] != item.place:
            self._run = item.place, Run(item.implementation, item.device, item.dtype)
        return self._run[1]

    def end(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child[1].end()
            self._child = None

    def _explanation(
        self, broken: Law, every: Mapping[str, Law], at: dict[str, LawItem], results: dict[str, Result]
    ) -> str:
        """The first broken law on which a broken one depends, directly or through others; those not judged yet
        are judged now, quietly."""
        before = dependencies(broken, every)
        for law in every.values():
            if law.name in at and law.name in before:
                if law.name not in results:
                    results[law.name] = self._verdict(at[law.name], aloud=False)
                if results[law.name].status == "broken":
                    return law.name
        return ""

    def _verdict(self, item: LawItem, aloud: bool) -> Result:
        if self._child is not None and self._child[0] != self._where(item):
            self.end()
        with one_thread():
            if not self._debugging and not self._note(item.device):
                return self._verdict_of_child(item, _pass_on if aloud else _ignore)
            with nullcontext() if aloud else _telling(item, _ignore):
                return item.tried(Trial.conclude)

    def _verdict_of_child(self, item: LawItem, tell: Callable[[str, Any], None]) -> Result:
        heard: dict[str, Result] = {}
        try:
            for kind, message in self._child_for(item).ask(item.nodeid):
                if isinstance(message, Result):
                    heard[kind] = message
                else:
                    tell(kind, message)
        except Died as death:
            self.end()
            if "result" not in heard:
                return fallen(
                    item.law, item.implementation, item.device, item.dtype, death, heard.get("found"), item.command
                )
        return heard["result"]

    def _child_for(self, item: LawItem) -> Child:
        if self._child is None:
            self._child = self._where(item), Child(self._answer, item.limits)
        return self._child[1]

    @staticmethod
    def _where(item: LawItem) -> tuple[int, str]:
        return id(item.implementation), item.device

    def _answer(self, request: str, line: Line) -> None:
        item = self._items[request]
        with _telling(item, lambda kind, message: line.say((kind, message))):
            line.say(("result", item.tried(lambda trial: trial.conclude_in_child(line))))
        must_answer(item.device)

    def _note(self, device: str) -> str:
        # what the session has done since may keep the next child from what the last one could do
        if device not in self._notes or (self._child is None and not self._notes[device]):
            self._notes[device] = "" if self._debugging else why_unguarded(device)
        return self._notes[device]


@contextmanager
def _telling(item: Any, tell: Callable[[str, Any], None]) -> Iterator[None]:
    """Hear what Hypothesis has to tell of an item, which its plugin would hear in the process of the session."""
    from hypothesis.internal.escalation import current_pytest_item
    from hypothesis.reporting import with_reporter
    from hypothesis.statistics import collector

    hear: Any = lambda statistics: tell("statistics", statistics)  # noqa: E731 - Hypothesis types it as None
    with (
        collector.with_value(hear),
        with_reporter(lambda text: tell("text", text)),
        current_pytest_item.with_value(item),
    ):
        yield


def _pass_on(kind: str, message: Any) -> None:
    """Tell Hypothesis's plugin in this process what was heard in a child."""
    from hypothesis.reporting import report
    from hypothesis.statistics import note_statistics

    if kind == "statistics":
        note_statistics(message)
    else:
        report(message)


def _ignore(kind: str, message: Any) -> None:
    pass


def register_profiles(prefix: str) -> None:
    """Our own profiles as profiles of Hypothesis."""
    from hypothesis import Phase, settings

    for name, examples in PROFILES.items():
        # no shrinking: the reducer works on the numbers themselves, and is faster
        phases = (Phase.explicit, Phase.reuse, Phase.generate)
        settings.register_profile(prefix + name, max_examples=examples, phases=phases)


def _settings(law: Law) -> Any:
    """The active profile of Hypothesis if the user has chosen one, else our default one; and what every law needs."""
    from hypothesis import HealthCheck, Verbosity, settings

    active = settings()
    if settings.get_current_profile_name().partition("-with-")[0] in ("default", "ci"):
        register_profiles("seqlaws-")
        ours = settings.get_profile("seqlaws-default")
        active = settings(active, max_examples=ours.max_examples, phases=ours.phases)
    return settings(
        active,
        max_examples=max(1, round(active.max_examples * law.examples)),
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        # the card says it all, unless more is asked for
        verbosity=Verbosity.quiet if active.verbosity == Verbosity.normal else active.verbosity,
    )
