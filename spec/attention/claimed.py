"""Which inputs an implementation of attention must accept, given what it claims."""

from __future__ import annotations

from seqlaws.inputs import Inputs
from seqlaws.subject import Claims


def masks_are_claimed(x: Inputs, claims: Claims, causal: bool = False) -> bool:
    """Whether the kind of mask is accepted, and causality, and both together."""
    needs = set[str]()
    if x.mask is not None:
        needs.add("bool_mask" if x.mask.dtype == bool else "float_mask")
    if causal:
        needs.add("causal" if x.mask is None else "causal_with_mask")
    return needs <= claims.can


def is_claimed(x: Inputs, claims: Claims) -> bool:
    """Whether sizes, masks and options are among what is accepted."""
    needs = set[str]()
    if x.size("H") != x.size("G"):
        needs.add("grouped_query")
    if x.size("Q") != x.size("K"):
        needs.add("cross_length")
    if x.size("D") != x.size("V"):
        needs.add("value_width")
    if x.scale is not None:
        needs.add("scale")
    return needs <= claims.can and masks_are_claimed(x, claims, x.causal)
