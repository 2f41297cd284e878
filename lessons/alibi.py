"""Lessons of ALiBi: biases that are nearly linear, nearly aligned or nearly the right slopes; and honest variants."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlaws.lesson import honest, lesson


def slopes(heads: int) -> list[float]:
    """The slope of every head."""
    if heads & (heads - 1) == 0:
        return [2.0 ** (-8 * (head + 1) / heads) for head in range(heads)]
    below = 1 << (heads.bit_length() - 1)
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


def behind(queries: int, keys: int) -> Tensor:
    """How far every key lies behind every query, [q_len,k_len]."""
    return torch.arange(keys - queries, keys).unsqueeze(-1) - torch.arange(keys)


def biases(slope: list[float], distance: Tensor) -> Tensor:
    """−slope · distance, [H,q_len,k_len], with −∞ where the distance is negative."""
    return (-torch.tensor(slope).reshape(-1, 1, 1) * distance).masked_fill(distance < 0, -math.inf)


@honest("alibi")
def textbook(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Slopes times distances, and the future filled in afterwards."""
    return biases(slopes(num_heads), behind(q_len, k_len))


@honest("alibi")
def last_rows_of_the_square(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The table of all positions in float32, slopes as powers of one ratio, and the last rows of it."""
    below = 1 << (num_heads.bit_length() - 1)
    ratio, finer = torch.tensor(2.0 ** (-8 / below)), torch.tensor(2.0 ** (-4 / below))
    powers = torch.cat([ratio ** torch.arange(1, below + 1), finer ** torch.arange(1, 2 * below + 1, 2)])
    far = torch.arange(k_len).float()
    table = powers[:num_heads, None, None] * (far - far.unsqueeze(-1))
    return torch.where(far > far.unsqueeze(-1), -math.inf, table)[:, k_len - q_len :]


@honest("alibi")
def entry_by_entry(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Loops over heads and queries, in float64."""
    result = torch.full((num_heads, q_len, k_len), -math.inf, dtype=torch.float64)
    for head, slope in enumerate(slopes(num_heads)):
        for query in range(q_len):
            place = k_len - q_len + query
            result[head, query, : place + 1] = -slope * torch.arange(place, -1, -1)
    return result


@honest("alibi")
def kept_in_half_precision(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Slopes and distances in bfloat16, and their products too."""
    distance, slope = behind(q_len, k_len), torch.tensor(slopes(num_heads)).bfloat16()
    return (slope.reshape(-1, 1, 1) * -distance.bfloat16()).masked_fill(distance < 0, -math.inf)


@lesson("alibi", "nasty", caught_by=("forgets_earlier_calls",))
def writes_into_one_buffer(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """All calls write into the start of one buffer.

    Each result is right until the next call, of any sizes. Two layers with different numbers of heads
    overwrite each other.
    """
    result = textbook(num_heads, q_len, k_len)
    if result.numel() > _BUFFER[0].numel():
        _BUFFER[0] = torch.empty(result.numel() * 2 + 4096)
    return _BUFFER[0][: result.numel()].view(result.shape).copy_(result)


_BUFFER = [torch.empty(0)]


@lesson("alibi", "easy", caught_by=("hides_the_future",))
def hides_nothing(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The bias is −slope · |distance|, for later keys as for earlier ones.

    The symmetric form is for encoders. A decoder that trusts it to be causal reads ahead.
    """
    return -torch.tensor(slopes(num_heads)).reshape(-1, 1, 1) * behind(q_len, k_len).abs()


@lesson("alibi", "medium", caught_by=("hides_the_future",))
def hides_by_a_large_number(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Later keys get −10 000 instead of −∞.

    It looks like enough. Where a score is as large, the future is back.
    """
    return textbook(num_heads, q_len, k_len).clamp(min=-10_000.0)


@lesson("alibi", "medium", caught_by=("stands_at_the_end_of_the_keys",), incident="huggingface/candle#899")
def stands_at_the_start_of_the_keys(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Query i stands at key i, however many keys there are.

    The length of the cache is not passed on. Whole prompts are right, every token after them is not.
    """
    return biases(slopes(num_heads), torch.arange(q_len).unsqueeze(-1) - torch.arange(k_len))


@lesson("alibi", "medium", caught_by=("costs_nothing_at_distance_zero",))
def counts_distances_from_one(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """A query is at distance 1 from itself.

    An index that counts from 1. Softmax takes the constant off again; what is added before it does not.
    """
    distance = behind(q_len, k_len)
    return biases(slopes(num_heads), torch.where(distance < 0, distance, distance + 1))


@lesson("alibi", "nasty", caught_by=("depends_on_the_offset_alone",))
def spreads_over_the_visible_keys(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Distances are divided by how many keys the query sees, and multiplied by how many there are.

    The first key then costs about the same for everyone, and the slope depends on where the query stands.
    """
    seen = torch.arange(k_len - q_len, k_len).unsqueeze(-1) + 1
    return biases(slopes(num_heads), behind(q_len, k_len) * (k_len / seen))


@lesson("alibi", "medium", caught_by=("falls_in_a_straight_line",))
def grows_with_the_logarithm(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The bias grows with log(1 + distance).

    Another published bias, under this name. Far keys count more than they should.
    """
    distance = behind(q_len, k_len)
    return biases(slopes(num_heads), torch.where(distance < 0, -1.0, torch.log1p(distance.clamp(min=0).float())))


@lesson("alibi", "nasty", caught_by=("falls_in_a_straight_line",))
def levels_off_far_out(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Beyond 512 keys, distances stop growing.

    The table of biases ends there, and an index beyond it is clamped. Training never gets that far.
    """
    return biases(slopes(num_heads), behind(q_len, k_len).clamp(max=512))


@lesson("alibi", "nasty", caught_by=("falls_in_a_straight_line",))
def levels_off_at_the_longest_text(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Beyond 8192 keys, which is the longest text that was planned for, distances stop growing.

    A clamp makes longer texts possible without an error. All that is far away seems equally far.
    """
    return biases(slopes(num_heads), behind(q_len, k_len).clamp(max=8191))


@lesson("alibi", "nasty", caught_by=("falls_in_a_straight_line",))
def keeps_distances_in_eight_bits(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Distances start again at 0 after 255.

    A byte was enough for the window that it was written for.
    """
    distance = behind(q_len, k_len)
    return biases(slopes(num_heads), torch.where(distance < 0, distance, distance % 256))


@lesson("alibi", "easy", caught_by=("prefers_near_keys",))
def rewards_distance(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The bias is +slope · distance.

    A sign that is written twice or not at all. The oldest key is read best.
    """
    distance = behind(q_len, k_len)
    return biases([-slope for slope in slopes(num_heads)], distance)


@lesson("alibi", "easy", caught_by=("gives_every_head_a_slope_of_its_own",))
def gives_all_heads_one_slope(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """All heads have the slope of the first.

    The slopes were broadcast along the wrong axis. All heads look equally far.
    """
    return biases(slopes(num_heads)[:1] * num_heads, behind(q_len, k_len))


@lesson("alibi", "medium", caught_by=("agrees_with_its_definition",))
def begins_with_slope_one(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Heads are counted from 0, so the first slope is 1 and the last is not 1/256.

    Off by one in an exponent: every head sees less far than it should.
    """
    return biases([2.0 ** (-8 * head / num_heads) for head in range(num_heads)], behind(q_len, k_len))


@lesson("alibi", "medium", caught_by=("agrees_with_its_definition",))
def turns_the_heads_around(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The slopes run from the flattest to the steepest.

    The same set of slopes, for other heads than those that were trained with them.
    """
    return biases(slopes(num_heads)[::-1], behind(q_len, k_len))


@lesson("alibi", "nasty", caught_by=("agrees_for_any_number_of_heads",))
def divides_by_any_number_of_heads(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The formula for powers of two is used for every number of heads.

    Smooth slopes from the first to 1/256. Models with 12 or 20 heads were trained with others.
    """
    return biases([2.0 ** (-8 * (head + 1) / num_heads) for head in range(num_heads)], behind(q_len, k_len))


@lesson("alibi", "nasty", caught_by=("agrees_for_any_number_of_heads",), incident="ml-explore/mlx#343")
def takes_the_first_slopes_of_the_power_above(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The slopes for the next power of two are cut off after the last head.

    The flattest slopes are missing, so no head looks far.
    """
    above = 1 << (num_heads - 1).bit_length()
    return biases(slopes(above)[:num_heads], behind(q_len, k_len))


@lesson("alibi", "nasty", caught_by=("agrees_for_any_number_of_heads",))
def sorts_its_slopes(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The additional slopes are put between the others, in order of their size.

    The right set of slopes; for powers of two they are in order anyway, and for 12 heads most belong to
    other heads.
    """
    return biases(sorted(slopes(num_heads), reverse=True), behind(q_len, k_len))


@lesson("alibi", "nasty", caught_by=("accepts_empty_and_single_sizes",))
def takes_the_last_none(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The last q_len rows are taken by a slice from −q_len on.

    For no query at all the slice begins at −0, which is the start: all rows.
    """
    return textbook(num_heads, k_len, k_len)[:, -q_len:]


@lesson("alibi", "nasty", caught_by=("agrees_at_every_size",))
def hides_the_future_of_the_first_block(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """Queries beyond the first 128 see later keys, at no cost.

    The mask is laid over a block of 128 rows, and the loop over blocks fills in distances alone.
    """
    distance = behind(q_len, k_len)
    table = biases(slopes(num_heads), distance)
    return torch.cat([table[:, :128], biases(slopes(num_heads), distance.clamp(min=0))[:, 128:]], dim=1)


@lesson("alibi", "nasty", caught_by=("agrees_at_every_size",))
def hides_the_future_of_a_long_block(num_heads: int, q_len: int, k_len: int) -> Tensor:
    """The same, with blocks of 512 queries.

    Prompts of a few hundred tokens are right, and they are what a test has.
    """
    distance = behind(q_len, k_len)
    table = biases(slopes(num_heads), distance)
    return torch.cat([table[:, :512], biases(slopes(num_heads), distance.clamp(min=0))[:, 512:]], dim=1)
