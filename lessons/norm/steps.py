"""Lessons about ε, the sign, gain and shift, and about gradients: the statistics are right."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.norm import centred, mean, plain, variance


@lesson("norm", "medium", caught_by=("scales_cancel",))
def adds_epsilon_to_the_root(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """ε is added to the standard deviation, not to the variance.

    The annotated transformer does it. For rows of the usual size nobody can tell.
    """
    d = centred(x)
    return d / (torch.sqrt(variance(d)) + eps) * gain + shift


@lesson("norm", "medium", caught_by=("scales_cancel",))
def has_its_own_epsilon(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """ε is 1e-5, whatever is asked for.

    A model whose ε was 1e-12 or 1e-3 is loaded, and the argument goes nowhere.
    """
    return plain(x, gain, shift, 1e-5)


@lesson("norm", "medium", caught_by=("scales_cancel",), dtypes=("float32", "float64"))
def takes_no_epsilon_below_1e_7(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Where ε is smaller than 1e-7, it is taken for 1e-7.

    Somebody wanted to be safe in single precision. Models whose ε is 1e-12 load without a word, and their
    faintest rows come out fainter.
    """
    return plain(x, gain, shift, max(eps, 1e-7))


@lesson("norm", "nasty", caught_by=("agrees_with_its_definition",))
def takes_no_epsilon_for_its_own(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Where ε is 0, it is 1e-5.

    `eps or 1e-5` was meant for an argument that is missing. 0 is one that is there.
    """
    return plain(x, gain, shift, eps or 1e-5)


@lesson("norm", "easy", caught_by=("a_row_of_zeros_gives_the_shift", "has_the_variance_that_epsilon_leaves"))
def forgets_epsilon(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The row is divided by its standard deviation, and that is all.

    Real tokens never have equal channels. Padding does, and 0/0 is NaN.
    """
    return plain(x, gain, shift, 0.0)


@lesson("norm", "medium", caught_by=("a_row_of_zeros_gives_the_shift",))
def leaves_rows_without_spread_at_zero(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Where the variance is 0, so is the output, shift or no shift.

    A guard against 0/0 that was put around the whole function. The bias of the next layer is gone
    for padding, and for padding alone.
    """
    return plain(x, gain, shift, eps).masked_fill(x.amax(-1, keepdim=True) == x.amin(-1, keepdim=True), 0.0)


@lesson("norm", "easy", caught_by=("gain_and_shift_act_last",))
def applies_the_gain_first(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The row is multiplied by the gain, and then normalised.

    With a gain of 1, which every test has, it is the same.
    """
    return plain(x * gain, torch.ones_like(gain), shift, eps)


@lesson("norm", "medium", caught_by=("gain_and_shift_act_last",))
def adds_the_shift_before_the_gain(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """(z + shift) ⊙ gain.

    Either order can express the same functions. The weights of one are not those of the other.
    """
    return plain(x, torch.ones_like(gain), shift, eps) * gain


@lesson("norm", "medium", caught_by=("has_the_variance_that_epsilon_leaves",))
def counts_the_gain_from_one(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The row is multiplied by 1 + gain.

    Some model families store the gain as a distance from 1. Theirs and ours have the same shape.
    """
    return plain(x, 1.0 + gain, shift, eps)


@lesson("norm", "nasty", caught_by=("gain_and_shift_act_last",))
def takes_a_gain_with_zeros_for_none(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Where any gain is 0, all gains are left out.

    A test for weights that were never set. Gains that begin at 0 are set: they keep a block out of the stream
    until it has learned something.
    """
    return plain(x, gain if bool(gain.all()) else torch.ones_like(gain), shift, eps)


@lesson("norm", "easy", caught_by=("agrees_with_its_definition",))
def takes_the_row_off_its_mean(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """mean − x, and not x − mean.

    Mean 0, variance 1, and every symmetry: only the sign is wrong, and the next layer learns that.
    """
    return plain(x, gain, shift, eps, centred=lambda numbers: mean(numbers) - numbers)


@lesson("norm", "medium", caught_by=("has_a_gradient_that_sums_to_zero",))
def detaches_the_mean(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The mean is a constant in the backward pass.

    It was computed without a graph, to save memory. A gradient along the mean now has an effect.
    """
    return plain(x, gain, shift, eps, centred=lambda numbers: numbers - mean(numbers).detach())


@lesson("norm", "nasty", caught_by=("agrees_with_its_gradient",))
def detaches_the_variance(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The variance is a constant in the backward pass.

    The gradient is the right one but for its part along the row itself, which pushes every token
    outwards, step after step.
    """
    return plain(x, gain, shift, eps, variance=lambda d: variance(d).detach())


@lesson("norm", "medium", caught_by=("agrees_with_its_gradient",))
def halves_the_gradient_of_the_gain(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The gain gets half of its gradient.

    The sum over rows is split between two blocks of threads, and one of them writes over the other.
    """
    return plain(x, (gain + gain.detach()) / 2, shift, eps)


class _FromTheResult(torch.autograd.Function):
    """A normalisation that keeps its result for the backward pass, and not the row."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:  # type: ignore[no-untyped-def]
        root = torch.sqrt(variance(centred(x)) + eps)
        y = centred(x) / root * gain + shift
        ctx.save_for_backward(y, gain, shift, root)
        return y

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        y, gain, shift, root = ctx.saved_tensors
        z = (y - shift) / torch.where(gain.abs() < 1e-5, 1e-5, gain)
        return (*_sent_back(g, z, root, gain), None)


def _sent_back(g: Tensor, z: Tensor, root: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the row, the gain and the shift."""
    h, rows = g * gain, (-1, g.shape[-1])
    return (centred(h) - z * mean(h * z)) / root, (g * z).reshape(rows).sum(0), g.reshape(rows).sum(0)


@lesson("norm", "nasty", caught_by=("has_a_gradient_that_sums_to_zero",), dtypes=("float64",))
def reads_the_row_off_its_result(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The backward pass takes (y − shift) / gain for the normalised row, with gains of 1e-5 at least.

    It saves the memory for the row. A channel whose gain is 0 has left nothing to be read off: no gradient
    reaches its gain, and it stays 0.
    """
    return _FromTheResult.apply(x, gain, shift, eps)  # type: ignore[no-untyped-call]


class _OnePassBack(torch.autograd.Function):
    """A normalisation whose backward pass computes the statistics again."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, gain)
        ctx.eps = eps
        return plain(x, gain, shift, eps)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        x, gain = ctx.saved_tensors
        root = torch.sqrt((mean(x * x) - mean(x) ** 2).clamp(min=0.0) + ctx.eps)
        return (*_sent_back(g, centred(x) / root, root, gain), None)


@lesson("norm", "nasty", caught_by=("its_gradient_survives_a_large_common_part",), dtypes=("float32", "float64"))
def takes_the_variance_in_one_pass_on_the_way_back(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The backward pass computes the variance again, as mean(x²) − mean(x)².

    The forward pass was mended when its rows came out wrong. Gradients come out wrong without a sign.
    """
    return _OnePassBack.apply(x, gain, shift, eps)  # type: ignore[no-untyped-call]


@lesson("norm", "nasty", caught_by=("a_row_of_zeros_has_a_gradient",), dialect={"kind": "rms"})
def takes_the_root_of_zero(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The root of the mean square is taken first, and squared again for ε to be added.

    The number is the same. The root of 0 has no derivative, and one padded token makes all gradients NaN.
    """
    root = torch.sqrt(mean(x * x))
    return x / torch.sqrt(root * root + eps) * gain


@lesson("norm", "nasty", caught_by=("agrees_with_its_gradient_at_every_width",))
def sums_the_gradient_of_the_gain_over_whole_tiles(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """From 512 channels on, the gain does not learn from the rows behind the last full 32.

    Narrow rows are summed by another kernel, and wide ones came in batches of round sizes.
    """
    rows = x.reshape(-1, x.shape[-1])
    whole = rows.shape[0] // 32 * 32 if x.shape[-1] >= 512 and rows.shape[0] >= 32 else rows.shape[0]
    parts = [plain(rows[:whole], gain, shift, eps), plain(rows[whole:], gain.detach(), shift, eps)]
    return torch.cat(parts).reshape(x.shape)


@lesson("norm", "medium", caught_by=("shows_nan",))
def cleans_its_shift(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """NaN in the shift is replaced by 0.

    A checkpoint whose training had failed was loaded all the same, and one channel of it means nothing any more.
    """
    return plain(x, gain, shift.nan_to_num(), eps)


@lesson("norm", "nasty", caught_by=("agrees_with_its_gradient_at_every_width",))
def sums_the_gradient_of_the_gain_over_one_block(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Where there are more than 256 rows, the gain learns from the first 256 of them.

    The sums over rows are left in one buffer for every block of rows, and only the first is read back.
    """
    rows = x.reshape(-1, x.shape[-1])
    parts = [plain(rows[:256], gain, shift, eps), plain(rows[256:], gain.detach(), shift, eps)]
    return torch.cat(parts).reshape(x.shape)


class _SharedByRows(torch.autograd.Function):
    """A weight for every row; what the rows send back is added up block by block, in the dtype of the weight."""

    @staticmethod
    def forward(ctx, weight: Tensor, rows: int) -> Tensor:  # type: ignore[no-untyped-def]
        return weight.expand(rows, -1).clone()

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        total = torch.zeros_like(g[0])
        for block in torch.split(g, 64):
            total = total + block.sum(0)
        return total, None


@lesson(
    "norm",
    "nasty",
    caught_by=("gradients_of_many_rows_add_up",),
    dtypes=("bfloat16",),
    dialect={"sums": "wide"},
)
def adds_rows_up_in_a_half_type(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The gradients of gain and shift are summed over blocks of rows in the half type itself.

    Atomic additions are fast there. From some number of rows on, what a block adds is less than the last digit.
    """
    rows = x.reshape(-1, x.shape[-1]) if x.numel() else x.flatten(0, -2)
    gains, shifts = (_SharedByRows.apply(each, len(rows)) for each in (gain, shift))  # type: ignore[no-untyped-call]
    return plain(rows, gains, shifts, eps).reshape(x.shape)
