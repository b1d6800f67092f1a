"""Parallel branches become one convolution each in the files of all formats."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import slide_deploy
from exporters.outcome import ExportResult
from tests.api.networks import IMAGE, Classifier
from tests.passes.blocks import (
    Added,
    DilatedReparam,
    DiverseBranch,
    ELan,
    MobileOneBlock,
    RepMixer,
    ac_net,
    drawn,
    large_kernel,
    rep_vgg,
)
from tests.shared import once
from tests.support import FORMATS, exported_path

IN_FILES = pytest.mark.parametrize("to", [("onnx",), pytest.param(FORMATS, marks=pytest.mark.slow)])
CONVOLUTIONS = {"Conv", "Convolution", "GroupConvolution", "conv"}


class AllBlocks(nn.Module):
    """A sequence of blocks of all kinds, on feature maps of two, one and three axes."""

    BLOCKS = (rep_vgg, MobileOneBlock, ac_net, ELan, RepMixer, large_kernel, DilatedReparam)

    def __init__(self) -> None:
        super().__init__()
        self.stem = rep_vgg(3, 8, stride=2)
        self.blocks = nn.ModuleList(block() for block in (*self.BLOCKS, DiverseBranch))
        self.rows = rep_vgg(axes=1)
        self.volumes = rep_vgg(2, 2, axes=3)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).relu()
        for block in self.blocks:
            x = block(x).relu()
        x = self.rows(x.flatten(2)).relu().reshape(x.shape)
        volumes = x.reshape(1, 2, 4, *x.shape[2:])
        x = self.volumes(volumes).relu().reshape(x.shape)
        return self.head(x.mean((2, 3)))


class Mixed(Classifier):
    """Slide attention between blocks, with an image that is normalised in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = rep_vgg(3, 3), RepMixer(12)
        self.beside = Added([nn.Conv2d(12, 12, 5, padding=2, groups=12), nn.Identity()])

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.before(image).relu())
        x = x + self.attn(self.beside(x).relu())[0]
        return self.head(self.after(x).relu().mean((2, 3)))


def written(model: type[nn.Module], to: tuple[str, ...] = ("onnx",)) -> ExportResult:
    def write(folder: Path) -> ExportResult:
        return slide_deploy.export(drawn(model()), IMAGE, to=list(to), out=folder)

    result = once(("branches", model.__name__, "-".join(to)), write)
    assert tuple(file.format for file in result.files) == to
    return result


def convolutions(result: ExportResult, format: str) -> int:
    return sum(count for name, count in result.file(format).operators if name in CONVOLUTIONS)


@pytest.mark.slow
@IN_FILES
def test_every_block_is_one_convolution_in_files(to: tuple[str, ...]) -> None:
    result = written(AllBlocks, to)
    merged = 1 + len(AllBlocks.BLOCKS) + 1 + 1 + 4 + 2
    assert len(result.certificate.merged) == merged
    for file in result.files:
        exported_path(result, file.format)
        assert convolutions(result, file.format) == merged
        names = {name.lower() for name, _ in file.operators}
        assert not any("norm" in name or "pool" in name for name in names)
    assert result.certificate.error < 1e-12 and not result.certificate.not_merged


@IN_FILES
def test_branches_beside_slide_attention(to: tuple[str, ...]) -> None:
    result = written(Mixed, to)
    for file in result.files:
        exported_path(result, file.format)
    certificate = result.certificate
    assert [layer.name for layer in certificate.folded] == ["attn"]
    assert [change.layer for change in certificate.merged] == [
        "before (Added)",
        "beside (Added)",
        "after (RepMixer)",
    ]
    assert certificate.status == "1 folded, 3 merged" and certificate.error < 1e-12


def test_the_certificate_reaches_the_manifest_and_the_table() -> None:
    result = written(Mixed)
    layers = json.loads(result.manifest.read_text())["certificate"]["layers"]
    assert [each["layer"] for each in layers["merged"]] == [
        each.layer for each in result.certificate.merged
    ]
    first = layers["merged"][0]
    assert first["what"] == "2 convolutions and 3 normalisations became one convolution"
    assert first["error"] < 1e-12 < first["rounding"] < 1e-6 and len(first["parts"]) == 5
    assert result.to_dict()["certificate"]["status"] == "1 folded, 3 merged"
    text = repr(result)
    assert "fold: 1 slide attention, error in float64 at most" in text
    assert "branches: one convolution each in 3 places, error in float64 at most" in text
    assert "branches: one convolution each in 3 places" in result._repr_html_()


def test_refused_merges_are_reported(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.one(x)
            return y, y + self.two(x)

    result = slide_deploy.export(drawn(Net()), IMAGE, to="onnx", out=tmp_path)
    (refusal,) = result.certificate.not_merged
    assert refusal.layer == "Net" and "has other readers" in refusal.why
    assert "Net stays as it is: a value in between has other readers" in repr(result).replace(
        "\n  ", " "
    )
    assert result.certificate.status == "nothing to fold" and convolutions(result, "onnx") == 2


def test_open_sizes_are_exported(tmp_path: Path) -> None:
    model = drawn(nn.Sequential(rep_vgg(3, 8, stride=2), nn.ReLU(inplace=True), DiverseBranch()))
    sizes = {"input": {0: "batch", 2: "height", 3: "width"}}
    result = slide_deploy.export(
        model, torch.randn(2, 3, 16, 24), to="onnx", out=tmp_path, open_sizes=sizes
    )
    result.raise_if_failed()
    assert convolutions(result, "onnx") == 2 and len(result.certificate.merged) == 2
