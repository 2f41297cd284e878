"""Multi-head attention as a function of a batch of sets: company, order, and which tensors are one and the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.multihead import multihead, written_out
from seqlaws.spec.multihead.drawing import cases
from seqlaws.verdict import Verdict, consistent, every, vacuous

if TYPE_CHECKING:
    from seqlaws.run import Run

OVER_A_MEMORY = cases(form=("separate", "memory"), causal=False)
AMONG_THEMSELVES = cases(form="self", causal=False)


@law(multihead, STRUCTURE)
def batch_entries_do_not_mix(mha: Run, x: Inputs) -> Verdict:
    """A batch of n is n batches of one: what else is in the batch changes nothing.

    mha(x)_b = mha(x_b)

    Why: heads are often folded into the batch axis; folded or unfolded in the wrong order, one
    entry reads another one's heads or masks.
    """
    if x.size("B") < 2:
        return vacuous()
    out, order = mha(x), x.permutation("B")
    rows = sorted({0, x.size("B") - 1, int(x.rng("row").integers(x.size("B")))})
    alone = [consistent(mha(x.take("B", [row])), out[row : row + 1]) for row in rows]
    return every(*alone, consistent(mha(x.take("B", order)), out[order]))


@law(multihead, STRUCTURE, cases=OVER_A_MEMORY, after=("batch_entries_do_not_mix",))
def queries_are_independent(mha: Run, x: Inputs) -> Verdict:
    """Permuting queries and mask rows permutes the outputs; a query asked alone gets the same answer.

    mha(Π query, key, value, Π mask) = Π mha(query, key, value, mask)

    Why: a query that meets another one has met it in a reshape, or under a softmax over the wrong axis.
    """
    if x.key is None:
        return vacuous()
    out, order = mha(x), x.permutation("Q")
    permuted = consistent(mha(x.take("Q", order)), out.take(order, 1))
    if not mha.can("cross_length"):
        return permuted
    one = int(x.rng("query").integers(x.size("Q")))
    return every(permuted, consistent(mha(x.take("Q", [one])), out[:, one : one + 1]))


@law(multihead, STRUCTURE, cases=OVER_A_MEMORY, after=("batch_entries_do_not_mix",))
def keys_and_values_form_a_set(mha: Run, x: Inputs) -> Verdict:
    """Permuting keys, values and mask columns together changes nothing.

    mha(query, Π key, Π value, mask Πᵀ) = mha(query, key, value, mask)

    Why: attention over a memory has no order. What depends on one has split heads across tokens,
    dropped a tail, or projected the values with another order than the keys.
    """
    if x.key is None:
        return vacuous()
    return consistent(mha(x.take("K", x.permutation("K"))), mha(x))


@law(multihead, STRUCTURE, cases=AMONG_THEMSELVES, after=("batch_entries_do_not_mix",))
def tokens_carry_no_position(mha: Run, x: Inputs) -> Verdict:
    """Self-attention without causality commutes with every permutation of the tokens.

    mha(Π x, Π x, Π x, Π mask Πᵀ) = Π mha(x, x, x, mask)

    Why: order enters a transformer through its positional encoding alone. Causality that is assumed
    for self-attention, or a position added on the way, breaks this.
    """
    order = x.permutation("Q")
    moved = x.take("Q", order)
    if x.mask is not None and x.mask.shape[-1] > 1:
        moved = moved.take("K", order)
    return consistent(mha(moved), mha(x).take(order, 1))


@law(multihead, STRUCTURE, cases=cases(form=("self", "memory")), after=("batch_entries_do_not_mix",))
def one_tensor_passed_twice_equals_two_copies(mha: Run, x: Inputs) -> Verdict:
    """Whether key and value are the query itself or equal tensors of their own makes no difference.

    mha(x, x, x) = mha(x, copy of x, copy of x);   mha(x, m, m) = mha(x, m, copy of m);
    mha(x, x, −x) = mha(x, copy of x, −x)

    Why: implementations ask "is it the same tensor?" to pack three projections into one product or to
    take a fused path, and then compute something else.
    """
    verdicts = [consistent(mha(x), mha(written_out(x)))]
    if x.key is None:  # the query is the key, and the value is another tensor
        apart = x.but(value=-x.query)
        verdicts.append(consistent(mha(apart), mha(written_out(apart))).called("the query as key alone"))
    return every(*verdicts)
