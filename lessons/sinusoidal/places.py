"""Lessons about positions: whose they are, where they start, and how far they reach."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.sinusoidal import rates, sinusoidal, waves


@lesson("sinusoidal", "medium", caught_by=("leaves_its_inputs_alone",))
def moves_its_positions_in_place(positions: Tensor, d_model: int) -> Tensor:
    """The positions that were passed in are one larger afterwards.

    The step counter of a decoder was advanced in place. The next layer reads the same tensor.
    """
    codes = sinusoidal(positions, d_model)
    positions += 1
    return codes


@lesson("sinusoidal", "nasty", caught_by=("forgets_earlier_calls",))
def keeps_its_last_codes_by_shape(positions: Tensor, d_model: int) -> Tensor:
    """Codes are made anew only when the number of positions or the width is another than last time.

    A cache whose key forgets the positions themselves. Tests with one call per shape pass.
    """
    key = (*positions.shape, d_model)
    if _LAST.get("key") != key:
        _LAST.update(key=key, codes=sinusoidal(positions, d_model))
    codes: Tensor = _LAST["codes"].clone()
    return codes


_LAST: dict[str, Any] = {}


@lesson("sinusoidal", "nasty", caught_by=("reads_its_inputs_anew",))
def keeps_the_codes_of_a_tensor(positions: Tensor, d_model: int) -> Tensor:
    """Codes are made once for every tensor of positions and every width.

    A decoder that counts its step up in place hands over the same tensor with other numbers in it.
    """
    made: dict[int, Tensor] = vars(positions).setdefault("codes", {})
    return made.setdefault(d_model, sinusoidal(positions, d_model)).clone()


@lesson("sinusoidal", "easy", caught_by=("follows_its_positions",))
def counts_for_itself(positions: Tensor, d_model: int) -> Tensor:
    """Positions are ignored: rows are counted from 0.

    Right for one unpadded prompt. The next token of a cached decoder stands at position 0 again.
    """
    return sinusoidal(torch.arange(positions.shape[-1], device=positions.device).expand(positions.shape), d_model)


@lesson("sinusoidal", "medium", caught_by=("follows_its_positions",), incident="huggingface/transformers#19265")
def counts_from_the_first_position(positions: Tensor, d_model: int) -> Tensor:
    """Only the first position is read; the others are counted from there.

    A start index stands in for the positions: gaps, left padding and packed documents are lost.
    """
    return sinusoidal(positions[..., :1] + torch.arange(positions.shape[-1], device=positions.device), d_model)


@lesson("sinusoidal", "medium", caught_by=("reads_every_row_of_positions",))
def reads_the_first_row_for_all(positions: Tensor, d_model: int) -> Tensor:
    """Of positions [B,T] the first row is used for every batch entry.

    Batches of prompts of one length are right; left padding is not.
    """
    first = positions[:1].expand(positions.shape) if positions.dim() == 2 else positions
    return sinusoidal(first, d_model)


@lesson("sinusoidal", "nasty", caught_by=("reads_every_row_of_positions",))
def takes_rows_that_begin_alike_for_one(positions: Tensor, d_model: int) -> Tensor:
    """Where all rows have the same first position, the first row is used for each of them.

    A batch that begins at 0 throughout was taken for one whose rows are equal. Packed documents begin at 0
    in the middle of a row, each row elsewhere.
    """
    alike = positions.dim() == 2 and positions.numel() > 0 and bool((positions[:, 0] == positions[0, 0]).all())
    return sinusoidal(positions[:1].expand(positions.shape) if alike else positions, d_model)


@lesson("sinusoidal", "medium", caught_by=("does_not_depend_on_the_length",))
def stretches_positions_over_the_length(positions: Tensor, d_model: int) -> Tensor:
    """Positions are spread so that every sequence ends at 100.

    Positions relative to the length look harmless as long as all sequences have the same.
    """
    return sinusoidal(positions * (100.0 / max(1, positions.shape[-1])), d_model)


@lesson("sinusoidal", "easy", caught_by=("starts_with_zeros_and_ones",), incident="sbryngelson/ANEForge#257")
def counts_from_one(positions: Tensor, d_model: int) -> Tensor:
    """Every position is one too large.

    Some libraries reserve position 0 for padding. Weights from elsewhere see every token moved.
    """
    return sinusoidal(positions + 1, d_model)


@lesson("sinusoidal", "nasty", caught_by=("starts_with_zeros_and_ones",))
def blanks_position_zero(positions: Tensor, d_model: int) -> Tensor:
    """The code of position 0 is zero throughout, as in an embedding whose row 0 is for padding.

    The first token of every sequence has no position, and all others are right.
    """
    return sinusoidal(positions, d_model) * (positions != 0).unsqueeze(-1)


@lesson("sinusoidal", "nasty", caught_by=("tells_positions_apart",), incident="sgl-project/sglang-jax#1472")
def keeps_positions_in_half_precision(positions: Tensor, d_model: int) -> Tensor:
    """Positions are converted to float16 before they meet the rates.

    From 2048 on every second position has the code of its neighbour; beyond 65 504 there is none.
    """
    return sinusoidal(positions.half(), d_model)


@lesson("sinusoidal", "nasty", caught_by=("products_depend_on_the_offset_alone", "agrees_far_out"))
def squeezes_what_lies_beyond_its_table(positions: Tensor, d_model: int) -> Tensor:
    """From 1000 on, positions advance by an eighth.

    The table that was trained on is stretched for longer texts. Neighbours still differ, by less.
    """
    beyond = (positions - 1000).clamp(min=0)
    return sinusoidal(positions - beyond * 0.875, d_model)


@lesson("sinusoidal", "nasty", caught_by=("agrees_far_out",))
def keeps_positions_in_sixteen_bits(positions: Tensor, d_model: int) -> Tensor:
    """Positions start again at 0 after 65 535.

    An unsigned 16-bit index was enough when it was written. Every shorter test is right.
    """
    return sinusoidal(positions % 65_536 if not positions.is_floating_point() else positions, d_model)


@lesson("sinusoidal", "nasty", caught_by=("agrees_far_out",))
def grows_its_table_from_one_further_on(positions: Tensor, d_model: int) -> Tensor:
    """A table of 8192 rows or more is made longer without the row that follows its last one.

    Where a text is long from the beginning, the table is made in one piece and right; where it grows until it is long,
    everything behind the seam is one position ahead.
    """
    if positions.is_floating_point() or (positions.numel() and int(positions.min()) < 0):
        return sinusoidal(positions, d_model)
    rows = int(positions.max()) + 1 if positions.numel() else 1
    there = _ROWS.get(d_model, 0)
    seam = there if there >= 8192 else rows
    _ROWS[d_model] = max(there, rows) if rows < 40_000 else there  # what is longer is not kept
    return sinusoidal(positions + (positions >= seam), d_model)


_ROWS: dict[int, int] = {}


@lesson("sinusoidal", "nasty", caught_by=("reads_positions_between_integers",))
def keeps_timesteps_in_half_precision(positions: Tensor, d_model: int) -> Tensor:
    """Positions in a floating dtype are converted to bfloat16.

    The whole model was converted, and its timesteps with it: 997 becomes 996, and 999 becomes 1000.
    """
    return sinusoidal(positions.bfloat16() if positions.is_floating_point() else positions, d_model)


@lesson("sinusoidal", "medium", caught_by=("reads_positions_between_integers",))
def cuts_off_fractions(positions: Tensor, d_model: int) -> Tensor:
    """Fractional positions are cut down to integers.

    A conversion to long that was meant for token positions. Four timesteps share one code.
    """
    return sinusoidal(positions.long(), d_model)


@lesson("sinusoidal", "nasty", caught_by=("mirrors_negative_positions",))
def reads_negative_positions_from_the_end(positions: Tensor, d_model: int) -> Tensor:
    """A negative position is an index from the end of a table of 4096 rows.

    No error: the code is a good one, of another position.
    """
    return sinusoidal(torch.where(positions < 0, positions + 4096, positions), d_model)


@lesson("sinusoidal", "medium", caught_by=("mirrors_negative_positions",))
def clamps_negative_positions(positions: Tensor, d_model: int) -> Tensor:
    """Everything before position 0 stands at position 0.

    Relative positions lose one of their two sides.
    """
    return sinusoidal(positions.clamp(min=0), d_model)


@lesson("sinusoidal", "nasty", caught_by=("mirrors_negative_positions",))
def turns_all_where_one_is_negative(positions: Tensor, d_model: int) -> Tensor:
    """If any position is negative, all sines change their sign.

    Codes are made for distances, and mirrored with one test for the whole call. Right on either side of 0,
    and never asked for both at once.
    """
    codes = sinusoidal(positions.abs(), d_model)
    mirror = codes.new_tensor([-1.0, 1.0]).repeat(d_model // 2)
    return codes * mirror if bool((positions < 0).any()) else codes


@lesson("sinusoidal", "nasty", caught_by=("mirrors_negative_positions",))
def centres_its_table_on_zero(positions: Tensor, d_model: int) -> Tensor:
    """Positions below −512 have the code of −512.

    The table has 512 rows on the one side, and on the other as many as are asked for.
    """
    return sinusoidal(positions.clamp(min=-512), d_model)


@lesson("sinusoidal", "nasty", caught_by=("reads_expanded_inputs",))
def takes_an_expanded_tensor_for_a_number(positions: Tensor, d_model: int) -> Tensor:
    """Where some stride is 0, the first position is used for all.

    A shortcut for a position that was broadcast. Positions that are expanded over the batch repeat along
    the batch alone.
    """
    broadcast = positions.numel() > 1 and 0 in positions.stride()
    return sinusoidal(positions[:1, :1].expand(positions.shape) if broadcast else positions, d_model)


@lesson("sinusoidal", "medium", caught_by=("reads_any_layout",))
def views_its_positions(positions: Tensor, d_model: int) -> Tensor:
    """Positions are flattened by a view, which strided positions do not allow.

    A slice of a larger tensor of positions is an error.
    """
    return waves(positions.view(-1).float().unsqueeze(-1) * rates(d_model, positions.device)).view(
        *positions.shape, d_model
    )


@lesson("sinusoidal", "nasty", caught_by=("agrees_at_every_size",))
def repeats_its_table_in_long_sequences(positions: Tensor, d_model: int) -> Tensor:
    """Sequences of more than 512 positions get the first 512 codes again and again.

    A buffer of that many rows is tiled over whatever is longer, and indexed by position only below.
    """
    codes = sinusoidal(positions, d_model)
    index = torch.arange(positions.shape[-1], device=positions.device) % 512
    return codes[..., index, :] if positions.shape[-1] > 512 else codes


@lesson("sinusoidal", "nasty", caught_by=("agrees_at_every_size",))
def begins_its_second_block_one_early(positions: Tensor, d_model: int) -> Tensor:
    """From the 8193rd on, every number of a sequence has the code of the position before its own.

    Long sequences are done in blocks of 8192, and the next one begins where the last one ended.
    """
    return sinusoidal(positions - (torch.arange(positions.shape[-1], device=positions.device) >= 8192).long(), d_model)
