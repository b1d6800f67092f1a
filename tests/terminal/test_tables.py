"""Tables fit the width that there is; figures and names stay whole, and no column vanishes."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from slide_deploy.graph_checks.check import Report
from slide_deploy.graph_checks.reports import report_table
from slide_deploy.graph_checks.rules import Violation
from slide_deploy.terminal.console import WIDTH, stdout, table
from tests.support import GOLDEN

LAYERS = [f"layers.{stage}.blocks.{block}.attn" for stage in (0, 1) for block in (0, 17)]
FIGURES = ("3", "1.0e-16", "9.1e-08")


def printed(grid: object, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, emoji=False, soft_wrap=True, highlight=False)
    console.print(grid)
    return stream.getvalue()


def certificate() -> object:
    headers = ("k", "error, float64", "after rounding")
    grid = table("Certificate", [("layer", False), *((header, True) for header in headers)])
    for layer in LAYERS:
        grid.add_row(layer, *FIGURES)
    return grid


@pytest.mark.parametrize("width", [30, 40, 44, 50, 60, 80, 100])
def test_names_and_figures_are_not_broken_and_no_column_is_missing(width: int) -> None:
    out = printed(certificate(), width)
    assert max(map(len, out.splitlines())) <= width
    for text in (*LAYERS, *FIGURES, "Certificate", "error,", "float64", "rounding"):
        assert text in out, text
    assert all(sum(layer in line for line in out.splitlines()) == 1 for layer in LAYERS)


def test_a_table_with_enough_width_has_one_line_for_each_row() -> None:
    lines = printed(certificate(), 100).rstrip().splitlines()
    assert len(lines) == 4 + len(LAYERS)
    assert "error, float64   after rounding" in lines[2]


def test_headers_wrap_first() -> None:
    lines = printed(certificate(), 60).rstrip().splitlines()
    assert len([line for line in lines if FIGURES[1] in line]) == len(LAYERS)
    assert all(layer in line for layer, line in zip(LAYERS, lines[-len(LAYERS) :], strict=True))


def test_prose_wraps_beside_its_name_and_breaks_long_paths() -> None:
    path = "/a/folder/that/is/deep/" * 5
    grid = table("", [("subject", False), ("", False), ("", False)])
    grid.add_row("onnxruntime:directml", "yes", "some words that tell what would help here")
    grid.add_row("table", "no", path)
    out = printed(grid, 60)
    assert max(map(len, out.splitlines())) <= 60
    assert "onnxruntime:directml" in out
    assert path in "".join(line[27:].strip() for line in out.splitlines())


@pytest.mark.parametrize("width", [60, 80, 100])
def test_violations_do_not_break_the_name_of_the_node(width: int) -> None:
    node = "/layers.0/blocks.0/attn/MatMul_3"
    remedy = "Write the operator in terms of listed ones, or add it to the policy where it is."
    violation = Violation("SD004", "error", node, "Swish is no operator.", remedy)
    report = Report(Path("model.onnx"), "onnx", "standard-ops", (violation,))
    out = printed(report_table(report), width)
    assert max(map(len, out.splitlines())) <= width
    assert node in out
    words = " ".join(out.split())
    assert all(word in words for word in remedy.split())


def test_cells_that_look_like_markup_or_emoji_are_printed_as_they_are() -> None:
    from rich.markup import escape

    name = "[bold]x :smile: [red]"
    for width in (30, 100):
        grid = table(escape(name), [("a", False), ("b" * 28, True)])
        grid.add_row(escape(name), "1")
        assert printed(grid, width).count(name) == 2


@pytest.mark.parametrize(
    ("asked", "width"), [("60", 60), ("140", 140), ("", WIDTH), ("x", WIDTH), ("0", WIDTH)]
)
def test_the_environment_sets_the_width_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, asked: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", asked)
    assert stdout().width == width
    monkeypatch.setenv("COLUMNS", "1")
    assert stdout().width == 30


@pytest.mark.parametrize("command", ["models", "doctor", "fold"])
@pytest.mark.parametrize("width", [60, 80, 100])
def test_commands_keep_the_width(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    arguments = {"fold": [GOLDEN / "slide_swin_nano.pth", "-o", tmp_path / "f.safetensors"]}
    code, out, err = run(command, *arguments.get(command, []))
    assert code == 0, err
    lines = [line for line in out.splitlines() if "written" not in line and "pixels" not in line]
    assert max(map(len, lines)) <= width
    if command == "fold":
        assert "layers.0.blocks.0.attn" in out
