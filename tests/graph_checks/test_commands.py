"""`check` and `inspect` on the command line: what they print, write and exit with."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from slide_deploy.cli import app, check
from slide_deploy.graph_checks import BUILT_IN, built_in_text
from tests.graph_checks.small_models import Files
from tests.mutants.editing import edit_onnx, node


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slide_deploy", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def damaged(exported: Files, tmp_path: Path) -> Path:
    return edit_onnx(
        exported["onnx"], tmp_path, lambda model: setattr(node(model, "Gelu"), "op_type", "Sinh")
    )


def test_check_exits_with_0_where_every_rule_holds(exported: Files) -> None:
    answer = run("check", *exported.values())
    assert answer.returncode == 0
    assert answer.stdout.count("no violations") == 3
    assert answer.stderr == ""


def test_check_exits_with_1_where_a_rule_is_broken(damaged: Path, tmp_path: Path) -> None:
    junit, sarif = tmp_path / "check.xml", tmp_path / "check.sarif"
    answer = run("check", damaged, "--junit", junit, "--sarif", sarif)
    assert answer.returncode == 1
    assert "SD004" in answer.stdout
    assert max(map(len, answer.stdout.splitlines())) <= 100 or str(damaged) in answer.stdout
    assert "SD004" in junit.read_text()
    assert json.loads(sarif.read_text())["runs"][0]["results"][0]["ruleId"] == "SD004"


def test_check_exits_with_2_where_a_file_cannot_be_used(exported: Files, tmp_path: Path) -> None:
    sarif = tmp_path / "check.sarif"
    answer = run("check", tmp_path / "absent.onnx", exported["onnx"], "--sarif", sarif)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert "absent.onnx does not exist" in answer.stderr
    assert "no violations" in answer.stdout
    assert sarif.exists()


@pytest.mark.parametrize("command", ["check", "inspect", "predict"])
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_folder_of_a_files_name_is_called_a_folder(
    tmp_path: Path, command: str, suffix: str
) -> None:
    folder = tmp_path / f"d{suffix}"
    folder.mkdir()
    answer = run(command, folder, *(["picture.png"] if command == "predict" else []))
    assert answer.returncode == 2
    assert answer.stderr == f"slide-deploy: {folder} is a folder: name the {suffix} file itself.\n"


def test_file_names_are_printed_as_they_are(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(damaged.parent)
    name = "[bold]x :smile:.onnx"
    damaged.rename(name)
    checked, inspected = run("check", name), run("inspect", name)
    assert f"{name} against standard-ops\n" in checked.stdout
    assert f"FAIL {name}: 1 errors" in checked.stdout
    assert f"{name}\n" in inspected.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "No file to check"),
        (("model.onnx", "--policy", "absent.toml"), "absent.toml cannot be read"),
    ],
)
def test_check_reports_missing_arguments(arguments: tuple[str, ...], sentence: str) -> None:
    answer = run("check", *arguments)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_report_that_cannot_be_written_is_named(exported: Files, tmp_path: Path) -> None:
    answer = run("check", exported["onnx"], "--junit", tmp_path / "absent" / "check.xml")
    assert answer.returncode == 2
    assert "check.xml cannot be written" in answer.stderr


def test_check_prints_json(exported: Files, damaged: Path) -> None:
    answer = run("check", exported["openvino"], damaged, "--json", "-")
    document = json.loads(answer.stdout)
    assert answer.returncode == 1
    assert document["passed"] is False
    assert [entry["passed"] for entry in document["files"]] == [True, False]
    assert document["files"][1]["violations"][0]["rule"] == "SD004"


def test_quiet_prints_nothing(damaged: Path) -> None:
    answer = run("check", damaged, "--quiet")
    assert (answer.returncode, answer.stdout, answer.stderr) == (1, "", "")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((), "standard-ops"), *(((name,), name) for name in BUILT_IN)],
)
def test_show_policy_prints_a_built_in_policy(arguments: tuple[str, ...], name: str) -> None:
    answer = run("check", "--show-policy", *arguments)
    assert answer.returncode == 0
    assert answer.stdout == built_in_text(name)


def test_show_policy_lists_the_built_in_policies() -> None:
    answer = run("check", "--show-policy", "strict")
    assert answer.returncode == 2
    assert answer.stderr == (
        "slide-deploy: strict is not a built-in policy: give --show-policy standard-ops or "
        "portable.\n"
    )


@pytest.mark.slow
def test_a_built_in_policy_is_given_by_name_and_reported(exported: Files, tmp_path: Path) -> None:
    model = onnx.load(exported["onnx"])
    del model.metadata_props[:]
    silent = tmp_path / "silent.onnx"
    onnx.save(model, silent)
    by_itself = run("check", silent, exported["onnx"], "--json", "-")
    policies = [entry["policy"] for entry in json.loads(by_itself.stdout)["files"]]
    assert (by_itself.returncode, policies) == (0, ["portable", "standard-ops"])
    strict = run("check", silent, "--policy", "standard-ops")
    assert strict.returncode == 1
    assert "SD017" in strict.stdout and "of standard-ops" in strict.stdout
    lenient = run("check", exported["onnx"], "--policy", "portable")
    assert lenient.returncode == 0
    assert "no violations of portable" in lenient.stdout


def test_inspect_prints_the_costs(exported: Files) -> None:
    answer = run("inspect", exported["openvino"])
    assert answer.returncode == 0
    for text in ("96,964", "1,712,384", "73,728 bytes", "GroupConvolution"):
        assert text in answer.stdout
    assert max(map(len, answer.stdout.splitlines()[1:])) <= 100


def test_inspect_prints_json(exported: Files) -> None:
    costs = json.loads(run("inspect", exported["onnx"], "--json", "-").stdout)
    assert costs["macs"] == 1_712_384
    assert costs["largest"]["shape"] == [1, 72, 16, 16]
    assert costs["uncounted"] == []


def test_large_files_show_which_one_is_checked(
    exported: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(exported["onnx"])
    assert "…" not in CliRunner().invoke(app, ["check", file]).stderr
    monkeypatch.setattr(check, "_LARGE", exported["onnx"].stat().st_size - 1)
    assert f"… check {file}\n" in CliRunner().invoke(app, ["check", file]).stderr
    assert CliRunner().invoke(app, ["check", file, "--quiet"]).stderr == ""
