"""How many steps lie between two positions."""

from __future__ import annotations

from collections import deque

from seqlaws.claim import HOLDS, Evidence, claim
from seqlaws.instruments import Figure, Series


def hops(length: int, reads: list[int]) -> int:
    """Layers or steps from the first position to the last, where position t reads t − r for every r of ``reads``."""
    seen, queue = {0: 0}, deque([0])
    while queue:
        here = queue.popleft()
        for reach in reads:
            there = here + reach
            if there < length and there not in seen:
                seen[there] = seen[here] + 1
                queue.append(there)
    return seen[length - 1]


@claim("B8", HOLDS, articles="S1", source="Vaswani et al. 2017, Table 1")
def the_path_of_a_recurrence_is_linear(see: Evidence) -> None:
    """In a recurrent network the path between two positions grows linearly with their distance.

    steps(h_1 → h_n) = n − 1

    Rule: a breadth-first search over the unrolled graph counts exactly n − 1 steps. Beside it in the
    picture: restricted attention of reach r, ⌈(n − 1)/r⌉, and full attention, 1.
    """
    lengths = [2, 8, 64, 512]
    for n in lengths:
        see.supports(f"recurrence, n = {n}", hops(n, [1]), equals=n - 1)
    see.picture(
        Figure(
            "Steps between the first and the last of n positions",
            "n",
            "steps",
            (
                Series("recurrence", lengths, [hops(n, [1]) for n in lengths]),
                Series("restricted, r = 8", lengths, [hops(n, list(range(1, 9))) for n in lengths]),
                Series("attention", lengths, [hops(n, list(range(1, n))) for n in lengths]),
            ),
            x_log=True,
            y_log=True,
        )
    )
