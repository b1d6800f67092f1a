"""Reports say the same to people, to CI and to code hosts, and CI can read them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
import xmlschema
from rich.console import Console
from rich.text import Text

from slide_deploy.graph_checks import RULES, Report, Violation, check_files, standard_ops
from slide_deploy.graph_checks.check import MAX_VIOLATIONS
from slide_deploy.graph_checks.reports import junit, report_table, sarif
from slide_deploy.graph_checks.reports.table import summary
from tests.graph_checks.attention_onnx import Case, write
from tests.graph_checks.small_models import Files
from tests.mutants.editing import edit_onnx, node

SCHEMAS = Path(__file__).parent / "schemas"
SARIF = json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text())
JUNIT = xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")
# What the schema calls a uri, or a reference to one: the characters that RFC 3986 lets stand.
FORMATS = jsonschema.FormatChecker(formats=())
FORMATS.checks("uri")(re.compile(r"[a-z]+:[\w\-.~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII).fullmatch)
FORMATS.checks("uri-reference")(re.compile(r"[\w\-.~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII).fullmatch)
STRANGE = 'a<b>&"c" [bold]%20 ü' + "x" * 200
# Bytes that are no UTF-8, as Python spells them, and a control character.
STRANGE_PATH = 'a<b>&"c" [bold]\x1b\udcff ü.onnx'


@pytest.fixture
def reports(exported: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Report, ...]:
    """A valid file, one with two errors, one with a warning, and one that is no model."""
    monkeypatch.chdir(tmp_path)

    def damage(model: Any) -> None:
        node(model, "Gelu").op_type = "Sinh"
        model.ir_version = 99

    (tmp_path / "my models").mkdir()
    damaged = edit_onnx(exported["onnx"], tmp_path / "my models", damage)
    trapped = write(Case(4, 4, "tokens first", False), tmp_path / "trapped.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    paths = (exported["openvino"], damaged, trapped, tmp_path / "text.onnx")
    return check_files(paths, standard_ops())


@pytest.fixture
def strange(reports: tuple[Report, ...]) -> tuple[Report, ...]:
    """A report of names that no sane file has."""
    violation = Violation("SD004", "error", STRANGE, STRANGE, STRANGE)
    return (replace(reports[0], path=Path(STRANGE_PATH), violations=(violation,)),)


@pytest.fixture(params=["none", "clean", "many", "strange", "unusable"])
def unusual(
    request: pytest.FixtureRequest, reports: tuple[Report, ...], strange: tuple[Report, ...]
) -> tuple[Report, ...]:
    """Reports at the edges of what a document can hold."""
    violations = tuple(
        Violation(rule.id, severity, f"node {index}", f"Is wrong {index} times.", "Mend it.")
        for rule in RULES
        for severity in ("error", "warning")
        for index in range(MAX_VIOLATIONS)
    )
    cases = {
        "none": (),
        "clean": reports[:1],
        "many": (replace(reports[0], violations=violations),) * 3,
        "strange": strange,
        "unusable": (replace(strange[0], violations=(), unusable=STRANGE + STRANGE_PATH),),
    }
    return cases[request.param]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(reports: tuple[Report, ...]) -> None:
    assert [report.passed for report in reports] == [True, False, False, False]
    assert [bool(report.unusable) for report in reports] == [False, False, False, True]
    assert {violation.rule for violation in reports[1].violations} == {"SD003", "SD004"}
    assert "warning" in {violation.severity for violation in reports[2].violations}


def test_warnings_alone_do_not_fail(reports: tuple[Report, ...]) -> None:
    warnings = tuple(v for v in reports[2].violations if v.severity == "warning")
    assert warnings
    assert replace(reports[2], violations=warnings).passed


# SARIF.


def valid_sarif(reports: tuple[Report, ...]) -> Any:
    """The document's only run, held against the published schema."""
    text = sarif(reports)
    text.encode("utf-8")
    document = json.loads(text)
    jsonschema.validate(document, SARIF, format_checker=FORMATS)
    return document["runs"][0]


def test_sarif_keeps_the_published_schema(reports: tuple[Report, ...]) -> None:
    valid_sarif(reports)


def test_sarif_of_any_report_keeps_the_published_schema(unusual: tuple[Report, ...]) -> None:
    run = valid_sarif(unusual)
    assert len(run["results"]) == sum(len(report.violations) for report in unusual)


@pytest.mark.parametrize("key", ["message", "ruleId", "locations"])
def test_the_published_schema_is_one_that_can_be_broken(reports: Any, key: str) -> None:
    document = json.loads(sarif(reports))
    document["runs"][0]["results"][0][key] = 7
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SARIF, format_checker=FORMATS)


def test_a_uri_with_a_space_breaks_the_schema(reports: tuple[Report, ...]) -> None:
    document = json.loads(sarif(reports))
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    place["artifactLocation"]["uri"] = "my models/nano.onnx"
    with pytest.raises(jsonschema.ValidationError, match="uri-reference"):
        jsonschema.validate(document, SARIF, format_checker=FORMATS)


