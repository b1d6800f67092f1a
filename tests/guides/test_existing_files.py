"""docs/existing-files.md, followed, and the steps of its workflow, run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from tests.guides.snippets import DOCS, ROOT, blocks, follow
from tests.written_elsewhere import Plain, branched, write

PAGE = DOCS / "existing-files.md"


@pytest.mark.full
def test_the_page_runs_from_its_first_block_to_its_last(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "digits.pth", tmp_path / "examples")
    printed = follow(PAGE, tmp_path, run, {})
    [shown] = [block.text for block in blocks(PAGE) if "Fold certificate" in block.text]
    for title in ("Fold certificate", "Verification against the input file on ONNX Runtime"):
        assert title in printed and title in shown
    layers = [line.split()[0] for line in shown.splitlines() if "blocks" in line]
    assert len(layers) == 4 and all(f"  {layer} " in printed for layer in layers)
    rows = [line.split() for line in printed.splitlines() if line.split()[1:3] == ["3", "2"]]
    assert rows and all(row[-1] == "0" for row in rows), "each has a branch that is a shift"
    keys = json.loads((tmp_path / "folded.json").read_text())
    rows = PAGE.read_text().partition("## Read the certificate")[2].partition("\n## ")[0]
    named = [
        part.strip("` ")
        for row in rows.splitlines()
        if row.startswith("| `")
        for part in row.split("|")[1].split(",")
    ]
    assert {name.partition(".")[0] for name in named} == set(keys)
    for name in named:
        outer, _, inner = name.partition(".")
        assert not inner or inner in keys[outer], name


@pytest.fixture
def steps(tmp_path: Path) -> Any:
    """Runs the steps of the workflow, except the installation; gives the name of a failed one."""
    workflow = yaml.safe_load((DOCS / "ci" / "fold-onnx.yml").read_text())
    scripts = [
        (step["name"], step["run"])
        for step in workflow["jobs"]["fold"]["steps"]
        if "run" in step and "name" in step
    ]
    program = tmp_path / "bin" / "slide-deploy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m slide_deploy "$@"\n')
    program.chmod(0o755)
    if shutil.which("jq") is None:  # on runners of GitHub it is
        jq = tmp_path / "bin" / "jq"
        code = "import json, sys; print(json.dumps(json.load(open(sys.argv[2]))[sys.argv[1][1:]]))"
        jq.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$@\"\n")
        jq.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def call() -> str | None:
        for name, script in scripts:
            shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
            done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True)
            if done.returncode:
                return str(name)
        return None

    (tmp_path / "exported").mkdir()
    return call


@pytest.mark.slow
def test_the_workflow_folds_a_file_with_its_data(steps: Any, tmp_path: Path) -> None:
    source = branched(dynamo=True)
    for path in source.parent.iterdir():
        shutil.copy(path, tmp_path / "exported")
    assert (tmp_path / "exported" / "model.onnx.data").exists()
    assert steps() is None
    certificate = json.loads((tmp_path / "folded" / "model.json").read_text())
    assert certificate["passed"] and not certificate["is_unchanged"]


@pytest.mark.slow
def test_the_workflow_fails_where_nothing_was_folded(steps: Any, tmp_path: Path) -> None:
    write(Plain(), tmp_path / "exported" / "plain.onnx")
    assert steps() == "See that something was folded"


@pytest.mark.slow
def test_the_workflow_fails_where_a_file_cannot_be_read(steps: Any, tmp_path: Path) -> None:
    model = onnx.load(branched())
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, tmp_path / "exported" / "a.onnx")
    assert steps() == "Fold, and verify against the input file"
