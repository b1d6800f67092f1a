"""The report as Markdown tables for a pull request.

Untrusted text is always in a code span, where hosts resolve no links, mentions or HTML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.record import Run
from benchmarks.report import notes
from benchmarks.report.headline import headlines
from benchmarks.report.machines import Machines, machines
from benchmarks.report.summary import CandidateRow, RunView, Section, summarise
from benchmarks.report.table import Cell, absences, columns, settings
from benchmarks.report.text import Name, Sentence, clean
from benchmarks.report.units import percent_text, time_unit


def render_markdown(runs: Sequence[Run]) -> str:
    """Return the report of one or more runs, ending with a newline."""
    sections = summarise(runs)
    blocks = ["# Benchmark"]
    together = machines(sections)
    if together is not None:
        blocks += _machines(together)
    for section in sections:
        blocks += _section(section)
    if not sections:
        blocks.append("No run was given.")
    return "\n\n".join(blocks) + "\n"


def _machines(together: Machines) -> Iterator[str]:
    yield "## All machines"
    headers = [
        (f"{_code(machine, True)} {_code(target, True)}", True)
        for machine, target in together.headings
    ]
    rows = [(_code(name, True), *map(_figure, cells)) for name, cells in together.rows]
    yield markdown_table([("", False), *headers], rows)
    yield " ".join(map(_sentence, notes.on_machines(together)))


def _section(section: Section) -> Iterator[str]:
    yield f"## {_code(section.title)}"
    for view in section.views:
        yield from _run(view)
    pairs = [(_code(key, True), _code(value, True)) for key, value in section.machine.items()]
    if pairs:
        yield _folded("Machine", markdown_table((("", False), ("", False)), pairs))


def _run(view: RunView) -> Iterator[str]:
    outcomes = [
        f"**{_code(group.label)}**: {_sentence(sentence)}" for group, sentence in headlines(view)
    ]
    yield _list(outcomes) if outcomes else "The run has no candidates."
    if view.rows:
        yield _candidates(view)
    yield from _titled("Missing figures", [_prose(line) for line in absences(view)])
    yield from _titled(
        "Warnings", [_sentence(warning) for warning in notes.warning_sentences(view)]
    )
    failures = [f"{_code(row.name)}: {_code(row.measurement.error or '')}" for row in view.failed]
    yield from _titled("Failed", failures)
    for row in view.rows:
        if row.operators:
            title = f"Operators of {row.number}, the slowest first"
            yield _folded(title, _operators(row))
    yield " ".join(filter(None, (_sentence(notes.about(view)), notes.noise(view))))


def _candidates(view: RunView) -> str:
    shown = columns(view)
    headers = [("#", True), ("candidate", False), ("target", False)]
    headers += [
        (f"{column.header}, {column.unit}" if column.unit else column.header, True)
        for column in shown
    ]
    lines = []
    for index, row in enumerate(view.rows):
        cells = [column.cells[index] for column in shown]
        name = f"{_code(row.name, True)}, {settings(row)}"
        target = _code(row.measurement.candidate.target, True)
        lines.append((str(row.number), name, target, *map(_figure, cells)))
    return markdown_table(headers, lines)


def _figure(cell: Cell) -> str:
    return f"{cell.text} ({cell.detail})" if cell.detail else cell.text


def _operators(row: CandidateRow) -> str:
    assert row.operators
    total = row.operators.total
    items = list(notes.operator_rows(row.operators))
    unit = time_unit(seconds for _, seconds in items)
    lines = [
        (_code(name, True), unit.number(seconds), percent_text(seconds / total))
        for name, seconds in items
    ]
    return markdown_table((("operators by type", False), (unit.name, True), ("share", True)), lines)


def markdown_table(headers: Sequence[tuple[str, bool]], lines: Iterable[Sequence[str]]) -> str:
    """Return a table. Each header comes with whether its column holds figures."""
    rule = ["---:" if figures else "---" for _, figures in headers]
    rows = [[header for header, _ in headers], rule, *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _titled(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield f"**{title}**"
        yield _list(items)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _sentence(sentence: Sentence) -> str:
    return "".join(
        _code(part.text) if isinstance(part, Name) else _prose(part) for part in sentence
    )


def _prose(text: str) -> str:
    """Escape Markdown characters in trusted text."""
    line = re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))
    # Keep the spaces between pieces of one sentence.
    return f"{' ' * text[:1].isspace()}{line}{' ' * text[-1:].isspace()}"


def _code(text: str, in_table: bool = False) -> str:
    """Return a code span with exactly this text.

    Its fence is longer than every run of backticks inside. In a table, pipes need a backslash,
    because Markdown splits cells before it parses code spans. It then removes the backslash, which
    would remain elsewhere.
    """
    text = clean(text) or " "
    if in_table:
        text = text.replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    # A space on either side belongs to the fence and separates it from a backtick in the text.
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
