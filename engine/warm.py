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
    from hypothesis import given, settings, strategies
    from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

    @settings(max_examples=1, database=None, derandomize=True)
    @given(strategies.integers())
    def nothing(_: int) -> None:
        pass

    draw_no_constants()
    # it would leave a folder where the user stands
    home = storage_directory(intent_to_write=False).home_directory
    set_hypothesis_home_dir(os.devnull)
    nothing()
    set_hypothesis_home_dir(home)


def draw_no_constants() -> None:
    """What is drawn depends on the seed alone, not on which modules are loaded.

    Now and then Hypothesis draws a number that stands in a module outside of the libraries, ours among them if they
    are installed for editing; and to read them takes most of a second. No public setting says that it should not.
    """
    import hypothesis.internal.conjecture.providers as providers

    seen: set[int] = getattr(providers, "_seen_modules", set())
    seen.update(map(id, list(sys.modules.values())))


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

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()  # what there is now stays: no child needs to look through it for garbage
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(before)
