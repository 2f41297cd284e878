"""The T × T scores of attention: how many they are, and whether anyone must keep them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.formats import FORMATS
from seqlaws.instruments import Bars, Figure, Model, Series, work
from seqlaws.instruments.memory import LENGTHS, peak_bytes, saved_bytes
from seqlaws.instruments.polynomial import Polynomial, in_t
from seqlaws.reference import attention

KERNELS = {"fused": SDPBackend.FLASH_ATTENTION, "written out": SDPBackend.MATH}
CARDS = {"4090": 24, "H100": 80, "H200": 141}
"""What is printed on the box, in GB."""
LONG = 100_000
ROWS = 128


def weights(length: int, *, heads: int = 1, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """The attention weights of one layer as torch makes them, by shape alone: on the device "meta"."""
    layer = nn.MultiheadAttention(16, heads, batch_first=True, device="meta", dtype=dtype)
    x = torch.empty(batch, length, 16, device="meta", dtype=dtype)
    given: Tensor = layer(x, x, x, average_attn_weights=False)[1]
    return given


def attend(x: Tensor) -> Tensor:
    """One head over queries, keys and values side by side, [B, T, 3d] → [B, T, d]."""
    q, k, v = x.unsqueeze(1).chunk(3, -1)
    return F.scaled_dot_product_attention(q, k, v).squeeze(1)


def attend_last(x: Tensor, rows: int = ROWS) -> Tensor:
    """The same for the last queries alone; the other rows of the result are zero."""
    q, k, v = x.unsqueeze(1).chunk(3, -1)
    last = F.scaled_dot_product_attention(q[:, :, -rows:], k, v).squeeze(1)
    return F.pad(last, (0, 0, x.shape[1] - rows, 0))


def encoder_layer() -> nn.Module:
    """An encoder layer with one head, of width 32."""
    return nn.TransformerEncoderLayer(32, 1, 128, dropout=0.0, batch_first=True)


@cache
def kept(kernel: str, layer: bool = False) -> Polynomial:
    """Bytes that training keeps for the backward pass: of one head with d = 32, or of an encoder layer."""
    model = Model.of(encoder_layer()) if layer else Model.of(attend, 96)
    with sdpa_kernel(KERNELS[kernel]):
        found = in_t({length: saved_bytes(model, length) for length in LENGTHS})
    assert found is not None
    return found


@claim("F1", HOLDS, articles="S2")
def the_scores_of_512_tokens(see: Evidence) -> None:
    """The attention matrix of 512 tokens has 262,144 entries.

    T² = 512² = 262,144

    Rule: the weights that one head of torch's multi-head attention returns are counted.
    """
    see.supports("one head, T = 512: weights", weights(512).numel(), equals=262_144)


@claim("F2", HoldsIf("the layer has one head and the batch one sequence"), articles="S2")
def the_scores_of_4096_tokens_per_layer(see: Evidence) -> None:
    """The attention matrix of 4,096 tokens has 16.8 million entries in every layer.

    B·H·T² entries in a layer of H heads, for a batch of B;  T² = 4,096² = 16,777,216

    Rule: the weights that torch's multi-head attention returns are counted, in units of 100,000.
    """
    for heads, batch in ((1, 1), (8, 1), (8, 4)):
        millions = round(weights(4096, heads=heads, batch=batch).numel() / 1e6, 1)
        case = f"H = {heads}, B = {batch}: weights of one layer, millions"
        if heads * batch == 1:
            see.supports(case, millions, equals=16.8)
        else:
            see.refutes(case, millions, above=16.8)


@claim("F3", HOLDS, articles="S2")
def the_scores_of_100000_tokens(see: Evidence) -> None:
    """The attention matrix of 100,000 tokens has ten billion entries.

    T² = (10⁵)² = 10¹⁰, for one head

    Rule: the weights that one head of torch's multi-head attention would return are counted by their shape.
    """
    see.supports("one head, T = 100,000: weights", weights(LONG).numel(), equals=10_000_000_000)


@claim("F4", Refuted("one head takes 20 GB in half precision, and no kernel must keep it"), articles="S2")
def the_scores_of_100000_tokens_fit_no_gpu(see: Evidence) -> None:
    """The attention matrix of 100,000 tokens cannot be held in the memory of a GPU.

    H·T²·(2 or 4 bytes): 20 or 40 GB for H = 1, 160 or 320 GB for H = 8; a fused kernel keeps c·T bytes

    Rule: the bytes of the weights by their shape, against the memory printed on three cards; and what a
    fused kernel keeps, a polynomial measured at six lengths. The largest card decides for eight heads.
    """
    sizes = {
        f"{heads}×{name}": weights(LONG, heads=heads, dtype=dtype).nbytes
        for heads in (1, 8)
        for name, dtype in (("fp16", torch.float16), ("fp32", torch.float32))
    }
    for name, card in (("1×fp16", "4090"), ("1×fp32", "H100")):
        see.refutes(f"heads × type = {name}: bytes, and those of a {card}", sizes[name], below=CARDS[card] * 10**9)
    see.refutes("fused kernel: bytes kept, and those of a 4090", int(kept("fused")(LONG)), below=CARDS["4090"] * 10**9)
    see.supports("heads × type = 8×fp16: bytes, and those of an H200", sizes["8×fp16"], above=CARDS["H200"] * 10**9)
    bars = {**{name: size / 1e9 for name, size in sizes.items()}, **{name: float(gb) for name, gb in CARDS.items()}}
    title = "100,000 × 100,000 weights (heads × type), and three cards"
    see.picture(Bars(title, "GB", list(bars), {"GB": list(bars.values())}))


@claim(
    "F5",
    Refuted("a fused kernel keeps bytes in proportion to T"),
    articles="S2",
    source="Milakov & Gimelshein 2018; Rabe & Staats 2021; Dao et al. 2022",
)
def attention_needs_quadratic_memory(see: Evidence) -> None:
    """Attention needs memory for a T × T matrix.

    o = Σ_j e^(s_j − m)·v_j / Σ_j e^(s_j − m) is a pair of running sums with a running m = max_j s_j;
    bytes(T + 1) − 2·bytes(T) + bytes(T − 1) = 0

    Rule: the bytes that autograd keeps are a polynomial in T, measured at six lengths: of degree 2 where
    the scores are written out, of degree 1 in a fused kernel. Its peak in inference at T = 4,096 stays
    below the bytes of one T × T matrix in half precision.
    """
    see.supports("scores written out: bytes kept for backward", kept("written out").order, equals="O(T²)")
    see.refutes("fused kernel: bytes kept for backward", kept("fused").order, equals="O(T)")
    with sdpa_kernel(KERNELS["fused"]):
        peak = peak_bytes(Model.of(attend, 96), [4096])[4096]
    see.refutes("fused kernel, T = 4,096: peak bytes", peak, below=2 * 4096**2)
    lengths = [256 * 2**i for i in range(6)]
    see.picture(
        Figure(
            "Bytes kept for backward, one head with d = 32: slopes 2 and 1",
            "sequence length T",
            "bytes",
            tuple(
                Series(f"{name}: {kept(name)}", lengths, [float(kept(name)(length)) for length in lengths])
                for name in ("written out", "fused")
            ),
            x_log=True,
            y_log=True,
        )
    )


@claim("F18", Refuted("attention over 100,000 keys, exact, in O(T) memory"), articles="S2", source="Dao et al. 2022")
def only_recurrence_is_practical_beyond_50000_tokens(see: Evidence) -> None:
    """Beyond 50,000 tokens attention is not feasible, so that recurrence may be the only way left.

    rows of o = softmax(q·Kᵀ/√d)·V do not depend on each other: T/128 calls of 128 rows give all of them

    Rule: full attention of 128 queries over 100,000 keys is run. The peak of its memory stays below the
    bytes of these 128 rows of scores, and four rows agree with the reference within its rounding bound.
    """
    model = Model.of(attend_last, 48)
    with sdpa_kernel(KERNELS["fused"]):
        peak = peak_bytes(model, [LONG])[LONG]
        x = model.inputs(1, LONG, dtype=torch.float64)
        got = attend_last(x, 4)[:, None, -4:].numpy()
    q, k, v = (each.numpy() for each in x.unsqueeze(1).chunk(3, -1))
    exact = attention.evaluate(q[:, :, -4:], k, v)
    share = abs(got - exact.out) / attention.bound(exact, FORMATS["float64"])
    see.refutes("128 queries, 100,000 keys: peak bytes", peak, below=4 * ROWS * LONG)
    see.refutes("four of the rows: largest error ÷ its bound", float(share.max()), at_most=1.0)


@claim("F20", HoldsIf("the scores are written out; without that the memory is linear"), articles="S2", picture="F5")
def transformers_take_quadratic_time_and_memory(see: Evidence) -> None:
    """Transformers take time and memory that grow with the square of the length.

    operations: 4·D·T² + 24·D²·T in an encoder layer;  bytes kept: a·T² + b·T written out, c·T fused

    Rule: the operations of an encoder layer are counted, and so are the bytes that autograd keeps of it
    with either kernel. Each is a polynomial in T; its degree decides.
    """
    see.supports("encoder layer: operations", work(encoder_layer()).order, equals="O(T²)")
    see.supports("encoder layer, scores written out: bytes kept", kept("written out", True).order, equals="O(T²)")
    see.refutes("encoder layer, fused kernel: bytes kept", kept("fused", True).order, equals="O(T)")
