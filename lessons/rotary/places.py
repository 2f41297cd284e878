"""Lessons about positions: whose they are, where they start, how they are kept, and how far they reach."""

from __future__ import annotations

import torch
from torch import Tensor

from seqlaws.lesson import lesson
from seqlaws.lessons.rotary import rates, rotary, tables, turned


@lesson("rotary", "easy", caught_by=("follows_its_positions",))
def counts_for_itself(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Positions are ignored: tokens are counted from 0.

    Right for one unpadded prompt. The next token of a cached decoder stands at position 0 again.
    """
    return rotary(x, torch.arange(x.shape[2], device=x.device), base)


@lesson("rotary", "medium", caught_by=("follows_its_positions",), incident="keras-team/keras-hub#1544")
def counts_from_the_first_position(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Only the first position is read; the others are counted from there.

    A start index stands in for the positions: gaps, left padding and packed documents are lost.
    """
    start = positions[..., :1]
    return rotary(x, start + torch.arange(x.shape[2], device=x.device), base)


@lesson("rotary", "easy", caught_by=("rests_at_position_zero",), incident="sbryngelson/ANEForge#257")
def counts_from_one(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Every position is one too large.

    Scores do not notice, as queries and keys are off alike, until one of them comes from a cache
    that another program has filled.
    """
    return rotary(x, positions + 1, base)


@lesson("rotary", "medium", caught_by=("reads_a_row_of_positions_for_every_entry",))
def reads_the_first_row_for_all(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Of positions [B,T] the first row is used for every batch entry.

    Batches of prompts of one length are right; left padding is not.
    """
    return rotary(x, positions[0] if positions.dim() == 2 else positions, base)


@lesson("rotary", "medium", caught_by=("treats_heads_and_entries_alike",), incident="turboderp/exllama#101")
def counts_on_into_the_next_entry(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """The positions of a batch entry are counted on from the entry before.

    The kernel walks over rows as if there were one long sequence. Identical prompts differ.
    """
    further = positions.shape[-1] * torch.arange(x.shape[0], device=x.device).unsqueeze(-1)
    return rotary(x, further + positions, base)


@lesson("rotary", "nasty", caught_by=("forgets_earlier_calls",), incident="lucidrains/rotary-embedding-torch#11")
def keeps_tables_by_shape(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Tables are kept for the next call, which takes them if it has as many positions, and not if it has the same.

    Every token that a cached decoder makes is turned like the first one.
    """
    key = (positions.shape, x.shape[-1], x.dtype, base)
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = tables(x, positions, base)
    return turned(x, *_KEPT[key])


_KEPT: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}


@lesson("rotary", "nasty", caught_by=("scores_depend_on_the_offset_alone", "agrees_far_out"))
def clamps_at_the_end_of_its_table(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Positions beyond 1023 are turned like 1023.

    The table has 1024 rows, and an index beyond it is clamped. All that comes later stands in one place.
    """
    return rotary(x, positions.clamp(max=1023), base)


@lesson("rotary", "nasty", caught_by=("scores_depend_on_the_offset_alone", "agrees_far_out"), dtypes=("float16",))
def keeps_positions_in_half_precision(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Positions are converted to the dtype of x before they meet the rates.

    float16 skips every second integer from 2048 on, and has none beyond 65 504.
    """
    theta = positions.to(x.dtype).float().unsqueeze(-1) * rates(x.shape[-1], base, x.device)
    theta = theta.unsqueeze(1) if positions.dim() == 2 else theta
    both = torch.cat([theta, theta], -1)
    return turned(x, both.cos().to(x.dtype), both.sin().to(x.dtype))


@lesson("rotary", "nasty", caught_by=("agrees_far_out",))
def keeps_positions_in_sixteen_bits(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Positions start again at 0 after 65 535.

    An unsigned 16-bit index was enough when it was written. Every shorter test is right.
    """
    return rotary(x, positions % 65_536, base)


@lesson("rotary", "nasty", caught_by=("follows_its_base",))
def clamps_the_table_of_another_base(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """For every base but 10 000, positions beyond 8191 are turned like 8191.

    The table of the usual base grows with the text. That of a model for long contexts was written afterwards,
    with the length that all tables once had.
    """
    return rotary(x, positions if base == 10_000.0 else positions.clamp(max=8191), base)


@lesson("rotary", "medium", caught_by=("adds_up",))
def groups_positions_further_out(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """From 32 on, four positions share an angle.

    A trick to stretch the context of a trained model, left on for one that does not need it.
    """
    return rotary(x, torch.where(positions < 32, positions, 32 + (positions - 32) // 4), base)


@lesson("rotary", "medium", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def reads_as_many_positions_as_it_needs(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Positions that are too many are cut off at the end.

    A cached decoder hands over those of the whole text, with the queries of its last tokens alone: they are
    turned as if they stood at the beginning, and nobody is told.
    """
    return rotary(x, positions[..., : x.shape[2]], base)


@lesson("rotary", "medium", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def leaves_tokens_without_a_position(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Where there are fewer positions than tokens, the last tokens are not turned.

    Registers that are appended to a text have no position in some models. Here nobody knows whether they are
    meant, or forgotten.
    """
    places = positions.shape[-1]
    if places > x.shape[2]:
        raise ValueError("more positions than tokens")
    return torch.cat([rotary(x[:, :, :places], positions, base), x[:, :, places:]], 2)


@lesson("rotary", "nasty", caught_by=("refuses_malformed_input",))
def leaves_entries_without_positions(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Where there are fewer rows of positions than batch entries, the last entries are not turned.

    A batch was filled up to its usual size with entries that do not count, and its positions were not.
    """
    rows = positions.shape[0] if positions.dim() == 2 else x.shape[0]
    if rows > x.shape[0]:
        raise ValueError("more rows of positions than entries")
    return torch.cat([rotary(x[:rows], positions, base), x[rows:]])


@lesson("rotary", "nasty", caught_by=("refuses_malformed_input",), dialect={"misfits": "refused"})
def guesses_which_axis_is_time(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Where there are as many positions as heads, and not as tokens, heads are taken for tokens.

    Both layouts, [B,H,T,D] and [B,T,H,D], were to be served. A wrong number of positions is refused, unless it
    happens to be that of the heads.
    """
    if positions.shape[-1] == x.shape[1] != x.shape[2]:
        return rotary(x.transpose(1, 2), positions, base).transpose(1, 2)
    return rotary(x, positions, base)


@lesson("rotary", "nasty", caught_by=("agrees_at_every_size",))
def leaves_the_corner_of_two_tails(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Tokens behind the last full block of 64 are not turned in the heads behind the last full block of 8.

    Each of the two tails is handled, by a kernel that counts on whole blocks along the other axis.
    """
    heads, tokens = x.shape[1] // 8 * 8, x.shape[2] // 64 * 64
    result = rotary(x, positions, base).clone()
    if heads and tokens:
        result[:, heads:, tokens:] = x[:, heads:, tokens:]
    return result


@lesson("rotary", "nasty", caught_by=("agrees_at_every_size",))
def turns_65535_rows_at_most(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Of all tokens in all heads and entries, those behind the 65 535th are not turned.

    One axis of a grid has no more blocks than that, and the launch was cut down until it fitted.
    """
    rows = rotary(x, positions, base).reshape(-1, x.shape[-1])
    return torch.cat([rows[:65_535], x.reshape(rows.shape)[65_535:]]).reshape(x.shape)


@lesson("rotary", "nasty", caught_by=("agrees_at_every_size",))
def leaves_the_last_block_as_it_is(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """From 32 tokens on, those behind the last full block of 32 are not turned.

    The kernel runs over full blocks, and the rest was to be handled elsewhere.
    """
    length = x.shape[2]
    if length <= 32:
        return rotary(x, positions, base)
    full = length // 32 * 32
    return torch.cat([rotary(x[:, :, :full], positions[..., :full], base), x[:, :, full:]], 2)
