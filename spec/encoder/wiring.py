"""The encoder block's wiring: what is left when parts of it are zero, and who reaches whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.formats import Array
from seqlaws.inputs import Inputs
from seqlaws.law import STRUCTURE, law
from seqlaws.spec.encoder import both_orders, encoder, zeroed
from seqlaws.spec.encoder.drawing import WEIGHTS, cases
from seqlaws.verdict import Output, Verdict, consistent, differs, every, identical, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run

WIRED = ("batch_entries_do_not_mix", "zeroed_sublayers_leave_the_residual")
PLAIN = cases(mask="none", fill=("normal", "grid"), gain=1.0)
SENTENCE = ("The", "student", "is", "eating", "an", "apple")
TURNED = ("an", "apple", "is", "eating", "The", "student")


@law(encoder, STRUCTURE)
def batch_entries_do_not_mix(block: Run, x: Inputs) -> Verdict:
    """A batch of n is n batches of one: what else is in the batch changes nothing.

    block(x)_b = block(x_b)

    Why: entries are different sentences. A statistic, a mask or a fold of heads that crosses them
    changes an answer with its neighbours.
    """
    if x.size("B") < 2:
        return vacuous()
    out, order = block(x), x.permutation("B")
    rows = sorted({0, x.size("B") - 1, int(x.rng("row").integers(x.size("B")))})
    alone = [consistent(block(x.take("B", [row])), out[row : row + 1]) for row in rows]
    return every(*alone, consistent(block(x.take("B", order)), out[order]))


@law(encoder, STRUCTURE, after=("batch_entries_do_not_mix",))
def zeroed_sublayers_leave_the_residual(block: Run, x: Inputs) -> Verdict:
    """With both sublayers at zero, a pre-norm block is the identity, and a post-norm one the norm of the norm.

    W_o = b_o = W_2 = b_2 = 0  ⇒  y = x (pre-norm, bit by bit),  y = norm₂(norm₁(x)) (post-norm)

    Why: it shows the residual path alone. One that starts after the norm, is missing, or is scaled,
    and a norm that stands on the wrong side, all give something else, and train.

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """
    verdicts = []
    for each in both_orders(block, zeroed(x, "W_o", "b_o", "W_2", "b_2")):
        out = block(each)
        verdicts.append(
            identical(out, each.x).called("pre-norm") if each.norm_first else within(out).called("post-norm")
        )
    return every(*verdicts)


@law(encoder, STRUCTURE, cases=PLAIN, after=WIRED)
def the_feed_forward_part_is_position_wise(block: Run, x: Inputs) -> Verdict:
    """With attention at zero, no token has any influence on another one.

    W_o = b_o = 0  ⇒  ∂y_i/∂x_j = 0 for i ≠ j, bit by bit

    Why: all exchange between tokens goes through attention and its mask. What else mixes them, a norm
    over time or a convolution, leaks the future and the padding.
    """
    if x.x.shape[1] < 2:
        return vacuous()
    apart = zeroed(x, "W_o", "b_o")
    kept = x.rng("kept tokens").random((*x.x.shape[:2], 1)) < 0.5
    other = apart.but(x=np.where(kept, x.x, 4.0 * x.noise("other tokens", x.x.shape)))
    return identical(np.where(kept, block(apart).value, 0.0), np.where(kept, block(other).value, 0.0))


@law(encoder, STRUCTURE, after=WIRED)
def tokens_carry_no_position(block: Run, x: Inputs) -> Verdict:
    """A block commutes with every permutation of its tokens, and of its mask with them.

    block(Π x, Π mask Πᵀ) = Π block(x, mask)

    Why: order enters a transformer through its positional encoding alone. Causality that is assumed,
    or a position added on the way, breaks this.
    """
    order = x.permutation("Q")
    moved = x.take("Q", order)
    if x.mask is not None and x.mask.shape[-1] > 1:
        moved = moved.take("K", order)
    return consistent(block(moved), block(x).take(order, 1))


@law(encoder, STRUCTURE, cases=PLAIN, after=(*WIRED, "tokens_carry_no_position"))
def with_positions_the_order_matters(block: Run, x: Inputs) -> Verdict:
    """With positional encodings added, "is eating" means one thing in a sentence, and another in its permutation.

    x_t = table[id_t] + PE(t):  y at "is eating" differs between "The student is eating an apple" and
    "an apple is eating The student"

    Why: it is what positional encodings are for. A block whose attention gives every token the same
    weight, or that adds tokens up before it looks at them, cannot tell who eats whom.
    """
    size = x.x.shape[2]
    table = dict(zip(SENTENCE, x.rng("table").standard_normal((len(SENTENCE), size)), strict=True))
    tokens = np.array([[table[word] for word in words] for words in (SENTENCE, TURNED)])
    out = block(x.but(x=tokens + _sinusoidal(len(SENTENCE), size)))[:, 2:4]
    allowed = out.slack[0] + out.slack[1]
    due = np.abs(out.reference[0] - out.reference[1]) > 4 * allowed
    moved = np.abs(out.value[0] - out.value[1]) > allowed
    return differs(moved * 1.0, np.zeros(moved.shape), among=due.any(axis=-1))


def _sinusoidal(length: int, size: int) -> Array:
    """PE(t, 2i) = sin(t / 10000^(2i/size)), PE(t, 2i + 1) = cos of the same."""
    channel = np.arange(size)
    angle = np.arange(length)[:, None] / 10000.0 ** (2 * (channel // 2) / size)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))


@law(encoder, STRUCTURE, cases=PLAIN, after=WIRED, examples=0.5)
def every_weight_has_influence(block: Run, x: Inputs) -> Verdict:
    """Every weight but the key bias acts on the output, and so does each end of it.

    another first, or last, row of W_q … W_2, or entry of b_q … s_2  ⇒  another output

    Why: a bias that is never added, and one norm that serves in two places, go unnoticed until
    trained weights are loaded.
    """
    if x.x.size < 60 or min(x.x.shape[1:]) < 4:  # a norm over two channels gives ±1 and nothing else
        return vacuous()
    plain, verdicts = block(x), []
    for name in WEIGHTS:
        if name == "b_k":  # it adds one number to a whole row of scores, which softmax forgets
            continue
        for place in (0, -1):
            changed = getattr(x, name).copy()
            changed[place] += 1.0 + np.abs(x.noise("other " + name, changed[place].shape))
            verdicts.append(_moves(block(x.but(**{name: changed})), plain).called(name))
    return every(*verdicts)


def _moves(other: Output, plain: Output) -> Verdict:
    """Whether two outputs differ, if the exact ones do by more than rounding: a rectifier may shut a weight out."""
    found = differs(other.value.reshape(1, -1), plain.value.reshape(1, -1))
    if found.holds or (np.abs(other.reference - plain.reference) > other.bound + plain.bound).any():
        return found
    return vacuous()
