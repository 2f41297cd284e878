"""Whether verdicts depend on the seed: what a library breaks under many seeds.

python benchmarks/seeds.py SEEDS [PROFILE [TARGET [DTYPE ...]]]

The cases that are always tried are the same under every seed, so from the second seed on only drawn cases are
judged. Prints a line for every seed, and every verdict that differs from that of the first one; exits with 1 if
there is any.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from seqlaws.formats import DTYPES
from seqlaws.implementation import Known
from seqlaws.judge import judge_law
from seqlaws.law import Law
from seqlaws.run import Run
from seqlaws.subject import Cases
from seqlaws.targets import resolve
from seqlaws.warm import one_thread

Verdicts = dict[tuple[str, str, str], str]
SAYS_NOTHING = ("not_claimed", "vacuous")


def drawn(law: Law) -> Law:
    """The law without the cases that it always tries."""
    return replace(law, cases=Cases(lambda claims: (), law.cases.strategy))


def verdicts(place: tuple[str, str], seed: int, profile: str, whole: bool) -> Verdicts:
    """How the laws of one shipped implementation end in one dtype, each judged by itself."""
    name, dtype = place
    implementation = next(each for each in resolve(name) if each.name == name)
    run = Run(implementation, "cpu", dtype)
    found = {}
    for law in implementation.definition.laws:
        known = implementation.known_at(law.name, "cpu", dtype)
        if not whole and isinstance(known, Known):
            continue  # a stored case is replayed, whatever the seed
        result = judge_law(law if whole else drawn(law), run, profile=profile, seed=seed)
        found[name, dtype, law.name] = result.status
        if result.status == "broken":
            print(f"  seed {seed}: {name} {dtype} {law.name}: {result.message}", flush=True)
    return found


def differences(one: Verdicts, other: Verdicts) -> Iterator[str]:
    """What differs between two seeds. A law to which the few drawn cases never come is not judged there."""
    for place, status in other.items():
        if status != one[place] and status not in SAYS_NOTHING:
            yield f"{' '.join(place)}: {one[place]}, now {status}"


def main(seeds: int, profile: str = "default", target: str = "torch", *dtypes: str) -> int:
    """Judge a target under so many seeds and print what differs."""
    places = [
        (each.name, dtype)
        for each in resolve(target)
        for dtype in each.dtypes
        if "cpu" in each.devices and dtype in (dtypes or DTYPES)
    ]
    first: Verdicts = {}
    differing = 0
    with one_thread(), ProcessPoolExecutor() as pool:
        for seed in range(seeds):
            start = time.perf_counter()
            found: Verdicts = {}
            for some in pool.map(partial(verdicts, seed=seed, profile=profile, whole=not first), places):
                found |= some
            first = first or found
            changed = list(differences(first, found))
            differing += len(changed)
            counts = ", ".join(f"{number:,} {status}" for status, number in Counter(found.values()).most_common())
            print(f"seed {seed}: {counts}; {len(changed)} differ; {time.perf_counter() - start:.0f} s", flush=True)
            print("\n".join(f"  {line}" for line in changed), end="\n" * bool(changed), flush=True)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
