"""Lessons of the contract: what goes wrong around a computation that is right. Every subject has them."""

from __future__ import annotations

from seqlaws.subject import Subject


def takes_arrays(subject: Subject) -> bool:
    """Whether numbers go in, and decide the dtype of the result."""
    return subject.takes == "arrays"


def takes_weights(subject: Subject) -> bool:
    """Whether weights go in, as attributes of one object."""
    return ", w" in subject.signature


def has_gradients(subject: Subject) -> bool:
    """Whether there is anything to differentiate."""
    return bool(subject.differentiable)


def has_small_typical_cases(subject: Subject) -> bool:
    """Whether what every law tries ends below 250; the rows of a softmax are longer."""
    return subject.name != "softmax"
