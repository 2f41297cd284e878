"""The reducer: small, round, still broken, and never another fault than the one it was given."""

from __future__ import annotations

import numpy as np

from seqlaws.catalogue import load_subject
from seqlaws.formats import FORMATS
from seqlaws.inputs import Inputs
from seqlaws.reduce import TRIALS, reduce_inputs
from seqlaws.spec.attention import AttentionCase
from seqlaws.verdict import HOLDS, Verdict, broken, identical

load_subject("attention")


def start() -> Inputs:
    case = AttentionCase(9, 6, 2, 5, 70, 8, 3, mask="float", causal=True, scale=0.3, seed=4)
    return case.inputs(FORMATS["float32"])


def test_a_fault_beyond_64_keys_comes_down_to_65() -> None:
    def judge(x: Inputs) -> Verdict:
        return identical(np.array(float(x.size("K") > 64)), np.array(0.0))

    x, verdict = reduce_inputs(judge, start(), judge(start()))
    assert {letter: x.size(letter) for letter in "BHQKDV"} == {"B": 1, "H": 1, "Q": 1, "K": 65, "D": 1, "V": 1}
    assert (x.mask, x.causal, x.scale, verdict.holds) == (None, False, 1.0, False)
    assert not x.q.any()


def test_numbers_become_small_integers() -> None:
    def judge(x: Inputs) -> Verdict:
        return identical(np.array(float((x.v > 0.4).any())), np.array(0.0))

    x, _ = reduce_inputs(judge, start(), judge(start()))
    assert x.v.tolist() == [[[[1.0]]]]


def test_no_step_leads_from_a_wrong_number_to_an_exception() -> None:
    def judge(x: Inputs) -> Verdict:
        if x.size("K") < 70:
            return broken("raised RuntimeError: another fault")
        return identical(np.array(1.0), np.array(0.0))

    x, verdict = reduce_inputs(judge, start(), judge(start()))
    assert x.size("K") == 70
    assert verdict.message == ""


def test_groups_of_heads_stay_whole() -> None:
    seen: list[tuple[int, int]] = []

    def judge(x: Inputs) -> Verdict:
        seen.append((x.size("H"), x.size("G")))
        return identical(np.array(1.0), np.array(0.0))

    reduce_inputs(judge, start(), judge(start()))
    assert all(heads % groups == 0 for heads, groups in seen)


def test_it_gives_up_in_time() -> None:
    trials = 0

    def judge(x: Inputs) -> Verdict:
        nonlocal trials
        trials += 1
        return HOLDS

    x, _ = reduce_inputs(judge, start(), broken("so"))
    assert trials <= TRIALS
    assert x.size("K") == 70
