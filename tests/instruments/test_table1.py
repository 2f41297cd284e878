"""Table 1: the orders that were published are those that are measured, in the model of cost that it assumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqlaws.instruments import Table1, table1


@pytest.fixture(scope="module")
def table() -> Table1:
    return table1()


def test_the_rows_are_measured(table: Table1) -> None:
    measured = {
        row.name: (str(row.work.contractions), row.depth.unit_growth.order, row.path.order, row.path.values)
        for row in table.rows
    }
    assert measured == {
        "Self-attention": ("4·D·T² + 6·D²·T", "O(1)", "O(1)", (2,) * 6),
        "Recurrent": ("4·D²·T", "O(n)", "O(n)", (6, 12, 24, 48, 96, 192)),
        "Convolutional": ("6·D²·T", "O(1)", "O(n)", (1, 2, 4, 8, 16, 32)),
        "Convolutional, dilated": ("6·D²·T", "O(1)", "O(log n)", (1, 2, 2, 3, 4, 4)),
        "Self-attention (restricted)": ("6·D²·T + 12·D·T", "O(1)", "O(n)", (1, 2, 4, 8, 16, 32)),
    }


def test_the_table_says_what_holds_only_in_one_model_of_cost(table: Table1) -> None:
    attention = table.rows[0]
    assert attention.depth.fan_in_2_growth.order == "O(log n)"
    text = str(table)
    assert all(row.exactness.kind == "exact" for row in table.rows)
    assert "published  O(r·n·d)" in text and max(map(len, text.splitlines())) <= 110
    assert len(table.plot().series) == 5


def test_the_document_shows_the_table_that_is_measured(table: Table1) -> None:
    page = Path(__file__).parents[2] / "docs" / "instruments.md"
    assert str(table) in page.read_text(encoding="utf-8")
