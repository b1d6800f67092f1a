"""Output files of commands: one meaning of --json, checked before work, never lost afterwards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.result import read
from slide_deploy import cli
from slide_deploy.hosts import load_checkpoint
from tests.support import GOLDEN, exported, exported_path

NANO = str(GOLDEN / "slide_swin_nano.pth")
ROOT = Path(__file__).parents[1]
SCRIPTED = "tests.benchmarks.scripted:scripted"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command line with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return run


@pytest.fixture(scope="module")
def onnx() -> Path:
    return exported_path(exported(load_checkpoint(Path(NANO))), "onnx")


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments of a bench of two files that takes no time to speak of."""
    monkeypatch.setattr("benchmarks.measuring.race.REST", 0.0)
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({"script": "noisy", "milliseconds": 1.0}))
    files = (str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    return ("bench", *files, "--target", SCRIPTED, "--rounds", "6", "--seconds", "0.1")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (80, 70), (200, 30, 10)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.fixture
def calls(
    onnx: Path, picture: Path, tmp_path: Path, scripted: tuple[str, ...], run: Run
) -> dict[str, tuple[object, ...]]:
    """A call of each command that has --json."""
    result = tmp_path / "result.json"
    assert run(*scripted, "--json", result, "-q")[0] == 0
    (tmp_path / "pictures").mkdir()
    shutil.copy(picture, tmp_path / "pictures")
    return {
        "export": ("export", NANO, "--to", "onnx", "--out", tmp_path / "out", "--force"),
        "fold": ("fold", NANO, "-o", tmp_path / "folded.safetensors", "--force"),
        "verify": ("verify", onnx, "--against", NANO),
        "predict": ("predict", onnx, picture),
        "evaluate": ("evaluate", onnx, "--against", NANO, "--data", tmp_path / "pictures"),
        "check": ("check", onnx),
        "inspect": ("inspect", onnx),
        "bench": scripted,
        "compare": ("compare", result, result),
        "doctor": ("doctor",),
        "models": ("models",),
        "tune": tune(tmp_path / "table.json"),
    }


def tune(table: Path) -> tuple[object, ...]:
    forms = ("--form", "depthwise", "--form", "flat", "--strips", "1", "--seconds", "0.1")
    target = ("--target", "onnxruntime:cpu", "--threads", "1", "--out", table)
    return ("tune", "--attention", "32x8x8", *target, *forms)


def commands_with_json() -> set[str]:
    import typer

    group = typer.main.get_command(cli.app)
    return {
        name
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        if any("--json" in parameter.opts for parameter in command.params)
    }


@pytest.mark.full
def test_json_is_a_path_in_every_command_and_the_only_text_on_standard_output(
    run: Run, calls, tmp_path: Path
) -> None:
    assert calls.keys() == commands_with_json()
    for name, call in calls.items():
        code, out, err = run(*call, "--json", "-")
        assert code == 0, (name, err)
        on_stdout = json.loads(out)
        assert err == "", name
        code, out, err = run(*call, "--json", tmp_path / f"{name}-out.json")
        assert code == 0, (name, err)
        assert f"written: {tmp_path / f'{name}-out.json'}" in out
        in_file = json.loads((tmp_path / f"{name}-out.json").read_text())
        assert type(in_file) is type(on_stdout)
        if isinstance(in_file, dict):
            assert in_file.keys() == on_stdout.keys()


@pytest.mark.full
def test_every_output_is_the_only_text_on_standard_output(run: Run, onnx: Path, scripted) -> None:
    ElementTree.fromstring(run("check", onnx, "--junit", "-")[1])
    assert json.loads(run("check", onnx, "--sarif", "-")[1])["version"] == "2.1.0"
    assert run(*scripted, "--html", "-")[1].startswith("<!doctype html>")
    _, out, err = run(*scripted, "--markdown", "-")
    assert out.startswith("#")
    assert "written" not in out and err == ""


def test_the_former_json_flag_is_refused_in_one_sentence(
    run: Run, onnx: Path, tmp_path: Path
) -> None:
    code, out, err = run("check", onnx, "--json", "--quiet")
    assert (code, out) == (2, "")
    assert "--json needs a file, or - for standard output" in err


def test_a_path_is_used_once_and_no_input_is_overwritten(
    run: Run, onnx: Path, tmp_path: Path
) -> None:
    before = onnx.read_bytes()
    (tmp_path / "link").symlink_to(onnx)
    for places, sentence in (
        (("--json", "-", "--sarif", "-"), "--sarif - is also the output of --json"),
        (("--json", "-", "--sarif", "/dev/stdout"), "is also the output of --json"),
        (("--json", tmp_path / "x", "--junit", tmp_path / "x"), "is also the output of --json"),
        (("--json", onnx), "is an input of this command"),
        (("--json", tmp_path / "link"), "is an input of this command"),
    ):
        code, _, err = run("check", onnx, *places)
        assert code == 2
        assert sentence in err
    assert onnx.read_bytes() == before
    assert run("check", onnx, "--json", "/dev/null", "--sarif", "/dev/null")[0] == 0


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "-"])
def test_every_name_of_standard_output_reaches_the_shell(
    onnx: Path, place: str, tmp_path: Path
) -> None:
    """In a file that standard output is redirected to, and behind what is there."""
    command = f"{sys.executable} -m slide_deploy check {onnx} --json {place} >> {tmp_path / 'log'}"
    (tmp_path / "log").write_text("[")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", command], env=environment, check=True)
    text = (tmp_path / "log").read_text()
    assert text.startswith("[") and json.loads(text[1:])["passed"] is True


