"""A network that is an ``.onnx`` file, in Python."""

from pathlib import Path

import numpy as np
import pytest
import torch

import slide_deploy
from slide_deploy import InputError
from slide_deploy.backends import open_file
from slide_deploy.testing import assert_parity
from tests.onnx_network.optimisers import with_external_data
from tests.written_elsewhere import Plain, branched, write

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def expected() -> torch.Tensor:
    return torch.from_numpy(open_file(branched())({"image": IMAGE})["answer"])


def test_a_loaded_file_has_the_inputs_and_outputs_of_the_file() -> None:
    network = slide_deploy.load(branched(open_batch=True))
    (image,) = network.inputs
    assert (image.name, image.shape) == ("image", ("batch", 3, 16, 16))
    assert network.outputs == ("answer",)
    found = network.model(torch.from_numpy(IMAGE))
    torch.testing.assert_close(found, expected(), rtol=1e-5, atol=1e-6)


def test_weights_of_a_loaded_file_may_be_changed_wherever_they_lie(tmp_path: Path) -> None:
    """A mapped file cannot be written to: the attempt would end the process."""
    path = tmp_path / "model.onnx"
    with_external_data(branched(), path)
    stored = (tmp_path / "weights.bin").read_bytes()
    network = slide_deploy.load(path)
    with torch.no_grad():
        for parameter in network.model.parameters():
            parameter.add_(1)
        assert not torch.equal(network.model(torch.from_numpy(IMAGE)), expected())
    assert (tmp_path / "weights.bin").read_bytes() == stored


def test_sizes_that_a_file_leaves_open_are_an_argument_of_load(tmp_path: Path) -> None:
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    path = write(Plain(), tmp_path / "plain.onnx", dynamic_axes=axes)
    with pytest.raises(InputError, match=r"`input_sizes` of slide_deploy.load image=1x3x224x224"):
        slide_deploy.export(path, to="onnx", out=tmp_path / "out")
    network = slide_deploy.load(path, input_sizes="batchx3xheight:16xwidth:16")
    assert network.inputs[0].shape == ("batch", 3, "height", "width")
    assert slide_deploy.load(path, input_sizes=["image=1x3x8x8"]).inputs[0].shape == (1, 3, 8, 8)


def test_fold_and_lower_take_a_file() -> None:
    folded, certificate = slide_deploy.fold(branched())
    assert [each.name for each in certificate.folded] == ["attn"]
    lowered = slide_deploy.lower(branched(), "flat")
    with torch.no_grad():
        for model in (folded, lowered):
            found = model(torch.from_numpy(IMAGE))
            torch.testing.assert_close(found, expected(), rtol=1e-5, atol=1e-6)


def test_export_takes_a_file_and_verifies_against_it(tmp_path: Path) -> None:
    result = slide_deploy.export(branched(), to=["onnx", "openvino"], out=tmp_path)
    assert result.passed and len(result.certificate.merged) == 1
    for file in result.files:
        assert slide_deploy.verify(file.paths[0], branched()).passed
        assert_parity(file.paths[0], branched())


def test_a_file_with_other_weights_is_found(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(branched())
    bias = next(each for each in model.graph.initializer if each.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(5, np.float32), bias.name))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(AssertionError, match=r"the first value that disagrees is .*answer"):
        assert_parity(tmp_path / "other.onnx", branched())
    verdict = slide_deploy.verify(tmp_path / "other.onnx", slide_deploy.load(branched()))
    assert not verdict.passed


def test_arguments_of_checkpoints_are_refused(tmp_path: Path) -> None:
    for name, value in {"features": True, "dynamic_batch": True}.items():
        with pytest.raises(InputError, match=f"`{name}` is for checkpoints"):
            slide_deploy.load(branched(), **{name: value})
    with pytest.raises(InputError, match="`dynamic_batch` is for checkpoints"):
        slide_deploy.export(branched(), to="onnx", out=tmp_path, dynamic_batch=True)
    with pytest.raises(InputError, match="`inputs` is for your own module"):
        slide_deploy.export(branched(), IMAGE, to="onnx", out=tmp_path)
    with pytest.raises(InputError, match=r"`input_sizes` is for \.onnx files"):
        slide_deploy.load(tmp_path / "model.pth", input_sizes="1x3x16x16")
    assert not list(tmp_path.iterdir())


def test_the_file_itself_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(branched().read_bytes())
    with pytest.raises(InputError, match=r"is part of the network that is read: give another"):
        slide_deploy.export(path, to="onnx", out=tmp_path, force=True)
    assert path.read_bytes() == branched().read_bytes()


def test_a_file_is_no_trained_network_for_evaluate(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "0").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "0" / "a.png")
    with pytest.raises(InputError, match="give it as the first file"):
        slide_deploy.evaluate(branched(), tmp_path, against=branched())
