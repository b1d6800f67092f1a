"""The pass reports of an export as text: one line for each pass, and its changes and refusals."""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from exporters.outcome import ExportedFile
from slide_deploy.passes.report import Change, PassReport, Refusal

# Most layers to name for one kind of change; the manifest names all.
_NAMED = 4


def rewrite_lines(files: Sequence[ExportedFile], more: str) -> Iterator[str]:
    """Yield the number of rewrites, one line for each group of formats with equal reports.

    Args:
        files: files of an export.
        more: the option or method that lists the changes, such as "--explain".
    """
    lines = []
    for formats, reports in _alike(files):
        passes = sum(1 for report in reports if report.changes)
        changes = sum(len(report.changes) for report in reports)
        refusals = sum(len(report.refusals) for report in reports)
        if changes or refusals:
            left = f" and left {_count(refusals, 'place')} as they were" if refusals else ""
            done = f"{_count(passes, 'pass', 'passes')} changed {_count(changes, 'place')}{left}"
            lines.append(f"rewrites of {listed(formats)}: {done}")
    if lines:
        lines[-1] += f"; {more} lists them"
    yield from lines


def explanation(files: Sequence[ExportedFile], width: int) -> str:
    """Return what each pass changed, and what it refused with the reason, by group of formats.

    Args:
        files: files of an export.
        width: number of columns; longer lines are wrapped with an indent.
    """
    lines: list[str] = []
    for formats, reports in _alike(files):
        lines.append(f"Rewrites of {listed(formats)}:")
        for report in reports:
            lines += _filled(f"{report.name}: {_outcome(report)}", 2, width)
            for text in (*_changes(report.changes), *_refusals(report.refusals)):
                lines += _filled(text, 4, width)
        idle = ", ".join(_idle(file for file in files if file.format in formats))
        lines += _filled(f"nothing to change: {idle}", 2, width) if idle else []
    return "\n".join(lines)


def _filled(text: str, indent: int, width: int) -> list[str]:
    start, below = " " * indent, " " * (indent + 4)
    # A non-breaking space keeps a layer and its class on one line.
    lines = wrap(
        text.replace(" (", "\xa0("),
        width,
        initial_indent=start,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\xa0", " ") for line in lines]


Reports = tuple[PassReport, ...]


def _alike(files: Sequence[ExportedFile]) -> list[tuple[list[str], Reports]]:
    """Return groups of formats with equal reports, and the reports of passes that did anything."""
    groups: list[tuple[list[str], Reports]] = []
    for file in files:
        busy = tuple(report for report in file.rewrites if report.changes or report.refusals)
        for formats, reports in groups:
            if reports == busy:
                formats.append(file.format)
                break
        else:
            groups.append(([file.format], busy))
    return groups


def _idle(files: Iterable[ExportedFile]) -> list[str]:
    """Return the names of the passes without changes and refusals, each once."""
    reports = (report for file in files for report in file.rewrites)
    idle = (report.name for report in reports if not report.changes and not report.refusals)
    return list(dict.fromkeys(idle))


def _outcome(report: PassReport) -> str:
    changed, left = len(report.changes), len(report.refusals)
    outcome = f"{_count(changed, 'place')} changed" if changed else "nothing changed"
    return f"{outcome}, {left} left" if left else outcome


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    alike: dict[str, list[Change]] = {}
    for change in changes:
        alike.setdefault(change.what, []).append(change)
    for what, group in alike.items():
        yield _grouped(what, [change.layer for change in group]) + _parts(group) + _errors(group)


def _refusals(refusals: Sequence[Refusal]) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for refusal in refusals:
        alike.setdefault(refusal.why, []).append(refusal.layer)
    for why, layers in alike.items():
        yield _grouped(f"left: {why}", layers)


def _grouped(what: str, layers: Sequence[str]) -> str:
    """Return a change with its count and its layers."""
    times = f"{len(layers)} × " if len(layers) > 1 else ""
    names = list(dict.fromkeys(layers))
    shown = names if len(names) <= _NAMED + 1 else names[:_NAMED]
    rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{times}{what}: {', '.join(shown)}{rest}"


def _parts(changes: Sequence[Change]) -> str:
    """Return the parts that a single change merged; empty for several changes."""
    parts = changes[0].parts if len(changes) == 1 else ()
    return f", from {listed(parts)}" if parts else ""


def _errors(changes: Sequence[Change]) -> str:
    """Return the largest errors of changes that affect the arithmetic."""
    errors = [change.error for change in changes if change.error is not None]
    roundings = [change.rounding for change in changes if change.rounding is not None]
    text = f"; error {max(errors):.1e}" if errors else ""
    return f"{text}; {max(roundings):.1e} after rounding" if roundings else text


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence: "onnx, openvino and coreml"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
