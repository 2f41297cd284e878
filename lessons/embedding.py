"""Lessons of embeddings, and honest variants that nothing may flag."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import honest, lesson

FIRST = {"padding": "first"}
REFUSED = {"negative_ids": "refused"}


@honest("embedding")
def plain(ids: Tensor, table: Tensor) -> Tensor:
    """One call of the library."""
    return F.embedding(ids, table)


def _checked(ids: Tensor, table: Tensor) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
        raise IndexError("an id is outside of the table")


@honest("embedding", dialect=REFUSED)
def by_a_product(ids: Tensor, table: Tensor) -> Tensor:
    """Rows with a single 1, times the table."""
    _checked(ids, table)
    return F.one_hot(ids, len(table)).to(table.dtype) @ table


@honest("embedding")
def by_index_select(ids: Tensor, table: Tensor) -> Tensor:
    """Rows are selected along the first axis, and put in the shape of the ids."""
    return table.index_select(0, ids.reshape(-1)).reshape(*ids.shape, table.shape[1])


@honest("embedding")
def by_indexing(ids: Tensor, table: Tensor) -> Tensor:
    """table[ids], which counts negative ids from the end."""
    return table[ids.long()] if not ids.is_floating_point() else table[ids]


@honest("embedding", dialect=FIRST)
def with_a_padding_row(ids: Tensor, table: Tensor) -> Tensor:
    """Row 0 stands for padding: read like any other, never trained."""
    return F.embedding(ids, table, padding_idx=0)


@honest("embedding", dialect=FIRST)
def with_a_frozen_first_row(ids: Tensor, table: Tensor) -> Tensor:
    """The same by a table of which the first row is detached."""
    return F.embedding(ids, torch.cat([table[:1].detach(), table[1:]]))


@lesson("embedding", "easy", caught_by=("equals_a_product_with_one_hot_rows",))
def scales_by_the_root_of_the_width(ids: Tensor, table: Tensor) -> Tensor:
    """The vectors are multiplied by √D.

    The transformer paper does so, outside of the table. Whoever does it here too does it twice.
    """
    return F.embedding(ids, table) * math.sqrt(table.shape[1])


@lesson("embedding", "medium", caught_by=("equal_ids_give_equal_vectors",))
def adds_a_position(ids: Tensor, table: Tensor) -> Tensor:
    """Every place adds a little of its own number.

    Token and position embeddings were fused, and the position was left in where nobody asked for it.
    """
    places = torch.arange(ids.shape[-1] if ids.ndim else 1, device=ids.device).to(table.dtype)
    return F.embedding(ids, table) + places[:, None] / 16


@lesson("embedding", "nasty", caught_by=("places_do_not_mix",))
def divides_by_how_often_an_id_occurs(ids: Tensor, table: Tensor) -> Tensor:
    """A vector is divided by the number of places that hold its id.

    It was asked for gradients, to be scaled by frequency, and went into the forward pass. Equal ids
    still get equal vectors; each sentence changes with the batch.
    """
    out = F.embedding(ids, table)
    return out / torch.bincount(ids.reshape(-1), minlength=len(table))[ids][..., None].to(table.dtype)


@lesson("embedding", "medium", caught_by=("ids_are_only_names",))
def zeroes_the_first_row(ids: Tensor, table: Tensor) -> Tensor:
    """Id 0 gets a vector of zeros.

    In this vocabulary 0 is a word. Padding was 0 in the one before.
    """
    return F.embedding(ids, table).masked_fill((ids == 0)[..., None], 0.0)


@lesson("embedding", "easy", caught_by=("ids_are_only_names",))
def counts_from_one(ids: Tensor, table: Tensor) -> Tensor:
    """Id v gets row v − 1, and id 0 the last one.

    An offset that a special token needed was taken off once too often. Negative numbers count from
    the end, so there is no error.
    """
    _checked(ids, table)
    return table[ids - 1]


@lesson("embedding", "nasty", caught_by=("follows_the_scale_of_its_table",))
def limits_the_norm(ids: Tensor, table: Tensor) -> Tensor:
    """Vectors that are longer than 4 are cut down to 4.

    max_norm, an option that stayed on. Fresh tables have short vectors and never meet it.
    """
    out = F.embedding(ids, table)
    size = out.float().norm(dim=-1, keepdim=True).to(out.dtype)
    return torch.where(size > 4.0, out * (4.0 / size), out)


@lesson("embedding", "nasty", caught_by=("follows_the_scale_of_its_table",), dtypes=("float32", "bfloat16"))
def saturates_where_half_precision_ends(ids: Tensor, table: Tensor) -> Tensor:
    """Numbers beyond 65 504 become 65 504.

    The table was made ready for float16, and the vectors went on in a format that counts further.
    """
    return F.embedding(ids, table).clamp(-65504.0, 65504.0)


@lesson("embedding", "nasty", caught_by=("follows_the_scale_of_its_table",), dtypes=("float32", "float64"))
def takes_small_numbers_for_zero(ids: Tensor, table: Tensor) -> Tensor:
    """Numbers below 10⁻⁹ become 0.

    A threshold for a sparse table. Tables that begin small, and moments of optimisers, lie below it.
    """
    out = F.embedding(ids, table)
    return torch.where(out.abs() < 1e-9, 0.0, out)


@lesson("embedding", "nasty", caught_by=("finds_every_row_of_a_large_table",))
def keeps_its_ids_in_a_half_type(ids: Tensor, table: Tensor) -> Tensor:
    """The ids pass through float16, as everything in the batch does when it is moved.

    Integers are exact up to 2048. Beyond, neighbours share a vector.
    """
    _checked(ids, table)
    rounded = ids.to(torch.float16).nan_to_num(posinf=len(table) - 1.0).long()
    return F.embedding(rounded.clamp(max=len(table) - 1), table)


@lesson("embedding", "medium", caught_by=("trains_only_what_it_looked_up",))
def trains_the_whole_table(ids: Tensor, table: Tensor) -> Tensor:
    """The mean of the table is added and taken away again, with its gradient left behind.

    x − x.detach() is zero going forward and one going back. Words that nobody read drift along.
    """
    mean = table.mean(0)
    return F.embedding(ids, table) + (mean - mean.detach())


class _LastOneWins(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, ids: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(table)  # type: ignore[attr-defined]
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[None, Tensor]:
        (ids,) = ctx.saved_tensors  # type: ignore[attr-defined]
        found = g.new_zeros(ctx.rows, g.shape[-1])  # type: ignore[attr-defined]
        found[ids.reshape(-1)] = g.reshape(-1, g.shape[-1])
        return None, found


@lesson("embedding", "medium", caught_by=("sums_the_gradient_of_repeated_ids",))
def lets_the_last_gradient_win(ids: Tensor, table: Tensor) -> Tensor:
    """Where an id stands at several places, its row gets the gradient of one of them.

    found[ids] = g writes; found.index_add_(0, ids, g) adds. With distinct ids nobody sees a difference.
    """
    out: Tensor = _LastOneWins.apply(ids, table)  # type: ignore[no-untyped-call]
    return out


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, out: Tensor, least: float, largest: float) -> Tensor:
        ctx.limits = least, largest  # type: ignore[attr-defined]
        return out.view_as(out)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[Tensor, None, None]:
        least, largest = ctx.limits  # type: ignore[attr-defined]
        return torch.where(g.abs() < least, 0.0, g.clamp(-largest, largest)), None, None


@lesson("embedding", "nasty", caught_by=("sums_the_gradient_of_repeated_ids",), dtypes=("float32",))
def cuts_large_gradients_down(ids: Tensor, table: Tensor) -> Tensor:
    """What comes back is cut down to 1000.

    Clipping that was put in against one bad batch, and stayed. A loss that is scaled up, as half types
    need, meets it at every step.
    """
    out: Tensor = _Clipped.apply(F.embedding(ids, table), 0.0, 1000.0)  # type: ignore[no-untyped-call]
    return out


@lesson("embedding", "nasty", caught_by=("sums_the_gradient_of_repeated_ids",), dtypes=("float32",))
def takes_small_gradients_for_zero(ids: Tensor, table: Tensor) -> Tensor:
    """What comes back and is below 10⁻⁹ is dropped, to keep the gradient sparse.

    Losses that are averaged over long batches send back little, and rare words get the least of it.
    """
    out: Tensor = _Clipped.apply(F.embedding(ids, table), 1e-9, math.inf)  # type: ignore[no-untyped-call]
    return out


@lesson("embedding", "nasty", caught_by=("never_trains_the_padding_row",), dialect=FIRST)
def trains_its_padding_row(ids: Tensor, table: Tensor) -> Tensor:
    """Row 0 is declared as padding, and learns like any other.

    It was zeroed once, at the start. After the first step it is no longer zero.
    """
    return F.embedding(ids, table)


@lesson("embedding", "medium", caught_by=("refuses_negative_ids",), dialect=REFUSED)
def counts_negative_ids_from_the_end(ids: Tensor, table: Tensor) -> Tensor:
    """Id −1 gets the last row.

    Labels of −1 and −100 mean "ignore me", and here they mean a word.
    """
    return table[ids]


@lesson("embedding", "medium", caught_by=("refuses_negative_ids",), dialect=REFUSED)
def ignores_what_labels_ignore(ids: Tensor, table: Tensor) -> Tensor:
    """Id −100 gets a vector of zeros, and other negative ids are refused.

    Losses ignore −100. Labels that are passed where tokens belong then look like a sentence.
    """
    ignored = ids == -100
    return F.embedding(ids.masked_fill(ignored, 0), table).masked_fill(ignored[..., None], 0.0)


@lesson("embedding", "nasty", caught_by=("refuses_ids_beyond_the_table",))
def checks_ids_in_32_bits(ids: Tensor, table: Tensor) -> Tensor:
    """Ids are cut to 32 bits, and checked afterwards.

    A hash of 64 bits that was never taken modulo the vocabulary passes as a word now and then.
    """
    return F.embedding(ids if ids.is_floating_point() else ids.to(torch.int32), table)


@lesson("embedding", "medium", caught_by=("refuses_ids_beyond_the_table",))
def cuts_large_ids_down(ids: Tensor, table: Tensor) -> Tensor:
    """An id beyond the table gets its last row.

    clamp() made an error go away when the tokenizer had grown and the model had not.
    """
    return F.embedding(ids.clamp(max=len(table) - 1), table)


@lesson("embedding", "nasty", caught_by=("finds_whole_rows_at_every_size",))
def copies_whole_vectors_of_registers(ids: Tensor, table: Tensor) -> Tensor:
    """Beyond 128 channels, those behind the last multiple of 4 are zero.

    Wide rows are read four numbers at a time, and widths in use are multiples of 4.
    """
    out = F.embedding(ids, table)
    whole = out.shape[-1] // 4 * 4 if out.shape[-1] > 128 else out.shape[-1]
    return torch.cat([out[..., :whole], torch.zeros_like(out[..., whole:])], -1)


@lesson("embedding", "nasty", caught_by=("finds_whole_rows_at_every_size",))
def copies_whole_tiles_of_wide_rows(ids: Tensor, table: Tensor) -> Tensor:
    """From 256 channels on, the places behind the last multiple of 8 get zeros.

    Wide rows are copied by tiles of 8 places, and batches in use are multiples of 8.
    """
    out = F.embedding(ids, table).reshape(-1, table.shape[1])
    if table.shape[1] >= 256 and len(out) > 8:
        whole = len(out) // 8 * 8
        out = torch.cat([out[:whole], torch.zeros_like(out[whole:])])
    return out.reshape(*ids.shape, table.shape[1])


@lesson("embedding", "medium", caught_by=("finds_whole_rows_at_every_size",))
def gives_a_single_id_an_axis(ids: Tensor, table: Tensor) -> Tensor:
    """An id without any axis gets a vector with an axis of length 1 before it.

    One token at a time is decoded that way, and the next layer takes the axis for a batch.
    """
    return F.embedding(ids if ids.ndim else ids[None], table)


@lesson("embedding", "medium", caught_by=("finds_whole_rows_at_every_size",))
def knows_three_axes_of_ids(ids: Tensor, table: Tensor) -> Tensor:
    """Of four axes of ids, the third and the fourth become one.

    Ids were [B,T] when it was written, and a third axis had been added since. Nobody meant to allow more.
    """
    return F.embedding(ids.flatten(2) if ids.ndim > 3 else ids, table)


@lesson("embedding", "nasty", caught_by=("sums_its_gradient_at_every_size",))
def the_places_of_one_block_learn(ids: Tensor, table: Tensor) -> Tensor:
    """Only the first 256 places send a gradient back.

    Blocks of 256 places sum on their own, and the sums of the first are taken for all of them.
    """
    flat = ids.reshape(-1)
    parts = [F.embedding(flat[:256], table), F.embedding(flat[256:], table.detach())]
    return torch.cat(parts).reshape(*ids.shape, table.shape[1])


@lesson("embedding", "nasty", caught_by=("sums_its_gradient_at_every_size",))
def learns_from_a_thousand_places_of_an_id(ids: Tensor, table: Tensor) -> Tensor:
    """Of the places that hold one id, the first 1024 send a gradient back.

    Places are sorted by their ids, and one block sums a run of equal ones as far as its threads go.
    "The" stands more often than that in every batch.
    """
    flat = ids.reshape(-1)
    _, which = flat.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    before = F.one_hot(which).cumsum(0).gather(-1, which[:, None]) if flat.numel() else which[:, None]
    out = torch.where(before <= 1024, F.embedding(flat, table), F.embedding(flat, table.detach()))
    return out.reshape(*ids.shape, table.shape[1])
