"""The result of an export as text for a terminal and as HTML for a notebook."""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from exporters.explained import listed, rewrite_lines
from exporters.outcome import ExportedFile, ExportResult
from slide_deploy.folding.model import Certificate
from slide_deploy.terminal.console import as_text, verification_table
from slide_deploy.tuning.choice import NOTHING_NEAR
from slide_deploy.verification.parity import Verification

# Most operators or layers to name; there may be hundreds.
_NAMED = 5
_HEADERS = ("format", "file", "size", "runs on", "max rel", "SNR dB", "")


def as_terminal(result: ExportResult) -> str:
    """Return a table of the errors and a line for each step of the export, in 80 columns."""
    grid = verification_table(
        _title(result),
        [(file.format, each) for file in result.files for each in file.verifications],
    )
    lines = [_fold(result), *branch_lines(result.certificate), *file_lines(result.files)]
    lines += rewrite_lines(result.files, "explain()")
    lines += [f"note: {remark}" for remark in (*left_lines(result.certificate), *result.remarks)]
    lines += [f"problem: {problem}" for problem in result.problems]
    lines += [f"written: {path}" for path in (*result.paths.values(), result.manifest)]
    return as_text(grid, *lines)


def as_html(result: ExportResult) -> str:
    """Return the same content as an HTML table; all text is escaped."""
    rows = "".join(
        _row(_cells(file, each), "td") for file in result.files for each in file.verifications
    )
    notes = (
        _fold(result),
        *branch_lines(result.certificate),
        *left_lines(result.certificate),
        *file_lines(result.files),
        *rewrite_lines(result.files, "explain()"),
        *result.remarks,
        f"manifest: {result.manifest}",
    )
    problems = "".join(f"<p><b>{escape(problem)}</b></p>" for problem in result.problems)
    small = "<br>".join(map(escape, notes))
    return (
        f"<table><caption>{escape(_title(result))}</caption><thead>{_row(_HEADERS, 'th')}</thead>"
        f"<tbody>{rows}</tbody></table>{problems}<p><small>{small}</small></p>"
    )


def lowering_lines(file: ExportedFile) -> Iterator[str]:
    """Yield the lowerings of a file's attentions, one line for each form."""
    alike: dict[str, list[str]] = {}
    for each in file.lowerings.values():
        alike.setdefault(str(each), []).append(each.source)
    for lowering, sources in alike.items():
        attentions = f"{len(sources)} slide attention{'s' if len(sources) > 1 else ''}"
        yield f"{file.format}: {attentions} {lowering}{_why(sources)}"


def file_lines(files: Sequence[ExportedFile]) -> Iterator[str]:
    """Lines about what is in the files: forms, float32 operators, pixels and lost accuracy."""
    pixels: dict[str, list[str]] = {}
    for file in files:
        yield from lowering_lines(file)
        if file.kept:
            some, others = file.kept[:_NAMED], len(file.kept) - _NAMED
            more = f" and {others} others; the manifest has them all" if others > 0 else ""
            yield f"float32 in {file.format}: {', '.join(some)}{more}, as float16 would overflow"
        pixels.setdefault(file.preprocessing, []).append(file.format)
    for sentence, formats in pixels.items():
        if sentence:
            yield f"pixels in {listed(formats)}: {sentence}"
    for file in files:
        if file.price is not None:
            yield from file.price.lines(file.format)


def left_lines(certificate: Certificate) -> Iterator[str]:
    """Yield the layers that look like a slide attention and were not folded, with the reason."""
    pairs = [(f"{layer.name} ({layer.kind})", layer.reason) for layer in certificate.left]
    return grouped(pairs, "stays as it is", "stay as they are")


def grouped(pairs: Iterable[tuple[str, str]], one: str, many: str) -> Iterator[str]:
    """Yield layers with the reason why they are left unchanged.

    Many layers with the same reason, apart from its numbers, share a line.

    Args:
        pairs: layers and reasons.
        one: what is said of one layer, such as "keeps its branches".
        many: what is said of several.
    """
    alike: dict[str, dict[str, str]] = {}
    for layer, why in pairs:
        alike.setdefault(re.sub(r"[\d.]+", "0", why), {}).setdefault(layer, why)
    for reasons in alike.values():
        if len(reasons) <= _NAMED:
            yield from (f"{layer} {one}: {why}" for layer, why in reasons.items())
            continue
        layers, why = list(reasons), next(iter(reasons.values()))
        others = f"{', '.join(layers[:_NAMED])} and {len(layers) - _NAMED} others"
        such = "" if len(set(reasons.values())) == 1 else f"in {layers[0]}, "
        yield f"{others} {many}: {such}{why}"


def branch_lines(certificate: Certificate) -> Iterator[str]:
    """Yield a summary of the merged branches, and lines about those that are left."""
    merged = certificate.merged
    if merged:
        error = max(change.error or 0.0 for change in merged)
        rounding = max(change.rounding or 0.0 for change in merged)
        places = f"{len(merged)} place{'s' if len(merged) > 1 else ''}"
        yield (
            f"branches: one convolution each in {places}, error in float64 at most {error:.1e}, "
            f"after rounding {rounding:.1e}"
        )
    pairs = [(refusal.layer, refusal.why) for refusal in certificate.not_merged]
    for line in grouped(pairs, "stays as it is", "stay as they are"):
        yield f"branches: {line}"


def _why(sources: Sequence[str]) -> str:
    """Return why a form was chosen, in brackets; the manifest has the reason for each layer."""
    if len(set(sources)) == 1:
        return f" ({sources[0]})" if sources[0] else ""
    if any(NOTHING_NEAR in source for source in sources):
        return f" (measured for other sizes; for some {NOTHING_NEAR})"
    return " (measured for each size, or one that is near)"


def _title(result: ExportResult) -> str:
    verdict = "every file is right" if result.passed else "NOT every file is right"
    return f"Export of {result.network or 'a network'}: {verdict}"


def _fold(result: ExportResult) -> str:
    certificate = result.certificate
    if not certificate.folded:
        return f"fold: {certificate.status}"
    count = len(certificate.folded)
    layers = f"{count} slide attention{'s' if count > 1 else ''}"
    error = max(layer.error for layer in certificate.folded)
    return f"fold: {layers}, error in float64 at most {error:.1e}"


def _cells(file: ExportedFile, ran: Verification) -> tuple[str, ...]:
    name = file.paths[0].name if file.paths else "removed"
    first = (file.format, name, f"{file.size / 1e6:.1f} MB")
    if not ran.cases:
        return (*first, ran.runtime, "–", "–", "unproven")
    worst = ran.worst
    return (
        *first,
        f"{ran.runtime} {ran.version}",
        f"{worst.max_relative:.1e}",
        f"{worst.snr_db:.0f}",
        "pass" if file.passed else "FAIL",
    )


def _row(cells: tuple[str, ...], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
