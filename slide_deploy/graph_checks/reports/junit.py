"""Reports as JUnit XML: one suite for each file, one case for each rule.

    testsuites > testsuite (file) > testcase (rule) > failure (its errors) | system-out (warnings)

A file that could not be read has one case, with an error.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence

from slide_deploy.graph_checks.check import Report
from slide_deploy.graph_checks.rules import RULES, Rule, Violation

# XML 1.0 forbids these characters, even when escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(reports: Iterable[Report]) -> str:
    """The XML document, to be written as UTF-8."""
    root = ElementTree.Element("testsuites", name="slide-deploy check")
    for report in reports:
        _suite(root, report)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _suite(root: ElementTree.Element, report: Report) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=_clean(report.path.as_posix()))
    if report.unusable:
        case = _case(suite, report, "readable")
        message = _clean(report.unusable)
        ElementTree.SubElement(case, "error", message=message, type="InputError")
    for rule in () if report.unusable else RULES:
        _rule(suite, report, rule)
    for key, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        suite.set(key, str(sum(1 for _ in suite.iter(tag))))


def _rule(suite: ElementTree.Element, report: Report, rule: Rule) -> None:
    case = _case(suite, report, f"{rule.id} {rule.name}")
    found = [violation for violation in report.violations if violation.rule == rule.id]
    errors = [violation for violation in found if violation.severity == "error"]
    if errors:
        message = _clean(errors[0].message)
        failure = ElementTree.SubElement(case, "failure", message=message, type=rule.id)
        failure.text = _lines(rule, errors)
    warnings = [violation for violation in found if violation.severity == "warning"]
    if warnings:
        ElementTree.SubElement(case, "system-out").text = _lines(rule, warnings)


def _case(suite: ElementTree.Element, report: Report, name: str) -> ElementTree.Element:
    classname = f"slide_deploy.check.{report.policy}"
    return ElementTree.SubElement(suite, "testcase", name=_clean(name), classname=_clean(classname))


def _lines(rule: Rule, violations: Sequence[Violation]) -> str:
    lines = [rule.title]
    for violation in violations:
        where = violation.node or "the file"
        lines.append(f"{violation.severity}: {where}: {violation.message} {violation.remedy}")
    return _clean("\n".join(lines))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
