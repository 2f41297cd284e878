"""Warming up: what is done once before children are forked, so that none of them has to."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@cache
def warm_up() -> None:
    """Have Hypothesis do what it does once in a process, so that no child has to.

    It looks through all objects there are for random generators, which is quick before torch is loaded.
    """
    import numpy  # noqa: F401 - whose generator it is to find

    _draw()


@cache
def _warm_up_late() -> None:
    """The same after torch is loaded: it reads the constants in the modules of whoever is judged, to draw them too."""
    _draw()


def _draw() -> None:
    import hypothesis.internal.conjecture.providers as providers
    from hypothesis import given, settings, strategies
    from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

    # It would read ours too where they do not stand among the libraries, which takes most of a second, and what is
    # drawn would depend on how seqlaws was installed. No public setting says so: without this, it is but slower.
    seen: set[int] = getattr(providers, "_seen_modules", set())
    seen.update(id(module) for name, module in sys.modules.items() if name.partition(".")[0] == "seqlaws")

    # so many numbers that one of them surely is such a constant
    @settings(max_examples=2, database=None, derandomize=True)
    @given(strategies.lists(strategies.integers(), min_size=200))
    def nothing(_: list[int]) -> None:
        pass

    # it would leave a folder where the user stands
    home = storage_directory(intent_to_write=False).home_directory
    set_hypothesis_home_dir(os.devnull)
    nothing()
    set_hypothesis_home_dir(home)


@contextmanager
def without_collecting() -> Iterator[None]:
    """Modules are loaded without looking for garbage among them in between, which there is hardly any."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, here and in the children made here; the caller's number afterwards."""
    warm_up()
    import torch

    _warm_up_late()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()  # what there is now stays: no child needs to look through it for garbage
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(before)
