"""The tables of precisions in the documentation are those of the records."""

from pathlib import Path

from tests.pages import limits_table, precisions_table

PAGE = Path(__file__).parents[1] / "docs" / "verification.md"


def test_the_page_has_the_tables_of_the_records() -> None:
    text = PAGE.read_text()
    assert precisions_table() in text
    assert limits_table() in text
