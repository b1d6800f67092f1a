"""``export --explain``: what each pass changed and left, as text, in the manifest and as data."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slide_deploy
from exporters.explained import explanation, rewrite_lines
from exporters.outcome import ExportedFile
from slide_deploy.formats import ONNX, OPENVINO
from slide_deploy.passes.report import PassReport


def file(format: str, *reports: PassReport) -> ExportedFile:
    """Return a file with given rewrites; its other fields do not matter."""
    rest: dict[str, Any] = dict.fromkeys(ExportedFile.__dataclass_fields__)
    return ExportedFile(**rest | {"format": format, "rewrites": reports})


def merged() -> PassReport:
    report = PassReport("parallel_branches")
    for block in range(12):
        report.change(f"stages.{block}.block (Block)", "3 convolutions became one", 2e-16, 1e-8)
    report.change("head (Head)", "2 convolutions became one", 3e-16, parts=("head.a", "head.b"))
    report.refuse("neck.left (Conv2d)", "its padding is not zeros")
    report.refuse("neck.right (Conv2d)", "its padding is not zeros")
    return report


def test_the_same_change_is_one_line_with_the_first_layers() -> None:
    text = explanation([file("onnx", merged())], 100)
    assert text == (
        "Rewrites of onnx:\n"
        "  parallel_branches: 13 places changed, 2 left\n"
        "    12 × 3 convolutions became one: stages.0.block (Block), stages.1.block (Block),\n"
        "        stages.2.block (Block), stages.3.block (Block) and 8 more; error 2.0e-16; 1.0e-08 "
        "after\n"
        "        rounding\n"
        "    2 convolutions became one: head (Head), from head.a and head.b; error 3.0e-16\n"
        "    2 × left: its padding is not zeros: neck.left (Conv2d), neck.right (Conv2d)"
    )


def test_several_places_of_one_layer_are_counted_and_named_once() -> None:
    report = PassReport("constants")
    for _ in range(3):
        report.change("attn (Attention)", "a value became a constant")
    said = explanation([file("onnx", report)], 80)
    assert "3 × a value became a constant: attn (Attention)" in said
    assert "1 place changed" not in said


def test_formats_with_equal_rewrites_are_grouped() -> None:
    files = [
        file("onnx", merged()),
        file("openvino", PassReport("rolls")),
        file("coreml", merged()),
    ]
    lines = explanation(files, 100).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "Rewrites of onnx and coreml:",
        "Rewrites of openvino:",
    ]
    assert lines[-1] == "  nothing to change: rolls"
    assert explanation([file("onnx")], 100) == "Rewrites of onnx:"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_explanation_fits_the_width(width: int) -> None:
    assert max(map(len, explanation([file("onnx", merged())], width).splitlines())) <= width


def test_the_summary_appears_only_if_something_changed() -> None:
    left = PassReport("parallel_branches")
    left.refuse("neck (Neck)", "it is read elsewhere")
    files = [file("onnx", merged()), file("openvino", left), file("coreml", PassReport("rolls"))]
    assert list(rewrite_lines(files, "--explain")) == [
        "rewrites of onnx: 1 pass changed 13 places and left 2 places as they were",
        "rewrites of openvino: 0 passes changed 0 places and left 1 place as they were; --explain "
        "lists them",
    ]
    assert not list(rewrite_lines([file("coreml", PassReport("rolls"))], "--explain"))


class Pooled(nn.Module):
    """A convolution, a pooling with default strides and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.pool(self.conv(image)).flatten(1)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    (folder / "net.py").write_text(
        "from tests.exporters.test_explained import Pooled\n"
        "import torch\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return Pooled()\n"
    )
    return folder


def test_the_command_line_lists_every_pass(run, written: Path) -> None:
    network = ("--model", f"{written}/net.py:build", "--input", "1x3x9x8", "--to", "onnx,openvino")
    code, out, _ = run("export", *network, "--out", written / "out", "--explain")
    assert code == 0
    lines = out.splitlines()
    assert all(name in out for name in (*ONNX.passes, *OPENVINO.passes))
    assert "adaptive average pooling became a mean: pool (AdaptiveAvgPool2d)" in out
    assert "--explain" not in out and "\x1b" not in out
    assert max(len(line) for line in lines if line.startswith("  ")) <= 100

    code, out, _ = run("export", *network, "--out", written / "out", "--force")
    assert code == 0 and "adaptive average pooling" not in out
    assert out.count("--explain lists them") == 1 and "rewrites of onnx" in out


def test_the_manifest_has_every_change(run, written: Path) -> None:
    network = ("--model", f"{written}/net.py:build", "--input", "1x3x9x8", "--to", "onnx")
    code, out, _ = run(
        "export", *network, "--out", written / "json", "--json", "-", "--explain", "-q"
    )
    assert code == 0
    (entry,) = json.loads(out)["files"]
    assert [each["name"] for each in entry["passes"]] == list(ONNX.passes)
    for each in entry["passes"]:
        assert each["changed"] == len(each["changes"])
        assert each["refused"] == len(each["refusals"])
    first = entry["passes"][0]
    assert first["changed"] == 1
    assert first["changes"][0]["layer"] == "pool (AdaptiveAvgPool2d)"


def test_python_has_the_records_and_the_text(tmp_path: Path) -> None:
    result = slide_deploy.export(Pooled(), torch.randn(1, 3, 9, 8), to="onnx", out=tmp_path)
    (only,) = result.files
    assert tuple(report.name for report in only.rewrites) == ONNX.passes
    assert only.rewrites[0].changes[0].layer == "pool (AdaptiveAvgPool2d)"
    assert "adaptive average pooling became a mean: pool (AdaptiveAvgPool2d)" in result.explain()
    assert max(map(len, result.explain().splitlines())) <= 80
    assert "explain() lists them" in repr(result) and "explain() lists them" in result._repr_html_()
    (data,) = json.loads(json.dumps(result.to_dict(), allow_nan=False))["files"]
    assert data["rewrites"][0]["changes"][0]["what"] == "adaptive average pooling became a mean"
