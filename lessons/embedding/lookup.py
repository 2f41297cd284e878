"""Lessons about the lookup itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.embedding import checked


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
    checked(ids, table)
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
    checked(ids, table)
    rounded = ids.to(torch.float16).nan_to_num(posinf=len(table) - 1.0).long()
    return F.embedding(rounded.clamp(max=len(table) - 1), table)


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
