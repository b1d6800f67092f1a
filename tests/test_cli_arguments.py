"""Arguments of the command line: spellings of formats, empty values, and shell completion."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slide_deploy import cli
from slide_deploy.cli import completion
from slide_deploy.errors import InputError
from slide_deploy.formats import known_formats
from slide_deploy.lowerings import FORMS
from slide_deploy.tasks.options import AUTO, parse_formats
from tests.support import GOLDEN

OPENVINO = ("cpu", "gpu", "npu", "auto")
# What "all" means here.
INSTALLED = tuple(
    each.name for each in known_formats() if each.is_installed and not each.is_preview
)
NANO = str(GOLDEN / "slide_swin_nano.pth")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The sentence that a command ends with."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["slide-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        assert (exit.value.code, out) == (2, "")
        last = err.splitlines()[-1]
        assert last.startswith("slide-deploy: ")
        return last.removeprefix("slide-deploy: ")

    return call


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["onnx"], ("onnx",)),
        (["ONNX"], ("onnx",)),
        (["OpenVino", "onnx"], ("openvino", "onnx")),
        (["onnx,openvino"], ("onnx", "openvino")),
        (["onnx, CoreML", "onnx"], ("onnx", "coreml")),
        (["all"], INSTALLED),
        (["ALL", "onnx"], INSTALLED),
        (["coreml,all"], ("coreml", *(name for name in INSTALLED if name != "coreml"))),
    ],
)
def test_formats_are_accepted_in_any_spelling(texts: list[str], formats: tuple[str, ...]) -> None:
    assert parse_formats(texts) == formats


@pytest.mark.parametrize("text", ["tflite", "onnx,tflite", "onnx,", ",", "onnx openvino"])
def test_unknown_formats_are_refused_with_a_list(text: str) -> None:
    with pytest.raises(InputError, match="is not a format: choose one of onnx, openvino, coreml"):
        parse_formats([text])


@pytest.mark.slow
def test_formats_separated_by_commas_are_exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call = ["export", NANO, "--to", "ONNX,OpenVINO", "--out", str(tmp_path), "--json", "-"]
    spelled = ["--precision", "FLOAT32", "--lowering", "Depthwise", "--weights", "Auto"]
    monkeypatch.setattr(sys, "argv", ["slide-deploy", *call, *spelled])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [file["format"] for file in files] == ["onnx", "openvino"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("export", NANO, "--to", "onnx", "--out", ""), "--out"),
        (("export", NANO, "--to", "onnx", "--out="), "--out"),
        (("export", "", "--to", "onnx"), "An argument"),
        (("export", NANO, "--to", ""), "--to"),
        (("fold", NANO, "-o", ""), "-o"),
        (("verify", "model.onnx", "--against", ""), "--against"),
        (("predict", "model.onnx", "a.png", ""), "An argument"),
        (("check", "", "model.onnx"), "An argument"),
    ],
)
def test_empty_values_are_refused(
    refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(*arguments) == f"{what} is empty: give it a value, or leave it out."
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "..", "./"])
def test_the_current_folder_gets_its_real_name(
    refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    inside = tmp_path / "weights"
    inside.mkdir()
    monkeypatch.chdir(inside)
    folder = tmp_path if place == ".." else inside
    assert str(folder) in refused("export", place, "--to", "onnx")
    assert str(folder) in refused("fold", place, "-o", "f.safetensors")


def test_swapped_arguments_of_verify_are_refused(refused, tmp_path: Path) -> None:
    for suffix in (".onnx", ".xml", ".mlpackage", ".ONNX"):
        file = tmp_path / f"model{suffix}"
        assert refused("verify", NANO, "--against", file) == (
            f"{NANO} and {file} are swapped: give verify {file} --against {NANO}."
        )
        assert "does not exist" in refused("verify", file, "--against", tmp_path / "other.onnx")
    assert "is a checkpoint: give an exported file first" in refused(
        "verify", NANO, "--against", NANO
    )


def test_an_image_size_of_zero_is_refused(refused) -> None:
    said = refused("fold", NANO, "-o", "f.safetensors", "--image-size", "0")
    assert said == "--image-size 0 is not a size: give 224 or 512x768."


def completed(*words: str) -> tuple[list[str], float]:
    """What bash is offered for the last word, and the processor time that it took."""
    environment = os.environ | {
        "_SLIDE_DEPLOY_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["slide-deploy", *words]),
        "COMP_CWORD": str(len(words)),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *offered, heavy = out.stdout.splitlines()
    assert heavy == "[]"
    return offered, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


_PROBE = """
import sys
from slide_deploy.cli import main
try:
    main()
