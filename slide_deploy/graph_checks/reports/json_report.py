"""Reports as JSON, for scripts."""

import json
from collections.abc import Iterable
from dataclasses import asdict

from slide_deploy.graph_checks.check import Report

# 1: the first version.
REPORT_VERSION = 1


def as_json(reports: Iterable[Report]) -> str:
    """The JSON document: whether all files passed, and each file with its violations."""
    entries = [
        {**asdict(report), "path": report.path.as_posix(), "passed": report.passed}
        for report in reports
    ]
    passed = all(entry["passed"] for entry in entries)
    document = {"report_version": REPORT_VERSION, "passed": passed, "files": entries}
    return json.dumps(document, indent=2) + "\n"
