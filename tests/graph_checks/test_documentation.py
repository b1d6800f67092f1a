"""The documentation lists the rules and the known runtime bugs as they are in the code."""

from pathlib import Path

import yaml

from slide_deploy.graph_checks.rules import rule_table
from slide_deploy.graph_checks.rules.runtime_bugs import RUNTIME_BUGS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "graph-checks.md").read_text(encoding="utf-8")


def test_the_table_of_rules_is_current() -> None:
    table = PAGE.partition("<!-- rules: begin -->\n")[2].partition("<!-- rules: end -->")[0]
    assert table == rule_table(), (
        "copy the output of slide_deploy.graph_checks.rules.rule_table() into the page"
    )


def test_every_known_runtime_bug_is_documented_with_its_versions() -> None:
    for bug in RUNTIME_BUGS:
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| {bug.name} |"))
        assert all(text in line for text in (bug.runtime, *bug.versions))


def test_the_example_workflow_checks_uploads_and_fails() -> None:
    workflow = yaml.safe_load((DOCS / "ci" / "github-actions.yml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    check = next(step for step in steps if "slide-deploy check" in step.get("run", ""))
    assert "continue-on-error" not in check
    upload = next(step for step in steps if "upload-sarif" in step.get("uses", ""))
    assert upload["with"]["sarif_file"] in check["run"]
    assert "!cancelled()" in upload["if"]
