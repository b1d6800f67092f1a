"""The assertions that other projects' tests use."""

from pathlib import Path

import onnx
import pytest
import torch

from exporters.outcome import ExportOptions
from exporters.pipeline import export
from slide_deploy.deployable.module import deployable_of
from slide_deploy.errors import InputError
from slide_deploy.hosts import load_checkpoint
from slide_deploy.testing import assert_graph_valid, assert_parity
from tests.support import GOLDEN, exported, exported_path

NANO = GOLDEN / "slide_swin_nano.pth"


@pytest.fixture
def written() -> Path:
    return exported_path(exported(load_checkpoint(NANO)), "onnx")


def test_a_right_file_passes(written: Path) -> None:
    assert_graph_valid(written)
    assert_parity(written, NANO)


def test_a_broken_rule_is_named_with_its_remedy(written: Path, tmp_path: Path) -> None:
    model = onnx.load(written)
    model.graph.input[0].name = "picture"
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"input": "image"', '"input": "picture"')
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    onnx.save(model, tmp_path / "renamed.onnx")
    with pytest.raises(AssertionError, match=r"(?s)renamed.onnx breaks .*SD010 at .*picture"):
        assert_graph_valid(tmp_path / "renamed.onnx")
    own = tmp_path / "policy.toml"
    own.write_text('[[inputs]]\nname = "picture"\ntypes = ["float32"]\nshape = [1, 3, 64, 64]\n')
    assert_graph_valid(tmp_path / "renamed.onnx", own)


def test_a_wrong_layer_is_named(written: Path, tmp_path: Path) -> None:
    model = onnx.load(written)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    tensor = held["layers.1.blocks.0.mlp.fc2.bias"]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[..., 3] += 0.1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(AssertionError, match=r"that disagrees is layers.1.blocks.0.mlp.fc2$"):
        assert_parity(tmp_path / "wrong.onnx", NANO)


def test_input_that_cannot_be_used_is_not_a_failed_assertion(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        assert_graph_valid(tmp_path / "missing.onnx")
    with pytest.raises(InputError):
        assert_parity(tmp_path / "missing.onnx", NANO)


def test_a_network_of_ones_own_is_asserted_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = deployable_of(torch.nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8))
    export(network, ExportOptions(("onnx",), tmp_path))
    assert_parity(tmp_path / "conv2d.onnx", network)
    other = torch.nn.Conv2d(3, 4, 3)
    with pytest.raises(AssertionError, match=r"conv2d\.onnx disagrees with Conv2d on .*noise"):
        assert_parity(tmp_path / "conv2d.onnx", other, inputs=torch.randn(1, 3, 8, 8))
