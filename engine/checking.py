"""Checking: whole implementations, on every device and dtype that is asked for, as one report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from seqlaws.crew import Crew, hands
from seqlaws.errors import Misunderstood
from seqlaws.formats import DTYPES
from seqlaws.guard import Limits
from seqlaws.implementation import DEVICES, Implementation
from seqlaws.law import Law
from seqlaws.result import RED, Judged, Report, Result
from seqlaws.trial import PROFILES
from seqlaws.warm import one_thread

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
    jobs: int | None = None,
) -> Report:
    """Judge one implementation by the laws of its subject.

    ``device`` is cpu, cuda or all; ``dtype`` one of its dtypes, or None for all of them; ``law`` a
    glob on full law names. One call may take ``limit`` seconds, and ``memory`` GiB (None: of half of
    what is free, what falls to each job). So many ``jobs`` judge at once (None: one for each core, but
    eight at most, and one on CUDA). Raises Misunderstood for what cannot be asked for, and if nothing is
    left to judge.
    """
    dtypes = None if dtype is None else (dtype,)
    report = judge_all(
        [implementation], device=device, dtypes=dtypes, laws=law, profile=profile, seed=seed, limit=limit,
        memory=memory, jobs=jobs,
    )  # fmt: skip
    if not report.results and not report.interrupted:
        raise Misunderstood(f"no law was judged: {'; '.join(report.notes)}")
    return report


def judge_all(
    implementations: Iterable[Implementation],
    *,
    device: str = "cpu",
    dtypes: Iterable[str] | None = None,
    laws: str | Sequence[str] = "*",
    profile: str = "default",
    seed: int = 0,
    limit: float = Limits.seconds,
    memory: float | None = None,
    jobs: int | None = None,
    fail_fast: bool = False,
    command: str | Callable[[Implementation], str] = AGAIN,
    planned: Callable[[int], None] = lambda count: None,
    heard: Callable[[Result, Judged], None] = lambda result, judged: None,
) -> Report:
    """Judge implementations, and report on one after another.

    ``laws`` is a glob on full law names, or several; ``planned`` is told how many results there will be, and
    ``heard`` of each as it comes; ``fail_fast`` ends the run with the first that is red. For the rest see `check`.

    Raises Misunderstood, with one line that names what is possible, for an unknown device, dtype,
    profile or glob, and for a device that is asked for by name but absent. What is not judged for
    another reason is in the report's notes; Ctrl-C ends the run and leaves what was found so far.
    """
    if profile not in PROFILES:
        raise Misunderstood(f"unknown profile {profile!r}; there are: {', '.join(PROFILES)}")
    if jobs is not None and jobs < 1:
        raise Misunderstood(f"{jobs} jobs judge nothing: at least 1 is needed")
    implementations = list(implementations)
    report = Report([], profile, seed)
    wanted = _dtypes(dtypes)
    devices = devices_present(device, report.notes.append)
    chosen = _laws(implementations, (laws,) if isinstance(laws, str) else laws)
    crew = Crew(
        profile, seed, Limits(limit, memory, jobs or hands(devices)), glance=fail_fast,
        command=(lambda implementation: command) if isinstance(command, str) else command, note=report.notes.append,
    )  # fmt: skip
    plan = [
        (Judged(each.name, each.subject), each, list(_places(each, devices, wanted, report.notes.append)))
        for each in implementations
        if chosen[each.subject]
    ]
    planned(sum(len(places) * len(chosen[judged.subject]) for judged, _, places in plan))
    start = time.perf_counter()
    with one_thread():
        shares = [
            share
            for judged, each, places in plan
            for place in places
            for share in crew.shares(judged, each, *place, chosen[judged.subject])
        ]
        try:
            for share, result in crew.judge(shares):
                share.judged.results.append(result)
                heard(result, share.judged)
                if fail_fast and result.status in RED:
                    break
        except KeyboardInterrupt:
            report.interrupted = True
    for share in shares:
        share.judged.seconds += share.seconds
    # what came to no result before the run was ended is not listed
    report.implementations += [judged for judged, _, places in plan if judged.results or not places]
    report.seconds = time.perf_counter() - start
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


def _dtypes(names: Iterable[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    wanted = tuple(names)
    for name in wanted:
        if name not in DTYPES:
            raise Misunderstood(f"unknown dtype {name!r}; there are: {', '.join(DTYPES)}")
    return wanted


def _laws(implementations: Sequence[Implementation], globs: Sequence[str]) -> dict[str, list[Law]]:
    """The laws that globs select, by subject; one that selects none is refused."""
    subjects = {each.subject: each.definition for each in implementations}
    for glob in globs:
        if subjects and not any(fnmatchcase(law.name, glob) for subject in subjects.values() for law in subject.laws):
            listed = " and ".join(f"'seqlaws laws {name}'" for name in subjects)
            raise Misunderstood(f"no law is called {glob!r}; {listed} lists what there is")
    return {
        name: [law for law in subject.laws if any(fnmatchcase(law.name, glob) for glob in globs)]
        for name, subject in subjects.items()
    }


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
