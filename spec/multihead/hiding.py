"""Who sees whom in multi-head attention: hidden tokens have no influence, and visible ones have some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.multihead import multihead, replaced, untouched, visible
from seqlaws.spec.multihead.drawing import cases
from seqlaws.verdict import Verdict, differs, every, identical, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run


@law(multihead, STRUCTURE, cases=cases(mask=("bool", "float"), causal=False), needs=("bool_mask|float_mask",))
def hidden_tokens_are_inert(mha: Run, x: Inputs) -> Verdict:
    """What a hidden token holds has no influence on the output, not by a single bit.

    m_ij = False (or −∞) in every head  ⇒  ∂out_i/∂key_j = ∂out_i/∂value_j = 0

    Why: padding leaks where a mask is read the wrong way round, laid along the wrong axis, lost on
    one path, or added as a large number instead of −∞.
    """
    seen = visible(x, mha.dialect)
    query = x.rng("query").integers(0, x.query.shape[1], x.size("B"))
    hidden = ~np.any(seen[np.arange(x.size("B")), :, query], axis=1)
    if not hidden.any():
        return vacuous()
    blind = untouched(x, mha.dialect, hidden)
    return identical(mha(replaced(x, hidden)).value[blind], mha(x).value[blind])


@law(
    multihead,
    STRUCTURE,
    cases=cases(mask=("bool", "float"), causal=False, form="separate", fill="faint", gain=1.0),
    needs=("bool_mask|float_mask",),
)
def visible_tokens_have_influence(mha: Run, x: Inputs) -> Verdict:
    """Every visible token has a share in the output, the first and the last one too.

    m_ij = True in some head  ⇒  ∂out_i/∂value_j ≠ 0

    Why: a mask that hides too much passes every test of what must be hidden. Dropped tails, heads
    without their own mask, and causal masks on a memory show here.
    """
    return shows_influence(mha, x)


def shows_influence(mha: Run, x: Inputs) -> Verdict:
    """The outputs of all queries that see a token move with it: the first, the last and another one.

    Asked where the exact outputs differ by more than both may be rounded: weights and offsets can drown any token.
    """
    seen, plain, verdicts = visible(x, mha.dialect), mha(x), []
    rows, keys = np.arange(x.size("B")), seen.shape[3]
    somewhere = x.rng("visible token").integers(0, keys, x.size("B"))
    for token in (np.zeros_like(somewhere), np.full_like(somewhere, keys - 1), somewhere):
        sees = seen[rows, :, :, token].any(axis=1)
        # a value that is also a key would move the weights, down to none at all
        moved = x.value.copy()
        moved[rows, token] += 100.0
        other = mha(x.but(value=moved))
        apart = np.abs(other.reference - plain.reference) > other.bound + plain.bound
        verdicts.append(differs(other, plain, sees & apart.any(axis=-1)))
    return every(*verdicts)
