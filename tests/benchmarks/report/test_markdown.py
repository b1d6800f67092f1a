"""Markdown that hosts render correctly, whatever the names are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from benchmarks.report import render_markdown
from benchmarks.report.markdown import _code, _prose, markdown_table
from benchmarks.report.text import clean
from tests.benchmarks import synthetic

PARSER = MarkdownIt("commonmark").enable("table")
CASES = [synthetic.server, synthetic.laptop, synthetic.hostile, synthetic.sparse, synthetic.empty]


def inline(text: str) -> list[Token]:
    return [child for token in PARSER.parse(text) for child in token.children or ()]


def tables(text: str) -> list[list[int]]:
    """The number of cells of each row of each table."""
    found: list[list[int]] = []
    for token in PARSER.parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(0)
        elif token.type in ("td_open", "th_open"):
            found[-1][-1] += 1
    return found


@pytest.mark.parametrize("make", CASES)
def test_tables_are_whole(make) -> None:
    text = render_markdown([make()])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # A heading and a rule of each table are one row for the parser.
    assert sum(map(len, tables(text))) == len(lines) - len(tables(text))
    for line in lines:
        assert line.replace("\\|", "").count("|") >= 3
    for rows in tables(text):
        assert len(set(rows)) == 1


@pytest.mark.parametrize("make", CASES)
def test_names_are_always_text(make) -> None:
    text = render_markdown([make()])
    assert {token.type for token in inline(text)} <= {
        "text",
        "softbreak",
        "code_inline",
        "strong_open",
        "strong_close",
    }
    blocks = {token.content.strip() for token in PARSER.parse(text) if token.type == "html_block"}
    assert all(block.startswith(("<details><summary>", "</details>")) for block in blocks)
    assert "owned" not in "".join(blocks)


def test_hostile_names_are_shown_as_they_are() -> None:
    text = render_markdown([synthetic.hostile()])
    spans = {token.content for token in inline(text) if token.type == "code_inline"}
    for name in synthetic.HOSTILE:
        assert clean(name) in spans


def test_several_runs_have_one_section_per_machine() -> None:
    text = render_markdown([synthetic.server(), synthetic.laptop()])
    assert text.count("\n## ") == 2 + 1  # and one for all of them
    assert "No run was given." in render_markdown([])


def test_figures_warnings_and_errors_are_shown() -> None:
    text = render_markdown([synthetic.server()])
    for part in (
        "median, ms",
        "is fastest",
        "**Warnings**",
        "**Failed**",
        "needs macOS",
        "FusedConv · 4",
    ):
        assert part in text
    assert "480 samples of 12 rounds are too few" in text


@given(st.text(max_size=60))
def test_a_code_span_can_contain_any_text(text: str) -> None:
    expected = clean(text)
    spans = [token for token in inline(f"x {_code(text)} x") if token.type == "code_inline"]
    assert [span.content.strip() for span in spans] == [expected.strip()]
    table = markdown_table((("a", False), ("b", False)), [(_code(text, True), "x")])
    held = [token for token in inline(table) if token.type == "code_inline"]
    assert [span.content.strip() for span in held] == [expected.strip()]


def test_prose_keeps_its_spaces_and_its_markup_is_escaped() -> None:
    assert _prose(" a [b](c) *d* ") == r" a \[b\](c) \*d\* "
    assert {token.type for token in inline(_prose("<b> _a_ `c` |"))} == {"text"}
