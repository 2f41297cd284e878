"""What an encoder is made of, and what it can be used for."""

from __future__ import annotations

import torch
from torch import nn

from seqlaws.claim import HOLDS, Evidence, HoldsIf, Refuted, claim
from seqlaws.instruments import path_length, sequential_depth
from seqlaws.spec.claims.connections import WIDTH, Encoder, influence


@claim("H9", HoldsIf("identical means of one architecture; each block has weights of its own"), articles="S3",
       source="Vaswani et al. 2017, section 3.1")  # fmt: skip
def the_encoder_consists_of_identical_blocks(see: Evidence) -> None:
    """The encoder consists of several identical blocks.

    The same names and shapes of parameters in every block; L times the parameters of one, as none is shared

    Rule: the parameters of nn.TransformerEncoder with three blocks are counted and compared. As built, the
    blocks are copies, equal in every bit; after one gradient step no matrix of one equals that of another.
    """
    block = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    encoder = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)
    first, second, third = (dict(layer.named_parameters()) for layer in encoder.layers)
    shapes = {name: tuple(each.shape) for name, each in first.items()}
    for name, other in (("second", second), ("third", third)):
        alike = {name: tuple(each.shape) for name, each in other.items()} == shapes
        see.supports(f"first and {name} block: the same names and shapes", alike, equals=True)
    total, one = (sum(each.numel() for each in part.parameters()) for part in (encoder, block))
    see.refutes("parameters of three blocks, none shared", total, equals=3 * one)
    matrices = [name for name, each in first.items() if each.dim() > 1]

    def equal() -> int:
        return sum(torch.equal(first[name], second[name]) for name in matrices)

    see.supports("first and second block as built: equal matrices of four", equal(), equals=len(matrices))
    weights = list(encoder.parameters())
    slopes = torch.autograd.grad(encoder(torch.randn(2, 5, 8)).pow(3).sum(), weights)
    with torch.no_grad():
        for each, slope in zip(weights, slopes, strict=True):
            each.sub_(0.1 * slope)
    see.refutes("first and second block after one step: equal matrices of four", equal(), equals=0)


@claim("H10", HOLDS, articles="S3", source="Vaswani et al. 2017, section 3.1")
def the_original_encoder_has_six_blocks(see: Evidence) -> None:
    """The encoder of the original Transformer has six blocks, a number that can be changed.

    L = 6 in encoder and decoder

    Rule: the blocks of nn.Transformer are counted, as it is built without arguments, and with another number.
    """
    original = nn.Transformer(batch_first=True, device="meta")
    other = nn.Transformer(num_encoder_layers=9, batch_first=True, device="meta")
    for name, part, count in (("encoder", original.encoder, 6), ("decoder", original.decoder, 6),
                              ("encoder, nine wanted", other.encoder, 9)):  # fmt: skip
        kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
        see.supports(f"{name}: blocks", sum(isinstance(each, kinds) for each in part.modules()), equals=count)


@claim("H11", HOLDS, articles="S3", source="Vaswani et al. 2017, section 3.3")
def the_feed_forward_network_refines_each_token_by_itself(see: Evidence) -> None:
    """A feed-forward network refines the representations of single tokens.

    y_t = W_2·relu(W_1·x_t + b_1) + b_2: ∂y_t/∂x_s = 0 for s ≠ t

    Rule: the feed-forward part of an encoder block has a Jacobian whose blocks are exactly zero but for the
    diagonal, where none is; the path instrument sees T pairs that depend on each other.
    """
    block = nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, dtype=torch.float64)
    part = nn.Sequential(block.linear1, nn.ReLU(), block.linear2)
    blocks, words = influence(part), 16
    see.supports(
        "16 words: largest block beside the diagonal", (blocks - blocks.diag().diag()).max().item(), equals=0.0
    )
    see.supports("16 words: smallest block on the diagonal", blocks.diag().min().item(), above=0.0)
    path = path_length(part, words, growth=False)
    see.supports("16 words: pairs of input and output", _pairs(path.lengths), equals=words)


def _pairs(lengths: tuple[tuple[int | None, ...], ...]) -> int:
    return sum(each is not None for row in lengths for each in row)


@claim("H14", Refuted("a generator needs f(x)[:n] = f(x[:n]), which an encoder violates; GPT stacks masked blocks"),
       articles="S3", source="Radford et al. 2018")  # fmt: skip
def the_encoder_is_a_component_of_bert_and_gpt(see: Evidence) -> None:
    """The encoder is a foundational component of models such as BERT and GPT.

    GPT predicts word n + 1 from the words up to n for all n at once: f(x)[:n] = f(x[:n]). In an encoder, T(T
    − 1)/2 pairs of a word and a later one break this

    Rule: pairs of an output and a later input that it depends on are counted, for an encoder and for the same
    blocks with a causal mask. Without the second half of 16 words, outputs of the first, whose size is 1,
    change in the encoder by more than 0.01, far above rounding.
    """
    words = 16
    for name, causal, count in (("encoder", False, words * (words - 1) // 2), ("causal mask", True, 0)):
        lengths = path_length(Encoder(causal=causal), words, width=WIDTH, growth=False).lengths
        later = sum(found is not None for t, row in enumerate(lengths) for found in row[t + 1 :])
        see.refutes(f"{name}, 16 words: pairs with a later input", later, equals=count)
    encoder, x = Encoder(), torch.randn(1, words, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        change = (encoder(x)[:, :8] - encoder(x[:, :8])).abs().max().item()
    see.refutes("encoder: change of the first 8 outputs without the last 8 words", change, above=0.01)


@claim("H15", HOLDS, articles="S3", source="Vaswani et al. 2017, Table 1")
def the_encoder_operates_in_parallel(see: Evidence) -> None:
    """The Transformer encoder operates in parallel.

    the longest chain of operators does not depend on T; it grows with the number of blocks alone

    Rule: the longest chain is measured at T = 2, 4, … 64, and at T = 200: it is the same.
    """
    depth = sequential_depth(Encoder(), 200, width=WIDTH)
    see.supports("two blocks: growth of the longest chain", depth.unit_growth.order, equals="O(1)")
    see.supports("two blocks: longest chain at T = 200, and at T = 2", depth.unit, equals=depth.unit_growth.values[0])
