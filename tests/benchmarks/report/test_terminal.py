"""The table on a terminal fits, and no number is cut."""

import re

import pytest
from rich.console import Console

from benchmarks.record import Configuration
from benchmarks.report.summary import summarise
from benchmarks.report.terminal import render_terminal
from tests.benchmarks import synthetic

CASES = [synthetic.server, synthetic.laptop, synthetic.hostile, synthetic.sparse, synthetic.empty]


def rendered(run, width: int) -> list[str]:
    (section,) = summarise([run])
    console = Console(width=width, highlight=False, emoji=False, soft_wrap=True)
    with console.capture() as capture:
        for view in section.views:
            for part in render_terminal(view):
                console.print(part)
    return capture.get().splitlines()


def table_of(lines: list[str]) -> list[str]:
    # A table without room is a list, which has no rule.
    rule = next((index for index, line in enumerate(lines) if "───" in line), 3)
    end = next((index for index, line in enumerate(lines) if line.startswith("note:")), len(lines))
    return [line for line in lines[rule - 3 : end] if not line.startswith("failed:")]


def wide():
    """Return a run with every column and long numbers."""
    return synthetic.run(
        synthetic.measurement(
            name, milliseconds=milliseconds, configuration=Configuration(threads=2, batch=64)
        )
        for name, milliseconds in (("fast.onnx", 60.0), ("slow.onnx", 13_740.0))
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits(case, width):
    assert max(map(len, table_of(rendered(case(), width)))) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_no_number_is_cut(width):
    lines = rendered(wide(), width)
    text = "\n".join(lines)
    assert max(map(len, table_of(lines))) <= width
    (section,) = summarise([wide()])
    for row in section.views[0].rows:
        for end in (row.median.interval.low, row.median.interval.high):
            assert f"{end * 1e3:,.1f}" in text
    # A thousands separator is always followed by three digits.
    assert not re.search(r"\d,(?!\d{3})", "\n".join(table_of(lines)))


def test_an_interval_stays_on_one_line_if_there_is_room():
    assert any(re.search(r"\d–\d", line) for line in rendered(synthetic.laptop(), 100))


def test_a_table_without_room_becomes_a_list_of_all_figures():
    lines = rendered(wide(), 80)
    assert not any("───" in line for line in lines)
    assert [line.split() for line in lines].count(["cold", "start", "911"]) == 2
    assert any("───" in line for line in rendered(wide(), 100))
