"""Crew: children that judge side by side, each some laws of one implementation.

What a law finds must not depend on how many children there are, nor on which of them is quicker, for a program may
keep something between calls. So laws are dealt out in fixed shares, and a share is judged in its order by one child.
What it finds while laws before it are still being judged counts only if none of these explains it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from itertools import groupby
from math import ceil
from multiprocessing.connection import wait

from hypothesis.configuration import set_hypothesis_home_dir

from seqlaws.blocking import first_blocker
from seqlaws.fallen import fallen, must_answer
from seqlaws.guard import LOOK, Child, Died, Limits, Line, interrupts_later, why_unguarded
from seqlaws.implementation import Implementation
from seqlaws.judge import judge_laws
from seqlaws.law import Law
from seqlaws.result import Judged, Result

MOST = 8
"""So many children work at once at most, unless more are asked for."""
LARGEST_SHARE = 12
"""So many laws one child judges at most: the last child at work leaves the others idle."""


def hands(devices: Sequence[str]) -> int:
    """How many children may work at once: one for each core, but one in all where they would share a CUDA device."""
    if "cuda" in devices:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST)


@dataclass
class Share:
    """Some laws of one implementation at one device and dtype, judged in their order by one child.

    ``found`` holds what it has found, in that order, and ``told`` what has been told of all laws at this
    device and dtype: shares of one place have it in common. ``seconds`` is the time spent.
    """

    judged: Judged
    implementation: Implementation
    device: str
    dtype: str
    laws: Sequence[Law]
    told: dict[str, Result]
    found: dict[str, Result] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def left(self) -> list[Law]:
        """The laws that have not been judged."""
        return [law for law in self.laws if law.name not in self.found]

    @property
    def has_come_to_nothing(self) -> bool:
        """Whether laws that have been told of block all that is left."""
        return all(first_blocker(law, self._every, self.told) for law in self.left)

    def give_up(self) -> None:
        """What is left is blocked by laws that have been told of."""
        for law in self.left:
            self.found[law.name] = self._blocked(law, first_blocker(law, self._every, self.told))

    def news(self) -> Iterator[tuple[Share, Result]]:
        """What has been found and not been told; what a law told before explains is blocked."""
        for name in [name for name in self.found if name not in self.told]:
            blocker = first_blocker(self._every[name], self._every, self.told)
            self.told[name] = self._blocked(self._every[name], blocker) if blocker else self.found[name]
            yield self, self.told[name]

    def _blocked(self, law: Law, blocker: str) -> Result:
        return Result(law.name, self.device, self.dtype, "blocked", reason=f"{blocker} is broken")

    @cached_property
    def _every(self) -> dict[str, Law]:
        return {law.name: law for law in self.implementation.definition.laws}


@dataclass
class Crew:
    """Judges the laws of implementations in children, or in this process where there can be none."""

    profile: str
    seed: int
    limits: Limits
    glance: bool
    command: Callable[[Implementation], str]
    note: Callable[[str], None]
    _unguarded: dict[str, str] = field(default_factory=dict)

    def shares(
        self, judged: Judged, implementation: Implementation, device: str, dtype: str, laws: Sequence[Law]
    ) -> Iterator[Share]:
        """The laws of one level are a share, or several of at most so many laws; all of them are one where each child
        would have to start CUDA anew, and where a glance at all comes first."""
        told: dict[str, Result] = {}
        whole = device == "cuda" or self.glance
        for _, some in groupby(laws, key=lambda law: 0 if whole else law.level):
            of_level = list(some)
            size = len(of_level) if whole else ceil(len(of_level) / ceil(len(of_level) / LARGEST_SHARE))
            for start in range(0, len(of_level), size):
                yield Share(judged, implementation, device, dtype, of_level[start : start + size], told)

    def judge(self, shares: Sequence[Share]) -> Iterator[tuple[Share, Result]]:
        """Results, share by share; before an interrupt goes on its way, those that had been found by then."""
        waiting = [share for share in shares if self._guarded(share.device)]
        working: list[_Worker] = []
        try:
            for share in shares:
                if not self._guarded(share.device):
                    yield from self._judged_here(share)
                while share.left:
                    yield from share.news()
                    if share.has_come_to_nothing:
                        share.give_up()
                    else:
                        self._go_on(waiting, working)
                yield from share.news()
        except KeyboardInterrupt:
            for share in shares:
                yield from share.news()
            raise
        finally:
            with interrupts_later():  # a second one would leave the others
                for worker in working:
                    worker.child.end()

    def answer(self, share: Share, line: Line) -> None:
        """Judge what is left of a share in a child."""

        def say(kind: str, result: Result) -> None:
            line.say((kind, result))
            must_answer(share.device)

        # Hypothesis would leave a folder where the user stands; nothing of this child is worth keeping
        set_hypothesis_home_dir(os.devnull)
        before = set(sys.modules)
        for result in judge_laws(
            share.implementation, share.device, share.dtype, share.left, profile=self.profile, seed=self.seed,
            glance=self.glance, command=self.command(share.implementation), done=share.found,
            announce=line.announce, found=partial(say, "found"), watch=line.watch,
        ):  # fmt: skip
            say("judged", result)
            if loaded := {name for name in sys.modules if name.startswith("torch.")} - before:
                line.say(("loaded", loaded))
                before |= loaded

    def _judged_here(self, share: Share) -> Iterator[tuple[Share, Result]]:
        start = time.perf_counter()
        for result in judge_laws(
            share.implementation, share.device, share.dtype, share.laws, profile=self.profile, seed=self.seed,
            glance=self.glance, command=self.command(share.implementation), done=share.told,
        ):  # fmt: skip
            share.seconds = time.perf_counter() - start
            share.found[result.law] = result
            yield from share.news()

    def _go_on(self, waiting: list[Share], working: list[_Worker]) -> None:
        """Give work to whoever has none, and hear what there is to hear."""
        for worker in list(working):
            if worker.share.has_come_to_nothing:
                worker.child.end()
                working.remove(worker)
        while waiting and len(working) < self.limits.at_once:
            share = waiting.pop(0)
            if not share.has_come_to_nothing:
                with interrupts_later():
                    working.append(_Worker(share, self))
        wait([worker.child.connection for worker in working], LOOK)
        for worker in working:
            worker.listen()

    def _guarded(self, device: str) -> bool:
        if device not in self._unguarded:
            self._unguarded[device] = why_unguarded(device)
            if self._unguarded[device]:
                self.note(self._unguarded[device])
        return not self._unguarded[device]


class _Worker:
    """A share and the child that judges it; where that dies, another goes on with the law after."""

    def __init__(self, share: Share, crew: Crew) -> None:
        self.share, self._crew = share, crew
        self._found: Result | None = None
        self._since = time.perf_counter()
        self.child = self._begin()

    def listen(self) -> None:
        """Take note of all that the child has to say."""
        try:
            while (said := self.child.word(0)) is not None:
                kind, message = said
                if kind == "loaded":
                    _load(message)
                elif kind == "found":
                    self._found = message
                else:
                    self._found = None
                    self._note(message)
        except Died as death:
            self.child.end()
            # or it ended after a result, since its device no longer answered
            if death.law not in self.share.found:
                self._note(self._fallen(death))
            if self.share.left:
                with interrupts_later():
                    self.child = self._begin()

    def _begin(self) -> Child:
        self._found = None
        child = Child(lambda request, line: self._crew.answer(self.share, line), self._crew.limits)
        child.begin(None)
        return child

    def _note(self, result: Result) -> None:
        now = time.perf_counter()
        self.share.seconds += now - self._since
        self._since = now
        self.share.found[result.law] = result

    def _fallen(self, death: Died) -> Result:
        share = self.share
        law = next((each for each in share.left if each.name == death.law), share.left[0])
        command = self._crew.command(share.implementation)
        result = fallen(law, share.implementation, share.device, share.dtype, death, self._found, command)
        return replace(result, seconds=time.perf_counter() - self._since)


def _load(names: set[str]) -> None:
    """Load what a child had to load of torch, which may take half a second, so that the next ones find it loaded."""
    for name in names - set(sys.modules):
        with suppress(Exception):  # what can be loaded in a child alone stays there
            import_module(name)