def test_a_process_substitution_gets_the_text(onnx: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"{sys.executable} -m slide_deploy check {onnx} --json >(cat > {log}); wait $!"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", command], env=environment, check=True, capture_output=True)
    assert json.loads(log.read_text())["passed"] is True


def test_a_full_disk_behind_standard_output_is_one_sentence(onnx: Path, tmp_path: Path) -> None:
    for options in ("", "--json -"):
        command = f"{sys.executable} -m slide_deploy check {onnx} {options} > /dev/full"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        answer = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True
        )
        assert answer.returncode == 2
        assert len(answer.stderr.strip().splitlines()) == 1
        assert "No space left on device" in answer.stderr


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if work begins."""

    def work(*arguments: object, **options: object) -> None:
        pytest.fail("work has begun")

    monkeypatch.setattr("slide_deploy.hosts.load_checkpoint", work)
    monkeypatch.setattr("benchmarks.measuring.race.race", work)
    monkeypatch.setattr("slide_deploy.graph_checks.check_files", work)
    monkeypatch.setattr("slide_deploy.graph_checks.read_graph", work)
    monkeypatch.setattr("slide_deploy.tasks.contests.run_contests", work)


@pytest.mark.parametrize("bad", ["{tmp}", "{tmp}/no/x", "{tmp}/a.json/x", "/proc/x"])
def test_every_output_path_is_checked_before_work_begins(
    run: Run, idle: None, onnx: Path, picture: Path, scripted, tmp_path: Path, bad: str
) -> None:
    place = bad.format(tmp=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    trained = ("export", NANO, "--to", "onnx")
    calls: list[tuple[object, ...]] = [
        (*trained, "--out", tmp_path / "out", "--json", place),
        ("fold", NANO, "-o", tmp_path / "f.safetensors", "--json", place),
        ("fold", NANO, "-o", f"{place}/f.safetensors" if bad != "{tmp}" else "/proc/f.safetensors"),
        ("check", onnx, "--json", place),
        ("check", onnx, "--junit", place),
        ("check", onnx, "--sarif", place),
        ("inspect", onnx, "--json", place),
        (*scripted, "--json", place),
        (*scripted, "--html", place),
        (*scripted, "--markdown", place),
        (*scripted, "--bundle", place),
        tune(Path(place)),
        (*tune(tmp_path / "t.json"), "--json", place),
    ]
    if bad not in ("{tmp}", "{tmp}/no/x"):  # a folder that is missing is made
        calls.append((*trained, "--out", place))
    for call in calls:
        code, out, err = run(*call)
        assert (code, out) == (2, ""), call
        assert "cannot be written" in err or "is not a file" in err, (call, err)
        assert len(err.strip().splitlines()) == 1, err
    assert sorted(tmp_path.rglob("*")) == before


def test_existing_final_names_are_refused_before_loading(
    run: Run, idle: None, tmp_path: Path
) -> None:
    (tmp_path / "slide_swin_nano.onnx").touch()
    os.mkfifo(tmp_path / "slide_swin_nano.xml")
    call = ("export", NANO, "--out", tmp_path, "--to")
    assert "exists: give --force" in run(*call, "onnx")[2]
    assert "is a pipe, which is not replaced" in run(*call, "openvino", "--force")[2]


def test_too_many_strips_are_refused_before_folding(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from exporters import pipeline

    monkeypatch.setattr(pipeline, "reparameterize", lambda *_: pytest.fail("folding has begun"))
    call = ("export", NANO, "--to", "onnx", "--out", tmp_path / "out", "--lowering", "flat/100")
    code, _, err = run(*call)
    assert code == 2
    assert "layers.0.blocks.0.attn as flat/100: A feature map of 16 rows cannot be cut" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_measurements_survive_an_output_that_fails(
    run: Run, scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    page = tmp_path / "page.html"
    code, out, err = run(*scripted, "--json", "/dev/full", "--html", page)
    assert code == 2
    (sentence,) = [line for line in err.splitlines() if line.startswith("slide-deploy")]
    assert "/dev/full cannot be written (No space left on device)" in sentence
    kept = Path(sentence.removesuffix(".").split(" is kept in ")[1])
    assert len(read(kept).measurements) == 2
    assert page.exists()
    assert "a.json on" in out


@pytest.mark.slow
def test_a_folder_that_vanishes_while_measuring_loses_nothing(
    run: Run, scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.measuring import race as module

    race = module.race

    def vanishing(*arguments: object) -> object:
        (tmp_path / "results").rmdir()
        return race(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "race", vanishing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "results").mkdir()
    code, _, err = run(*scripted, "--json", tmp_path / "results" / "run.json")
    assert code == 2
    assert len(read(Path(err.strip().removesuffix(".").split(" kept in ")[1])).measurements) == 2


def test_a_calibration_that_cannot_be_stored_is_refused(
    run: Run, idle: None, scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a.json"))
    code, _, err = run(*scripted, "--calibrate")
    assert code == 2
    assert "cannot be written to (Not a directory): check XDG_CACHE_HOME" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--fail-above", "5"), "is ambiguous: give 5% or 500%"),
        (("--fail-above", "1"), "give 1% or 100%"),
        (("--fail-above", "-5%"), "is not a percentage"),
        (("--fail-above", "nan"), "is not a percentage"),
        (("--fail-above", "5%", "--bundle", "b.zip"), "leave out --fail-above"),
        (("--json", "run.json", "--bundle", "b.zip"), "leave out --json"),
    ],
)
def test_a_gate_that_would_be_ignored_is_refused(
    run: Run, idle: None, scripted, options, sentence, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*scripted, *options)
    assert code == 2
    assert sentence in err
    assert not (tmp_path / "b.zip").exists()


def test_a_gate_needs_something_to_compare(run: Run, idle: None, scripted, tmp_path: Path) -> None:
    bench, first, _, *rest = scripted
    code, _, err = run(bench, first, *rest, "--fail-above", "5%")
    assert (code, "there is no other" in err) == (2, True), err
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'name = "s"\ntargets = ["{SCRIPTED}"]\n[[candidate]]\nname = "a"\nfile = "a.json"\n'
    )
    code, _, err = run(bench, "--suite", suite, "--fail-above", "5%", "--work", tmp_path / "work")
    assert (code, "there is no other" in err) == (2, True), err
    streams = ("--streams", "1", "--streams", "2", "--fail-above", "5%")
    code, _, err = run(bench, first, *rest, *streams)
    assert (code, "give one number of --streams" in err) == (2, True), err


@pytest.mark.slow
def test_a_comparison_without_candidates_exits_with_2(run: Run, scripted, tmp_path: Path) -> None:
    result = tmp_path / "run.json"
    assert run(*scripted, "--json", result, "-q")[0] == 0
    content = json.loads(result.read_text())
    for each in content["measurements"]:
        each["rounds"] = each["rounds"][:2]
    short = tmp_path / "short.json"
    short.write_text(json.dumps(content))
    code, _, err = run("compare", result, short, "--fail-above", "5%")
    assert code == 2
    assert "have no comparable candidates" in err
    assert run("compare", result, result, "--fail-above", "5%")[0] == 0
    code, _, err = run("compare", result, result, "--fail-above", "5")
    assert (code, "give 5% or 500%" in err) == (2, True)
