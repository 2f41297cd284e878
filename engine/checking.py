"""Checking: whole implementations, on every device and dtype that is asked for, as one report."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from seqlaws.card import WIDTH, again
from seqlaws.errors import Misunderstood
from seqlaws.formats import DTYPES
from seqlaws.guard import Child, Died, Limits, Line, Unfit, one_thread, why_unguarded
from seqlaws.implementation import DEVICES, Implementation
from seqlaws.judge import judge_laws
from seqlaws.law import Law
from seqlaws.result import RED, Judged, Report, Result
from seqlaws.trial import PROFILES

AGAIN = "seqlaws check TARGET"


def check(
    implementation: Implementation,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    profile: str = "default",
    seed: int = 0,
    law: str = "*",
    limit: float = Limits.seconds,
    memory: float | None = None,
) -> Report:
    """Judge one implementation by the laws of its subject.

    ``device`` is cpu, cuda or all; ``dtype`` one of its dtypes, or None for all of them; ``law`` a
    glob on full law names. One call may take ``limit`` seconds, and ``memory`` GiB (None: half of
    what is free). Raises Misunderstood for what cannot be asked for, and if nothing is left to judge.
    """
    dtypes = None if dtype is None else (dtype,)
    report = judge_all(
        [implementation], device=device, dtypes=dtypes, laws=law, profile=profile, seed=seed, limit=limit, memory=memory
    )
    if not report.results and not report.interrupted:
        raise Misunderstood(f"no law was judged: {'; '.join(report.notes)}")
    return report


def judge_all(
    implementations: Iterable[Implementation],
    *,
    device: str = "cpu",
    dtypes: Iterable[str] | None = None,
    laws: str = "*",
    profile: str = "default",
    seed: int = 0,
    limit: float = Limits.seconds,
    memory: float | None = None,
    fail_fast: bool = False,
    command: str | Callable[[Implementation], str] = AGAIN,
    planned: Callable[[int], None] = lambda count: None,
    heard: Callable[[Result, Judged], None] = lambda result, judged: None,
) -> Report:
    """Judge implementations one after another.

    ``planned`` is told how many results there will be, and ``heard`` of each as it comes.

    Raises Misunderstood, with one line that names what is possible, for an unknown device, dtype,
    profile or glob, and for a device that is asked for by name but absent. What is not judged for
    another reason is in the report's notes; Ctrl-C ends the run and leaves what was found so far.
    """
    if profile not in PROFILES:
        raise Misunderstood(f"unknown profile {profile!r}; there are: {', '.join(PROFILES)}")
    implementations = list(implementations)
    report = Report([], profile, seed)
    wanted = _dtypes(dtypes)
    devices = devices_present(device, report.notes.append)
    chosen = _laws(implementations, laws)
    bench = _Bench(profile, seed, Limits(limit, memory), report.notes, glance=fail_fast)
    plan = [
        (implementation, list(_places(implementation, devices, wanted, report.notes.append)))
        for implementation in implementations
        if chosen[implementation.subject]
    ]
    planned(sum(len(places) * len(chosen[implementation.subject]) for implementation, places in plan))
    try:
        with one_thread(several=sum(len(places) for _, places in plan) > 1):
            for implementation, places in plan:
                start = time.perf_counter()
                judged = Judged(implementation.name, implementation.subject)
                report.implementations.append(judged)
                repeat = command if isinstance(command, str) else command(implementation)
                for place, dtype in places:
                    for result in bench.judge(implementation, place, dtype, chosen[implementation.subject], repeat):
                        judged.results.append(result)
                        judged.seconds = time.perf_counter() - start
                        heard(result, judged)
                        if fail_fast and result.status in RED:
                            return report
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def devices_present(device: str, note: Callable[[str], None]) -> list[str]:
    """The devices that a request means and that are here; an absent one is noted, or refused if asked for by name."""
    if device not in (*DEVICES, "all"):
        raise Misunderstood(f"unknown device {device!r}; there are: {', '.join(DEVICES)}, all")
    if device == "cpu":
        return ["cpu"]
    # asking NVIDIA's management library leaves this process free to fork; asking CUDA itself would not
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    if torch.cuda.is_available():
        return list(DEVICES) if device == "all" else ["cuda"]
    if device == "cuda":
        raise Misunderstood("no CUDA device is present; there is: cpu")
    note("cuda: not judged, no such device is present")
    return ["cpu"]


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


@dataclass
class _Bench:
    """Where laws are judged: in a child of this process, or in this process where there can be none."""

    profile: str
    seed: int
    limits: Limits
    notes: list[str]
    glance: bool

    def __post_init__(self) -> None:
        self._unguarded: dict[str, str] = {}

    def judge(
        self, implementation: Implementation, device: str, dtype: str, laws: Sequence[Law], command: str
    ) -> Iterator[Result]:
        """Judge laws in order; where the child dies, another goes on with the law after."""
        if self._guarded(device):
            return self._in_children(implementation, device, dtype, laws, command)
        return judge_laws(
            implementation, device, dtype, laws,
            profile=self.profile, seed=self.seed, glance=self.glance, command=command,
        )  # fmt: skip

    def _guarded(self, device: str) -> bool:
        if device not in self._unguarded:
            self._unguarded[device] = why_unguarded(device)
            self.notes += filter(None, [self._unguarded[device]])
        return not self._unguarded[device]

    def _in_children(
        self, implementation: Implementation, device: str, dtype: str, laws: Sequence[Law], command: str
    ) -> Iterator[Result]:
        from hypothesis.configuration import set_hypothesis_home_dir

        done: dict[str, Result] = {}

        def answer(request: object, line: Line) -> None:
            def found(result: Result) -> None:
                line.say((False, result))
                must_answer(device)

            # Hypothesis would leave a folder where the user stands; nothing of this child is worth keeping
            set_hypothesis_home_dir(os.devnull)
            left = [law for law in laws if law.name not in done]
            for result in judge_laws(
                implementation, device, dtype, left, profile=self.profile, seed=self.seed, glance=self.glance,
                command=command, done=done, announce=line.announce, found=found, watch=line.watch,
            ):  # fmt: skip
                line.say((True, result))
                must_answer(device)

        while left := [law for law in laws if law.name not in done]:
            found: Result | None = None
            since = time.perf_counter()
            with Child(answer, self.limits) as child:
                try:
                    for final, result in child.ask(None):
                        found = None if final else result
                        if final:
                            done[result.law] = result
                            yield result
                            since = time.perf_counter()
                except Died as death:
                    if death.law in done:
                        continue  # it ended after a result, since its device no longer answered
                    law = next((each for each in left if each.name == death.law), left[0])
                    result = fallen(law, implementation, device, dtype, death, found, command)
                    done[law.name] = replace(result, seconds=time.perf_counter() - since)
                    yield done[law.name]


def must_answer(device: str) -> None:
    """End this child if its device no longer answers: after some faults CUDA fails every later call."""
    if device == "cuda":
        import torch

        try:
            torch.cuda.synchronize()
        except RuntimeError:
            raise Unfit("the device no longer answers") from None


def _dtypes(names: Iterable[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    wanted = tuple(names)
    for name in wanted:
        if name not in DTYPES:
            raise Misunderstood(f"unknown dtype {name!r}; there are: {', '.join(DTYPES)}")
    return wanted


def _laws(implementations: Sequence[Implementation], glob: str) -> dict[str, list[Law]]:
    """The laws that a glob selects, by subject; none at all is refused."""
    subjects = {each.subject: each.definition for each in implementations}
    chosen = {name: [law for law in subject.laws if fnmatchcase(law.name, glob)] for name, subject in subjects.items()}
    if subjects and not any(chosen.values()):
        listed = " and ".join(f"'seqlaws laws {name}'" for name in subjects)
        raise Misunderstood(f"no law is called {glob!r}; {listed} lists what there is")
    return chosen


def _places(
    implementation: Implementation, devices: Sequence[str], dtypes: Sequence[str] | None, note: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """The devices and dtypes at which to judge; those asked for that it does not declare are noted."""
    for kind, asked, declared in (
        ("device", devices, implementation.devices),
        ("dtype", dtypes or implementation.dtypes, implementation.dtypes),
    ):
        for name in asked:
            if name not in declared:
                note(f"{implementation.name}: not judged in {kind} {name}, which it does not declare")
    for device in devices:
        for dtype in dtypes or implementation.dtypes:
            if device in implementation.devices and dtype in implementation.dtypes:
                yield device, dtype
