"""Lessons about ids that are outside of the table."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seqlaws.lesson import lesson
from seqlaws.lessons.embedding import REFUSED


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
