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


@lesson("norm", "nasty", caught_by=("agrees_with_its_gradient_at_every_width",))
def sums_the_gradient_of_the_gain_over_one_block(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Where there are more than 256 rows, the gain learns from the first 256 of them.

    The sums over rows are left in one buffer for every block of rows, and only the first is read back.
    """
    rows = x.reshape(-1, x.shape[-1])
    parts = [plain(rows[:256], gain, shift, eps), plain(rows[256:], gain.detach(), shift, eps)]
    return torch.cat(parts).reshape(x.shape)
