"""Files with one attention agree in each form, format and layout, or are refused."""

from pathlib import Path

import pytest
import torch

from exporters.attention import Alone, AttentionFiles, deployable_attention
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import Lowering
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttentionConfig
from slide_deploy.verification import parity
from slide_deploy.verification.parity import Agreement
from tests.support import random_attention, random_swin

SIZE = (8, 6)


def folded(layout: str) -> FoldedSlideAttention:
    single, _ = reparameterize(random_attention(SlideAttentionConfig(16, 2)))
    assert isinstance(single, FoldedSlideAttention)
    single.layout = layout  # type: ignore[assignment]
    single.resolution = SIZE
    return single


@pytest.mark.parametrize("layout", ["nchw", "tokens"])
def test_an_attention_outputs_the_same_alone_and_in_a_network(layout: str) -> None:
    single = folded(layout)
    image = torch.randn(2, *deployable_attention(single, SIZE).inputs[0].shape[1:])
    answer = Alone(single, layout)(image)
    assert answer.shape == image.shape
    if layout == "nchw":
        torch.testing.assert_close(answer, single(image)[0])
    else:
        torch.testing.assert_close(answer.flatten(1, 2), single(image.flatten(1, 2)))


# The tests of lowerings verify every form. These tests verify writing and reading a file.
@pytest.mark.slow_but_first
@pytest.mark.parametrize(("layout", "format"), [("nchw", "onnx"), ("tokens", "openvino")])
def test_a_file_is_written_and_proved(layout: str, format: str, tmp_path: Path) -> None:
    files = AttentionFiles(folded(layout), SIZE, "float32", tmp_path)
    paths = [files.write(Lowering.parse(text), format) for text in ("depthwise/2", "running-mean")]
    assert [path.stem for path in paths] == ["depthwise-2", "running-mean"]
    assert all(path.exists() for path in paths)


def test_a_file_that_disagrees_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parity, "compare", lambda *_, **__: Agreement(1.0, 1.0, 3.0, 1.0))
    files = AttentionFiles(folded("tokens"), SIZE, "float32", tmp_path)
    with pytest.raises(InputError, match=r"depthwise-2.onnx disagrees .* noise \(3 dB on onnxrun"):
        files.write(Lowering("depthwise", 2), "onnx")


@pytest.mark.slow
def test_the_attention_of_a_network_is_found_by_its_position(tmp_path: Path) -> None:
    model, _ = reparameterize(random_swin())
    single = model.get_submodule("layers.0.blocks.0.attn")
    assert isinstance(single, FoldedSlideAttention) and single.resolution
    files = AttentionFiles(single, single.resolution, "float32", tmp_path)
    assert files.write(Lowering("flat"), "onnx").exists()
