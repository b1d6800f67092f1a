"""Extracts the main figures for the README from the performance page."""

import re

from benchmarks.generated_page import Grid
from slide_deploy.errors import InputError
from studies.performance.rows import ROWS, RUNTIMES

SUITES = ("slide_swin_tiny", "attention_96x56x56", "attention_96x200x200")
_BASELINES = {
    "ours": "ours",
    "branched": "as `torch.onnx.export` writes it",
    "unfold": "unfold",
    "swin": "Swin of the same size",
}
_CANDIDATE = re.compile(r"\| (\w+) on (\S+) \| ([\d.]+) \|")


def headline(page: str) -> Grid:
    """Return medians of some suites in milliseconds, with the fastest of each row in bold.

    Args:
        page: Text of the performance page, with the tables of ``medians``.

    Raises:
        InputError: The page lacks the table of a suite.
    """
    subjects = {row.suite: row.subject for row in ROWS}
    rows = []
    for suite in SUITES:
        _, title, rest = page.partition(f"**{suite}**\n")
        table = rest.strip().partition("\n\n")[0]
        medians = {(name, target): text for name, target, text in _CANDIDATE.findall(table)}
        if not title or not medians:
            raise InputError(f"The page has no table of {suite}: run make bench-export.")
        for target, runtime in RUNTIMES.items():
            texts = [medians.get((baseline, target), "") for baseline in _BASELINES]
            best = min((text for text in texts if text), key=float, default="")
            shown = [f"**{text}**" if text == best else text for text in texts]
            rows.append((f"{subjects[suite]}, {runtime}", *shown))
    headers = (("milliseconds", False), *((words, True) for words in _BASELINES.values()))
    return Grid("", headers, tuple(rows))
