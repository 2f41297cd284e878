"""Nothing is asked that was not declared: an honest program that refuses what it does not claim breaks no law."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqlaws.catalogue import load_lessons, load_subject, subject_names
from seqlaws.implementation import Implementation
from seqlaws.judge import judge_laws
from seqlaws.lessons.tensors import tensors
from seqlaws.result import RED

Uses = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


def has_mask(kind: Callable[[torch.dtype], bool]) -> Uses:
    return lambda arguments, options: options.get("mask") is not None and kind(options["mask"].dtype)


def fractional(positions: Tensor) -> bool:
    return positions.is_floating_point() and bool((positions != positions.floor()).any())


GRADIENT = {"gradient": lambda a, o: any(each.requires_grad for each in tensors((a, o)))}
MASKS = {
    "bool_mask": has_mask(lambda dtype: dtype == torch.bool),
    "float_mask": has_mask(lambda dtype: dtype != torch.bool),
}
ATTENTION: dict[str, Uses] = {
    **MASKS,
    **GRADIENT,
    "causal": lambda a, o: o.get("is_causal"),
    "causal_with_mask": lambda a, o: o.get("is_causal") and o.get("mask") is not None,
    "cross_length": lambda a, o: a[0].shape[-2] != a[1].shape[-2],
    "mask_gradient": lambda a, o: o.get("mask") is not None and o["mask"].requires_grad,
}
USES: dict[str, dict[str, Uses]] = {
    "softmax": {**GRADIENT, "infinite": lambda a, o: a[0].isinf().any()},
    "attention": {
        **ATTENTION,
        "grouped_query": lambda a, o: a[0].shape[1] != a[1].shape[1],
        "value_width": lambda a, o: a[1].shape[3] != a[2].shape[3],
        "scale": lambda a, o: o.get("scale") is not None,
    },
    "multihead": ATTENTION,
    "rnn": GRADIENT,
    "lstm": GRADIENT,
    "gru": GRADIENT,
    "norm": GRADIENT,
    "sinusoidal": {
        "batched": lambda a, o: a[0].ndim > 1,
        "fractional": lambda a, o: fractional(a[0]),
        "negative": lambda a, o: (a[0] < 0).any(),
    },
    "alibi": {},
    "rotary": {
        **GRADIENT,
        "per_row": lambda a, o: a[1].ndim > 1,
        "base": lambda a, o: o.get("base", 10_000.0) != 10_000.0,
    },
    "encoder": {
        **MASKS,
        **GRADIENT,
        "pre_norm": lambda a, o: o.get("norm_first"),
        "post_norm": lambda a, o: not o.get("norm_first"),
    },
    "embedding": {**GRADIENT, "refusal": lambda a, o: a[0].numel() and (a[0].min() < 0 or a[0].max() >= len(a[1]))},
}
MANY = {"attention", "multihead", "encoder"}
"""Judged for a long time: without any capability that can be missing, and not without each by itself."""


def missing() -> Iterator[tuple[str, frozenset[str]]]:
    """Sets of capabilities to do without, for each subject whose calls show what they ask for."""
    for subject, uses in USES.items():
        if subject == "encoder":  # a block is normalised before or after
            yield from ((subject, frozenset(uses) - {kept}) for kept in ("pre_norm", "post_norm"))
        else:
            yield subject, frozenset(uses)
        if subject not in MANY:
            yield from ((subject, frozenset({each})) for each in uses)


def strict(subject: str, without: frozenset[str]) -> Implementation:
    """An honest program that raises where it is asked for something that it does not declare."""
    every = set(load_subject(subject).capabilities)
    honest = next(
        lesson.implementation
        for lesson in load_lessons(subject)
        if lesson.honest and lesson.implementation.framework == "torch" and every <= lesson.implementation.claims.can
    )

    def call(*arguments: Any, **options: Any) -> Any:
        for each in without:
            if USES[subject][each](arguments, options):
                raise RuntimeError(f"{each} was not declared")
        return honest.call(*arguments, **options)

    return replace(honest, name="strict", call=call, can=every - without)


@pytest.mark.parametrize(
    ("subject", "without"), list(missing()), ids=lambda part: part if isinstance(part, str) else "-".join(sorted(part))
)
def test_what_is_not_declared_is_not_asked(subject: str, without: frozenset[str]) -> None:
    judged = strict(subject, without)
    results = judge_laws(judged, "cpu", "float32", judged.definition.laws, profile="quick", seed=0)
    assert [f"{each.law}: {each.message}" for each in results if each.status in RED] == []


def test_every_capability_that_a_call_shows_is_asked_for_here() -> None:
    """Of encoder–decoders and tokenizers, which are objects and no calls, none does."""
    assert set(USES) == set(subject_names()) - {"seq2seq", "tokens"}
    assert {name: set(uses) for name, uses in USES.items()} == {
        name: set(load_subject(name).capabilities) for name in USES
    }
