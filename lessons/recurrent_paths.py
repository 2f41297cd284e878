"""Lessons that every recurrent layer has: two ways to run it, of which one is honest.

Each receives an honest layer, ``call(x, state, w) -> (hs, last)``, as in `recurrent`, and returns the other way.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqlaws.lesson import Call, lesson_everywhere
from seqlaws.lessons.recurrent import in_blocks, step_by_step
from seqlaws.lessons.tensors import changed


@lesson_everywhere("nasty", caught_by=("agrees_on_all_paths_over_many_steps",), as_path=True)
def its_other_path_starts_anew_after_sixty_four_steps(call: Call) -> Call:
    """One way to run the layer clears the state after every 64 steps; the other does not.

    It works in blocks to save memory, and nobody ran both on anything longer than a block.
    """
    return in_blocks(call, 64)


@lesson_everywhere("nasty", caught_by=("agrees_on_all_paths_over_many_steps",), as_path=True)
def its_other_path_detaches_the_state_every_thirty_two_steps(call: Call) -> Call:
    """One way to run the layer detaches the state before every 32nd step; the other does not.

    Recomputing block by block was to save memory alone. All values agree.
    """

    def cut(t: int, state: Any) -> Any:
        return changed(Tensor.detach, state) if t and t % 32 == 0 else state

    def broken(x: Tensor, state: Any, w: Any) -> Any:
        return step_by_step(call, x, state, w, cut, lambda old, new: new) if x.shape[1] else call(x, state, w)

    return broken
