"""What the doctor finds, and how its report looks."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from slide_deploy.backends import doctor
from slide_deploy.backends.doctor import INSTALLATION, MACHINE, MEASURED_ON, Finding, examine
from slide_deploy.cli import app
from slide_deploy.terminal.console import WIDTH, findings_table


def lines(findings: list[Finding]) -> list[str]:
    console = Console(width=WIDTH, record=True, quiet=False)
    with console.capture() as capture:
        console.print(findings_table(findings))
    return [line.rstrip() for line in capture.get().splitlines() if line.strip()]


def test_facts_of_the_machine_follow_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"system": "Linux", "processor": "P", "usable cores": "4"}
    monkeypatch.setattr(doctor, "describe", lambda: dict(facts))
    found = examine()
    parts = [finding.part for finding in found]
    assert parts == sorted(parts, key=(INSTALLATION, MACHINE, MEASURED_ON).index)
    machine = {finding.subject: finding for finding in found if finding.part == MACHINE}
    assert list(machine) == [*facts, "usable threads", "fingerprint"]
    assert all(finding.ok is None for finding in machine.values())
    assert machine["processor"].detail == "P"


def test_findings_of_other_parts_get_their_own_heading() -> None:
    targets = [
        Finding("openvino:cpu", True, "2026.4.1, Intel [R]", "targets"),
        Finding("coreml:ane", False, "needs macOS", "targets"),
    ]
    fact = Finding("system", None, "Linux", MACHINE)
    shown = lines([targets[0], fact, targets[1]])
    assert [line.split() for line in shown] == [
        ["targets"],
        ["openvino:cpu", "yes", "2026.4.1,", "Intel", "[R]"],
        ["coreml:ane", "no", "needs", "macOS"],
        ["machine"],
        ["system", "Linux"],
    ]


def test_the_table_fits_a_hundred_columns_whatever_a_fact_says() -> None:
    shown = lines([*examine(), Finding("library", False, "pip install " + "x" * 300, "targets")])
    assert max(map(len, shown)) <= WIDTH


def test_json_holds_every_finding() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "-"])
    assert result.exit_code == 0
    found = {finding["subject"]: finding for finding in json.loads(result.output)}
    assert found["fingerprint"]["ok"] is None
    assert found["fingerprint"]["part"] == "machine"
    assert found["onnxruntime"]["part"] == "installation"
