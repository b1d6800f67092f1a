"""Reports as SARIF 2.1.0, which code hosts show in pull requests.

One run holds all files. A result names its rule, the file relative to the working folder, and the
node as a logical location. Its fingerprint lets a host recognise it in the next run.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slide_deploy import __version__
from slide_deploy.graph_checks.check import Report
from slide_deploy.graph_checks.rules import RULES, Rule, Violation

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_FINGERPRINT = "slideDeployViolation/v1"
_INDEX = {rule.id: index for index, rule in enumerate(RULES)}


def sarif(reports: Iterable[Report], root: Path | None = None) -> str:
    """The SARIF document.

    Args:
        reports: one for each file.
        root: the folder to which paths are relative; the working folder if left out.
    """
    base = (root or Path.cwd()).resolve()
    every = tuple(reports)
    run = {
        "tool": {"driver": _driver()},
        "invocations": [_invocation(every, base)],
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(report, violation, base) for report in every for violation in report.violations
        ],
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _driver() -> dict[str, Any]:
    return {
        "name": "slide-deploy",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in RULES],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title} {rule.reason}"},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": "error"},
    }


def _invocation(reports: tuple[Report, ...], base: Path) -> dict[str, Any]:
    """Whether every file could be read, and the reasons for those that could not."""
    unusable = [report for report in reports if report.unusable]
    return {
        "executionSuccessful": not unusable,
        "toolExecutionNotifications": [
            {
                "level": "error",
                "message": {"text": _clean(report.unusable)},
                "locations": [_location(report, "", base)],
            }
            for report in unusable
        ],
    }


def _result(report: Report, violation: Violation, base: Path) -> dict[str, Any]:
    return {
        "ruleId": violation.rule,
        "ruleIndex": _INDEX[violation.rule],
        "level": violation.severity,
        "message": {"text": _clean(f"{violation.message} {violation.remedy}")},
        "locations": [_location(report, violation.node, base)],
        "partialFingerprints": {_FINGERPRINT: _fingerprint(report, violation, base)},
        "properties": {"node": violation.node, "remedy": violation.remedy},
    }


def _location(report: Report, node: str, base: Path) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(report.path, base)},
            # The file is binary, but hosts show a result only where it has a line.
            "region": {"startLine": 1},
        }
    }
    if node:
        location["logicalLocations"] = [{"fullyQualifiedName": _clean(node), "kind": "object"}]
    return location


def _uri(path: Path, base: Path) -> str:
    """The path relative to ``base`` if the file is below it, else a file URI."""
    whole = path.resolve()
    if whole.is_relative_to(base):
        return quote(whole.relative_to(base).as_posix(), errors="surrogateescape")
    return whole.as_uri()


def _fingerprint(report: Report, violation: Violation, base: Path) -> str:
    """A hash of rule, file, node and message, which stays the same between runs."""
    parts = (violation.rule, _uri(report.path, base), violation.node, violation.message)
    text = "\0".join(parts).encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()


def _clean(text: str) -> str:
    """Replace lone surrogates, which file names may hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
