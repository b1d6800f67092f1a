"""Every row of the table of faults."""

from functools import cache

from tests.faults import export_rows, name_rows, writer_rows
from tests.faults.row import Row


@cache
def catalogue() -> tuple[Row, ...]:
    """In the order of the table."""
    return (*export_rows.rows(), *name_rows.rows(), *writer_rows.rows())
