"""Lessons about the statistics: over which numbers they run, and how they are computed."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.norm import centred, mean, plain, variance


@lesson("norm", "easy", caught_by=("rows_do_not_mix",))
def normalises_over_time(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The statistics run over the tokens, for every channel.

    dim=1, which was the width when the tensor had two axes. Every token now knows about every other.
    """
    axis = max(0, x.ndim - 2)
    d = x - x.mean(axis, keepdim=True)
    return d / torch.sqrt((d * d).mean(axis, keepdim=True) + eps) * gain + shift


@lesson("norm", "medium", caught_by=("rows_do_not_mix",))
def shares_its_statistics_with_the_batch(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Each row is centred by itself; the variance is that of all rows together.

    A reduction without dim. With one token it is right, and with tokens that are alike nearly so.
    """
    return plain(x, gain, shift, eps, variance=lambda d: (d * d).mean())


@lesson("norm", "medium", caught_by=("channels_permute",))
def normalises_in_two_groups(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The first half of the channels is normalised by itself, and so is the second.

    A group normalisation left at two groups. Each group has mean 0 and variance 1, so the row has too.
    """
    half = x.shape[-1] // 2
    parts = [slice(0, half), slice(half, None)] if half else [slice(None)]
    return torch.cat([plain(x[..., part], gain[part], shift[part], eps) for part in parts], dim=-1)


@lesson("norm", "easy", caught_by=("ignores_a_common_shift", "has_mean_zero"))
def forgets_the_mean(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Nothing is taken off: an RMS normalisation under the name of a layer normalisation.

    A model that was trained with one and is served with the other speaks, and less well.
    """
    return plain(x, gain, shift, eps, centred=lambda numbers: numbers)


@lesson("norm", "medium", caught_by=("ignores_a_common_shift",))
def takes_the_mean_off_above_the_line_alone(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The row is centred, but the root is that of the mean square of what came in.

    Rows whose mean is near 0, as random ones are, hardly show it.
    """
    return centred(x) / torch.sqrt(mean(x * x) + eps) * gain + shift


@lesson("norm", "nasty", caught_by=("ignores_a_common_shift",), dtypes=("float32", "float64"))
def keeps_its_mean_in_bfloat16(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The mean of a row is stored in bfloat16.

    Statistics are small, so they went into the cheap buffer. Two digits of a mean of 30 are 0.1.
    """
    return plain(x, gain, shift, eps, centred=lambda numbers: numbers - mean(numbers).bfloat16().to(numbers.dtype))


@lesson("norm", "medium", caught_by=("has_mean_zero",))
def takes_the_median_off(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The middle number of the row is taken off instead of the mean.

    It was meant to be robust. Shifts cancel, scales cancel, and the row is not centred.
    """
    return plain(
        x, gain, shift, eps, centred=lambda numbers: numbers - numbers.sort(-1).values[..., [x.shape[-1] // 2]]
    )


@lesson("norm", "easy", caught_by=("has_the_variance_that_epsilon_leaves",))
def divides_by_one_less(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The sum of squares is divided by n − 1.

    var() is unbiased by default in one library and not in the other. At a width of 768 the stream is
    0.07 % smaller, layer after layer.
    """
    n = x.shape[-1]
    return plain(x, gain, shift, eps, variance=lambda d: (d * d).sum(-1, keepdim=True) / max(1, n - 1))


@lesson("norm", "medium", caught_by=("has_the_variance_that_epsilon_leaves",))
def takes_the_mean_absolute_distance(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The spread is the mean of |x − mean|, not the root of the mean square.

    One square and one root less. For normal numbers it is a factor of 0.8, which the gain learns.
    """
    return plain(x, gain, shift, eps, variance=lambda d: mean(d.abs()) ** 2)


@lesson("norm", "medium", caught_by=("has_the_variance_that_epsilon_leaves",), dialect={"kind": "rms"})
def takes_a_mean_off_that_rms_leaves(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """It is declared as RMS normalisation, and divides by the standard deviation.

    x.std() was shorter to write than the root of the mean square.
    """
    return x / torch.sqrt(mean(centred(x) ** 2) + eps) * gain


@lesson("norm", "nasty", caught_by=("survives_a_large_common_part",), dtypes=("float32", "float64"))
def takes_the_variance_in_one_pass(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The variance is mean(x²) − mean(x)², held at 0 from below.

    Both are known after one pass over memory. Where the mean is a thousand times the spread, their
    difference is rounding.
    """
    return centred(x) / torch.sqrt((mean(x * x) - mean(x) ** 2).clamp(min=0.0) + eps) * gain + shift


@lesson("norm", "nasty", caught_by=("loud_rows_are_normalised",))
def multiplies_before_it_divides(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The variance is n·Σd² / n².

    One division at the end instead of two on the way. It overflows n times sooner than it must.
    """
    n = x.shape[-1]
    return plain(x, gain, shift, eps, variance=lambda d: ((d * d).sum(-1, keepdim=True) * n) / (n * n))


@lesson("norm", "nasty", caught_by=("agrees_at_every_width",))
def counts_the_padding_of_long_rows(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """From 511 channels on, a row is filled up to a multiple of 8, and the filling is counted.

    Widths in use are multiples of 64, so the kernel for long rows was never asked for another one.
    """
    n = x.shape[-1]
    counted = n if n < 511 else -(-n // 8) * 8
    return plain(x, gain, shift, eps, variance=lambda d: (d * d).sum(-1, keepdim=True) / counted)


@lesson("norm", "nasty", caught_by=("agrees_at_every_width",))
def knows_its_first_8192_channels(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Of a row with more than 8200 channels, mean and variance are those of the first 8192.

    So many fit into one block of threads. Models were narrower then.
    """
    first = x if x.shape[-1] <= 8200 else x[..., :8192]
    return (x - mean(first)) / torch.sqrt(variance(centred(first)) + eps) * gain + shift


@lesson("norm", "nasty", caught_by=("agrees_at_every_width",))
def leaves_the_last_tile_of_wide_rows(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """From 512 channels on, rows behind the last full 32 are not normalised.

    Rows of that width are done in tiles of 32, if there are so many. A single prompt has fewer, and goes
    another way.
    """
    rows = x.reshape(-1, x.shape[-1])
    whole = rows.shape[0] // 32 * 32 if x.shape[-1] >= 512 and rows.shape[0] >= 32 else rows.shape[0]
    return torch.cat([plain(rows[:whole], gain, shift, eps), rows[whole:]]).reshape(x.shape)


@lesson("norm", "medium", caught_by=("shows_nan",))
def gives_the_shift_for_rows_with_infinity(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """A row that holds an infinity comes out as the shift.

    NaN was to be kept out of the stream. An overflow upstream is now a token without content.
    """
    return torch.where(x.isinf().any(-1, keepdim=True), shift, plain(x, gain, shift, eps))