except SystemExit:
    pass
print([name for name in ("torch", "onnx", "onnxruntime", "openvino") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (
            ("export", "m.pth", "--to", ""),
            ["onnx", "openvino", "coreml", "litert", "executorch", "coreai", "all"],
        ),
        (("export", "m.pth", "--to", "o"), ["onnx", "openvino"]),
        (
            ("export", "m.pth", "--to", "onnx,"),
            ["onnx,openvino", "onnx,coreml", "onnx,litert", "onnx,executorch", "onnx,coreai"],
        ),
        (("export", "m.pth", "--precision", "f"), ["float32", "float16"]),
        (("export", "m.pth", "--lowering", ""), [AUTO, *completion.FORMS]),
        (("fold", "m.pth", "--weights", "a"), ["auto", "averaged"]),
        (("tune", "--form", "d"), ["depthwise"]),
        (("export", "m.pth", "--preset", "a"), ["apple", "android"]),
        # Nothing is offered for files: the shell completes their names itself.
        (("check", "m"), [""]),
        (("bench", "--precision", "b"), ["bfloat16"]),
        (("tune", "--target", "openvino"), [f"openvino:{name}" for name in OPENVINO]),
        (("export", "m.pth", "--image"), ["--image-size"]),
        (("ins",), ["inspect"]),
    ],
)
def test_the_shell_completes_names_without_torch(
    words: tuple[str, ...], offered: list[str]
) -> None:
    assert completed(*words)[0] == offered


def test_completion_is_fast() -> None:
    assert min(completed("export", "m.pth", "--to", "")[1] for _ in range(3)) < 0.5


def test_completion_can_be_shown_and_installed() -> None:
    # typer asks which shell it was started from; here that is whatever make uses.
    out = subprocess.run(
        [sys.executable, "-m", "slide_deploy", "--show-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    ).stdout
    assert "_SLIDE_DEPLOY_COMPLETE=complete_bash" in out
    assert "complete -o default" in out  # files, where the command offers nothing
    assert out.rstrip().endswith("slide-deploy")


@pytest.mark.parametrize(
    ("shell", "files"),
    [
        ("bash", [".bashrc", ".bash_completions/slide-deploy.sh"]),
        ("zsh", [".zshrc", ".zfunc/_slide-deploy"]),
        ("fish", [".config/fish/completions/slide-deploy.fish"]),
    ],
)
def test_completion_is_installed_for_a_shell(tmp_path: Path, shell: str, files: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "slide_deploy", "--install-completion", shell],
        check=True,
        capture_output=True,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        },
    )
    assert all((tmp_path / name).stat().st_size for name in files)
    assert "_SLIDE_DEPLOY_COMPLETE" in (tmp_path / files[-1]).read_text()


def test_completed_names_equal_those_of_their_modules() -> None:
    assert tuple(FORMS) == completion.FORMS


def test_an_unknown_precision_of_bench_is_refused_before_measuring(refused) -> None:
    said = refused("bench", "missing.onnx", "--precision", "bf16")
    assert "bf16 is unknown: give one of float32, float16, bfloat16, default." in said


def test_paragraphs_of_help_do_not_keep_docstring_line_breaks() -> None:
    said = CliRunner().invoke(cli.app, ["evaluate", "--help"], terminal_width=200).stdout
    assert "[FILE]..." in said
    assert "Files are compared with the network, or with" in " ".join(said.split())
    commands = cli.app.registered_commands
    texts = [each.help or "" for each in commands]
    assert all(text and "\n" not in text.replace("\n\n", "") for text in texts)
