"""Lessons of the contract: what goes wrong around a computation that is right. Every subject has them."""

from __future__ import annotations

from seqlaws.formats import FORMATS
from seqlaws.subject import Subject
from seqlaws.variants import has_twins


def takes_arrays(subject: Subject) -> bool:
    """Whether numbers go in, and decide the dtype of the result."""
    return subject.takes == "arrays"


def takes_weights(subject: Subject) -> bool:
    """Whether weights go in, as attributes of one object."""
    return ", w" in subject.signature


def has_gradients(subject: Subject) -> bool:
    """Whether there is anything to differentiate."""
    return bool(subject.differentiable)


def has_tokens(subject: Subject) -> bool:
    """Whether an array with a batch axis and tokens goes in: one of three axes or more."""
    first = next(iter(subject.cases.always(subject.claims(None, {}))))
    arrays = first.inputs(FORMATS["float32"]).arrays.values() if takes_arrays(subject) else ()
    return any(array is not None and array.ndim > 2 for array in arrays)


def has_strangers_of_one_shape(subject: Subject) -> bool:
    """Whether arrays of one shape go in, as different tensors in what every law tries; self-attention is one there."""
    return subject.name != "multihead" and has_twins(subject)


def has_small_typical_cases(subject: Subject) -> bool:
    """Whether what every law tries ends below 250; the rows of a softmax are longer."""
    return subject.name != "softmax"
