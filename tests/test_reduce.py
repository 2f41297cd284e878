"""The reducer: small, round, still broken, and never another fault than the one it was given."""

from __future__ import annotations

import numpy as np

from seqlaws.catalogue import load_subject
from seqlaws.formats import FORMATS
from seqlaws.inputs import Inputs
from seqlaws.reduce import TRIALS, reduce_inputs
from seqlaws.spec.attention import AttentionCase
from seqlaws.verdict import HOLDS, Verdict, broken, identical

attention = load_subject("attention")
EVERYTHING = attention.claims(None, {})


def start() -> Inputs:
    case = AttentionCase(9, 6, 2, 5, 70, 8, 3, mask="float", causal=True, scale=0.3, seed=4)
    return case.inputs(FORMATS["float32"])


def test_a_fault_beyond_64_keys_comes_down_to_65() -> None:
    def judge(x: Inputs) -> Verdict:
        return identical(np.array(float(x.size("K") > 64)), np.array(0.0))

    x, verdict = reduce_inputs(judge, start(), judge(start()), EVERYTHING)
    assert {letter: x.size(letter) for letter in "BHQKDV"} == {"B": 1, "H": 1, "Q": 1, "K": 65, "D": 1, "V": 1}
    assert (x.mask, x.causal, x.scale, verdict.holds) == (None, False, 1.0, False)
    assert not x.q.any()


def test_numbers_become_small_integers() -> None:
    def judge(x: Inputs) -> Verdict:
        return identical(np.array(float((x.v > 0.4).any())), np.array(0.0))

    x, _ = reduce_inputs(judge, start(), judge(start()), EVERYTHING)
    assert x.v.tolist() == [[[[1.0]]]]


def test_no_step_leads_from_a_wrong_number_to_an_exception() -> None:
    def judge(x: Inputs) -> Verdict:
        if x.size("K") < 70:
            return broken("raised RuntimeError: another fault")
        return identical(np.array(1.0), np.array(0.0))

    x, verdict = reduce_inputs(judge, start(), judge(start()), EVERYTHING)
    assert x.size("K") == 70
    assert verdict.message == ""


def test_groups_of_heads_stay_whole() -> None:
    seen: list[tuple[int, int]] = []

    def judge(x: Inputs) -> Verdict:
        seen.append((x.size("H"), x.size("G")))
        return identical(np.array(1.0), np.array(0.0))

    reduce_inputs(judge, start(), judge(start()), EVERYTHING)
    assert all(heads % groups == 0 for heads, groups in seen)


def test_it_gives_up_in_time() -> None:
    trials = 0

    def judge(x: Inputs) -> Verdict:
        nonlocal trials
        trials += 1
        return HOLDS

    x, _ = reduce_inputs(judge, start(), broken("so"), EVERYTHING)
    assert trials <= TRIALS
    assert x.size("K") == 70


def test_what_is_not_claimed_is_not_the_smallest_case() -> None:
    def judge(x: Inputs) -> Verdict:
        return broken("so")

    claims = attention.claims({"causal", "bool_mask"}, {})
    case = AttentionCase(9, 2, 2, 5, 5, 4, 4, mask="bool", seed=4)
    x, _ = reduce_inputs(judge, case.inputs(FORMATS["float32"]), broken("so"), claims)
    assert {letter: x.size(letter) for letter in "BHQKDV"} == dict.fromkeys("BHQKDV", 1)
    wide = AttentionCase(9, 2, 2, 5, 5, 4, 4, causal=True, seed=4)

    def needs_three_keys(x: Inputs) -> Verdict:
        return identical(np.array(float(x.size("K") > 2)), np.array(0.0))

    x, _ = reduce_inputs(needs_three_keys, wide.inputs(FORMATS["float32"]), needs_three_keys(start()), claims)
    assert (x.size("Q"), x.size("K"), x.size("D"), x.size("V"), x.scale) == (3, 3, 1, 1, None)