def test_sarif_has_what_code_hosts_need_beyond_the_schema(reports: tuple[Report, ...]) -> None:
    """One place with a line, the rule's text and a fingerprint: optional in the standard."""
    run = valid_sarif(reports)
    assert run["results"]
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
    for result in run["results"]:
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] == 1
        assert all(re.search(r"/v\d+$", key) for key in result["partialFingerprints"])
        assert result["partialFingerprints"]


def test_sarif_names_rule_node_remedy_and_file(reports: tuple[Report, ...], tmp_path: Path) -> None:
    run = json.loads(sarif(reports, tmp_path))["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    violations = [violation for report in reports for violation in report.violations]
    assert len(run["results"]) == len(violations)
    for result, violation in zip(run["results"], violations, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == violation.rule
        assert result["level"] == violation.severity
        assert violation.message in result["message"]["text"]
        assert violation.remedy in result["message"]["text"]
        logical = result["locations"][0].get("logicalLocations", [])
        assert [place["fullyQualifiedName"] for place in logical] == [violation.node][
            : len(violation.node)
        ]
    assert uris(run) == {"my%20models/nano.onnx", "trapped.onnx"}


def test_sarif_gives_a_file_uri_to_files_outside_the_root(
    reports: tuple[Report, ...], tmp_path: Path
) -> None:
    run = json.loads(sarif(reports, tmp_path / "my models"))["runs"][0]
    assert (tmp_path / "trapped.onnx").as_uri() in uris(run)


def test_sarif_says_which_file_could_not_be_read(reports: tuple[Report, ...]) -> None:
    invocation = json.loads(sarif(reports))["runs"][0]["invocations"][0]
    assert invocation["executionSuccessful"] is False
    (notification,) = invocation["toolExecutionNotifications"]
    assert "text.onnx" in notification["message"]["text"]


def test_fingerprints_are_stable_and_distinguish_violations(reports: tuple[Report, ...]) -> None:
    prints = [
        tuple(result["partialFingerprints"].values())
        for result in json.loads(sarif(reports))["runs"][0]["results"]
    ]
    assert len(set(prints)) == len(prints)
    again = json.loads(sarif(reports[::-1]))["runs"][0]["results"]
    assert {tuple(result["partialFingerprints"].values()) for result in again} == set(prints)


def uris(run: Any) -> set[str]:
    return {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in run["results"]
    }


# JUnit.


def test_junit_keeps_the_published_schema(reports: tuple[Report, ...]) -> None:
    JUNIT.validate(ElementTree.fromstring(junit(reports)))


def test_junit_of_any_report_keeps_the_published_schema(unusual: tuple[Report, ...]) -> None:
    document = junit(unusual).encode("utf-8")
    JUNIT.validate(ElementTree.fromstring(document))


def test_the_published_xml_schema_is_one_that_can_be_broken(reports: tuple[Report, ...]) -> None:
    root = ElementTree.fromstring(junit(reports))
    del root[0].attrib["tests"]
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        JUNIT.validate(root)


def test_junit_counts_what_it_lists(reports: tuple[Report, ...]) -> None:
    parsed = junitparser.JUnitXml.fromstring(junit(reports).encode())
    suites = list(parsed)
    assert [suite.tests for suite in suites] == [len(RULES)] * 3 + [1]
    assert [suite.errors for suite in suites] == [0, 0, 0, 1]
    assert [suite.failures for suite in suites] == [
        len({violation.rule for violation in report.errors}) for report in reports
    ]
    assert parsed.tests == 3 * len(RULES) + 1
    assert parsed.failures == sum(suite.failures for suite in suites)


def test_junit_names_rule_node_and_remedy(reports: tuple[Report, ...]) -> None:
    parsed = junitparser.JUnitXml.fromstring(junit(reports).encode())
    case = next(case for case in list(parsed)[1] if case.name == "SD004 Operators")
    (failure,) = case.result
    violation = next(found for found in reports[1].violations if found.rule == "SD004")
    for text in (violation.node, violation.message, violation.remedy):
        assert text in failure.text


# Table.


def test_the_table_fits_into_100_columns(
    reports: tuple[Report, ...], strange: tuple[Report, ...]
) -> None:
    for report in (*reports, *strange):
        text = rendered(report)
        assert max(map(len, text.splitlines())) <= 100
        for violation in report.violations:
            assert violation.rule in text


def test_the_table_prints_names_as_they_are(reports: tuple[Report, ...]) -> None:
    violation = Violation("SD004", "error", "layers[0].attn", "Is [bold]wrong[/bold].", "Mend it.")
    text = rendered(replace(reports[0], violations=(violation,)))
    assert "layers[0].attn" in text
    assert "Is [bold]wrong[/bold]." in text


def test_the_summary_has_a_line_a_file(reports: tuple[Report, ...]) -> None:
    lines = [Text.from_markup(line).plain for line in summary(reports).splitlines()]
    assert [line.split()[0] for line in lines] == ["pass", "FAIL", "FAIL", "unusable"]
    assert lines[1].endswith("2 errors, 0 warnings of standard-ops")


def rendered(report: Report) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report_table(report))
    return console.export_text()
