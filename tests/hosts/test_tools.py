"""Locating a divergence, tuning and suites work on any network as on a checkpoint."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.candidates import Sweep
from benchmarks.suite import members
from exporters import pipeline
from exporters.outcome import ExportOptions
from slide_deploy.backends import open_file
from slide_deploy.deployable.module import deployable_of
from slide_deploy.lowerings import Lowering
from slide_deploy.tasks.contests import attentions_of
from slide_deploy.tasks.suite_files import export_for_suite
from slide_deploy.verification import verify
from tests.hosts.networks import HOSTS

BY_NAME = {host.name: host for host in HOSTS}
# A parameter of a host, and the layer that is reported if it is damaged.
DAMAGED = (
    ("detector", "neck.lateral.1.bias", "neck.lateral.1"),
    ("detector", "neck.attend.0.proj.weight", "neck.attend.0"),
    ("authors' Slide-Swin", "layers.1.blocks.0.mlp.fc1.bias", "layers.1.blocks.0.mlp.fc1"),
    ("super-resolution", "tail.0.weight", "tail.0"),
    ("two inputs", "gain.weight", "gain"),
    ("blocks of tokens", "blocks.1.attn.qkv.bias", "blocks.1.attn"),
    ("shared modules", "down.weight", "down"),
)
LOCATED = ("onnx", "openvino")
# Pairs of an index in DAMAGED and a format that quick tests run.
QUICK = {(0, "onnx"), (4, "onnx")}


def marks(place: int, format: str) -> object:
    """Slow tests damage each host in one format, formats in turn."""
    if (place, format) in QUICK:
        return ()
    return pytest.mark.slow if LOCATED[(place + 1) % 2] == format else pytest.mark.full


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameter", "layer", "format"),
    [
        pytest.param(*each, format, marks=marks(place, format))
        for place, each in enumerate(DAMAGED)
        for format in LOCATED
    ],
)
def test_the_damaged_layer_of_a_host_is_located(
    name: str, parameter: str, layer: str, format: str, tmp_path: Path
) -> None:
    whole = BY_NAME[name].deployable()
    damaged = copy.deepcopy(whole.model)
    with torch.no_grad():
        tensor = damaged.get_parameter(parameter)
        tensor.copy_(tensor.roll(1, 0) + 0.1)
    options = ExportOptions((format,), tmp_path, Lowering("depthwise"))
    result = pipeline.export(replace(whole, model=damaged), options)
    (file,) = result.files
    assert not verify.verify_file(file.paths[0], whole).passed
    assert verify.locate(file.paths[0], whole).first_wrong == layer


@pytest.mark.parametrize(
    ("name", "geometries"),
    [
        ("detector", {(12, 2, 3, 16, 24), (12, 2, 3, 8, 12), (12, 2, 3, 4, 6)}),
        ("authors' Slide-Swin", {(8, 1, 8, 16, 16), (16, 2, 8, 8, 8)}),
        ("shared modules", {(12, 3, 4, 8, 12)}),
        ("slide_attention_3 in a residual net", {(32, 4, 4, 6, 8)}),
        ("functions", {(12, 3, 4, 6, 8)}),
        ("open super-resolution", {(12, 3, 4, 12, 10)}),
        ("ViT of the graph rules", set()),
    ],
)
def test_tune_finds_the_geometries_of_a_host(name: str, geometries: set[tuple[int, ...]]) -> None:
    found = attentions_of(BY_NAME[name].deployable())
    assert {
        (each.channels, each.heads, each.head_dim, each.height, each.width) for each in found
    } == geometries


SUITE = """
name = "hosts"
targets = ["onnxruntime:cpu"]
[[candidate]]
name = "{name}"
model = "tests.hosts.{model}"
input = [{inputs}]
"""


@pytest.mark.parametrize(
    ("name", "model", "inputs", "tensors"),
    [
        ("detector", "carriers:Detector", '"image=1x3x32x48"', 1),
        pytest.param(
            *("two", "carriers:TwoInputs", '"image=1x3x24x32", "condition=1x6"', 2),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("open", "carriers:Segmenter", '"image=1x3xheight:32xwidth:48"', 1),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_suites_export_a_host(
    name: str,
    model: str,
    inputs: str,
    tensors: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE.format(name=name, model=model, inputs=inputs))
    (member,) = members(suite, tmp_path / "work", Sweep(), export_for_suite)
    path = Path(member.candidate.path)
    assert path.suffix == ".onnx" and path.exists()
    assert len(open_file(path).inputs) == tensors


def test_a_layer_after_an_attention_is_located(tmp_path: Path) -> None:
    torch.manual_seed(0)
    attention = BY_NAME["functions"].deployable().model.attention
    after = torch.nn.Sequential(  # ReLUs keep the convolutions from being merged
        torch.nn.ReLU(), torch.nn.Conv2d(12, 24, 1), torch.nn.ReLU(), torch.nn.Conv2d(24, 12, 1)
    )
    block = torch.nn.Sequential(attention, after)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 1), block)
    whole = deployable_of(model, torch.randn(1, 3, 6, 8))
    damaged = copy.deepcopy(whole.model)
    with torch.no_grad():
        damaged[1][1][1].weight.mul_(1.1)
    options = ExportOptions(("onnx",), tmp_path, Lowering("depthwise"))
    result = pipeline.export(replace(whole, model=damaged), options)
    assert len(result.certificate.folded) == 1
    (file,) = result.files
    assert verify.locate(file.paths[0], whole).first_wrong == "1.1.1"


class ByKeyword(torch.nn.Module):
    """A network that calls its layers by keyword only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 8, 3), torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(input=image).flatten(2).transpose(1, 2)
        return self.head(input=self.norm(input=tokens))


def test_layers_that_are_called_by_keyword_are_located(tmp_path: Path) -> None:
    whole = deployable_of(ByKeyword(), torch.randn(1, 3, 6, 8))
    (file,) = pipeline.export(whole, ExportOptions(("onnx",), tmp_path)).files
    divergence = verify.locate(file.paths[0], whole)
    assert divergence.first_wrong is None and divergence.last_right == "head"
