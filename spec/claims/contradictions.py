"""Pairs of claims that cannot both hold: between two articles, and within one."""

from __future__ import annotations

from seqlaws.claim import contradiction

contradiction(
    "S3 A13",
    "S2 F11",
    "what answers each token of a stream with constant cost and constant memory is practical in real time",
)
contradiction(
    "S3 F22",
    "S2 F8",
    "work that grows with the square of the length does not suit long sequences in particular",
)
contradiction(
    "S2 F11",
    "S2 F19",
    "a network that runs with constant memory does not need memory of order T",
)
contradiction(
    "S2 A2",
    "S2 C5",
    "where gradients vanish because the network contracts, Newton's iteration computes all steps in parallel",
)
