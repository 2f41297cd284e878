"""Multi-head attention's values and gradients: what the output is, and how it answers to all that enters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqlaws.inputs import Inputs
from seqlaws.law import EDGES, GRADIENTS, VALUES, law
from seqlaws.reference import attention as reference
from seqlaws.spec.attention import masked
from seqlaws.spec.multihead import multihead, untouched, visible, written_out
from seqlaws.spec.multihead.drawing import BIASES, LARGE, LONG, MATRICES, PUNCTURED, TRAPS, besides, cases, every_size
from seqlaws.spec.multihead.weights import PLAIN, shares
from seqlaws.verdict import Verdict, differs, equals, every, finite, identical, vacuous, within

if TYPE_CHECKING:
    from seqlaws.run import Run


@law(multihead, VALUES, cases=cases(heads=1))
def one_head_without_projections_is_attention(mha: Run, x: Inputs) -> Verdict:
    """With one head, identity matrices and no biases, multi-head attention is attention.

    W_q = W_k = W_v = W_o = I, b = 0, H = 1  ⇒  mha(query, key, value) = softmax(query·keyᵀ/√E)·value

    Why: everything that multi-head attention adds to attention is taken away, so what is left over is a
    fault: a residual, a norm, a wrong scale, something between the softmax and the values.
    """
    size = x.size("E")
    bare = x.but(**{name: np.eye(size) for name in MATRICES}, **{name: np.zeros(size) for name in BIASES})
    full, wide = written_out(bare), x.format.wide
    expected = reference.attend(
        *(getattr(full, name).astype(wide)[:, None] for name in ("query", "key", "value")),
        mask=x.mask if x.mask is None or x.mask.dtype == bool else x.mask.astype(wide),
        is_causal=x.causal,
        alignment=mha.dialect["alignment"],
    )
    return equals(mha(bare), expected[:, 0])


@law(multihead, VALUES, cases=besides(cases(TRAPS + LONG, fill=("mixed", "mixed", "loud")), *LARGE, *PUNCTURED))
def agrees_with_its_definition(mha: Run, x: Inputs) -> Verdict:
    """The output is the projection of the heads side by side, each an attention of projected tokens.

    out = W_o·(o_1 ‖ … ‖ o_H) + b_o,  o_h = softmax(q_h·k_hᵀ/√d + mask)·v_h,  q = W_q·query + b_q, …

    Why: this is the equation itself, on whatever sizes, masks and weights were drawn; it is the
    backstop for every fault that all ways of asking have in common.

    Source: Vaswani et al. 2017, section 3.2.2.
    """
    return within(mha(x))


@law(multihead, VALUES, cases=every_size(), after=("agrees_with_its_definition",), examples=0.1)
def agrees_at_every_size(mha: Run, x: Inputs) -> Verdict:
    """The definition holds for every number of queries and of keys, for many heads and for wide ones.

    Tq, Tk = 1 … 9, 11, 12, 13, …, 65, 127, 128, 129, 255, 256, 513;  E = 32 … 192,  H = 12 and 16, these also
    with a mask and under causality

    Why: kernels work in tiles of tokens, of channels and of heads. Their tails lie at sizes that small
    models and powers of two do not have.
    """
    return within(mha(x))


@law(multihead, GRADIENTS, cases=PLAIN, needs=("gradient",))
def every_weight_receives_a_gradient(mha: Run, x: Inputs) -> Verdict:
    """Each weight but the key bias gets a gradient, and so does the share of each head in it.

    ∂⟨out, g⟩/∂W ≠ 0 for every W that acts, in every head

    Why: a weight that is detached, copied or re-created on the way keeps its initial value for ever,
    and the loss goes down without it.
    """
    if x.query.size < 24 or visible(x, mha.dialect).shape[3] < 4:
        return vacuous()
    acting = dict.fromkeys(name for name, _ in shares(x))
    found = mha.gradient(x, x.noise("cotangent", x.query.shape), tuple(acting))
    return every(*[
        differs(found[name].value[own].reshape(1, -1), np.zeros((1, found[name].value[own].size))).called(name)
        for name, own in shares(x)
    ])  # fmt: skip


@law(multihead, GRADIENTS, cases=cases(mask=("bool", "float"), fill=("normal", "grid")), needs=("gradient",))
def hidden_tokens_receive_no_gradient(mha: Run, x: Inputs) -> Verdict:
    """If the loss reads only queries that do not see a token, the token gets a gradient of exactly 0.

    m_ij = False for all i with g_i ≠ 0  ⇒  ∂⟨out, g⟩/∂key_j = ∂⟨out, g⟩/∂value_j = 0

    Why: what does not reach the output must not be trained by it. Gradient that arrives at padding
    moves embeddings that nobody looked at.
    """
    token = x.rng("token").integers(0, written_out(x).key.shape[1], x.size("B"))
    chosen = np.arange(written_out(x).key.shape[1]) == token[:, None]
    blind = untouched(x, mha.dialect, chosen)
    if not blind.any():
        return vacuous()
    names = tuple(name for name in ("key", "value") if getattr(x, name) is not None) or ("query",)
    found = mha.gradient(x, np.where(blind[..., None], x.noise("cotangent", x.query.shape), 0.0), names)
    return every(*[identical(found[name].value[chosen], np.zeros(x.query.shape[::2])).called(name) for name in names])


@law(multihead, GRADIENTS, cases=cases(TRAPS + LONG, fill=("normal", "grid", "faint", "strong")), needs=("gradient",))
def agrees_with_the_gradient_of_its_definition(mha: Run, x: Inputs) -> Verdict:
    """Tokens, weights, biases and an additive mask get the gradients of the definition.

    ∂⟨out, g⟩/∂W_o = gᵀ·heads,  ∂⟨out, g⟩/∂W_q = dqᵀ·query,  ∂⟨out, g⟩/∂query = dq·W_q (+ dk·W_k + dv·W_v), …

    Why: a backward pass is written, fused and tested apart from its forward pass; a model trains on
    nearly right gradients, only worse.
    """
    names = [name for name in mha.subject.differentiable if getattr(x, name) is not None]
    if x.mask is not None and x.mask.dtype != bool and mha.can("mask_gradient"):
        names.append("mask")
    found = mha.gradient(x, x.noise("cotangent", x.query.shape), tuple(names))
    return every(*[within(found[name]).called(name) for name in names])


@law(
    multihead,
    GRADIENTS,
    cases=every_size(),
    needs=("gradient",),
    after=("agrees_with_the_gradient_of_its_definition",),
    examples=0.1,
)
def agrees_with_its_gradient_at_every_size(mha: Run, x: Inputs) -> Verdict:
    """Tokens, weights and biases get the gradients of the definition at every size.

    Tq, Tk = 1 … 9, 11, 12, 13, …, 65, 127, 128, 129, 255, 256, 513;  E = 32 … 192,  H = 12 and 16, these also
    with a mask and under causality

    Why: the backward pass has tiles of its own; it sums over tokens where the forward pass sums over
    channels, and its tails lie elsewhere.
    """
    names = tuple(name for name in mha.subject.differentiable if getattr(x, name) is not None)
    found = mha.gradient(x, x.noise("cotangent", x.query.shape), names)
    return every(*[within(each).called(name) for name, each in found.items()])


@law(
    multihead,
    EDGES,
    cases=cases(mask=("bool", "float"), fill="normal", causal=(False, False, True, True)),
    needs=("gradient", "bool_mask|float_mask"),
    when={"empty_row": ("zeros",)},
    after=("an_empty_row_follows_its_dialect",),
)
def an_empty_row_has_finite_gradients(mha: Run, x: Inputs) -> Verdict:
    """A query that sees no key leaves every gradient finite, its own exactly 0.

    M_i = ∅  ⇒  ∂⟨out, g⟩/∂query_i = 0 and no gradient is NaN

    Why: a NaN that was replaced in the output is still there in the backward pass, and reaches every
    weight through the sum over tokens. Under left padding it takes causality to empty a row: the mask
    alone is searched for them in vain.
    """
    if x.key is None:
        x = x.but(key=x.query, value=x.query)
    x = _left_padded(mha, x) if x.causal else _every_third_emptied(mha, x)
    empty = ~visible(x, mha.dialect).any(axis=(1, 3))
    if not empty.any():
        return vacuous()
    names = tuple(name for name in mha.subject.differentiable if getattr(x, name) is not None)
    found = mha.gradient(x, x.noise("cotangent", x.query.shape), names)
    own = found["query"].value[empty]
    return every(
        identical(own, np.zeros(own.shape)).called("query"), *[finite(found[name]).called(name) for name in names]
    )


def _every_third_emptied(mha: Run, x: Inputs) -> Inputs:
    empty = np.arange(x.query.shape[1]) % 3 == x.seed % 3
    empty[0] |= not empty.any()
    return masked(mha, x, ~empty.reshape(-1, 1))


def _left_padded(mha: Run, x: Inputs) -> Inputs:
    """The inputs with their first keys hidden, in every entry of the batch another number of them."""
    *_, keys = seen = visible(x, mha.dialect).shape
    start = x.rng("left padding").integers(1, max(2, keys), seen[0])
    full = None if x.mask is None else np.broadcast_to(x.mask, seen).copy()
    return masked(mha, x.spelled(mask="BHQK").but(mask=full), np.arange(keys) >= start.reshape(-1, 1, 1, 1))
