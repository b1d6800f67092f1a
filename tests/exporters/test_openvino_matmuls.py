"""Clips after matmuls in OpenVINO files: which matmuls have one, and that it changes nothing."""

from functools import cache
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import Tensor, nn

from exporters.base import exporter_for
from exporters.openvino_matmuls import LEAST_INPUTS, clip_matmuls
from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import Lowering, lower
from tests.support import image_request, random_swin, randomise

POSITIONS = 49


class Products(nn.Module):
    """Matmuls of tokens of several widths, one followed by a GELU, one with a single row."""

    def __init__(self) -> None:
        super().__init__()
        width = LEAST_INPUTS
        self.wide, self.square = nn.Linear(width, 3 * width), nn.Linear(3 * width, 3 * width)
        self.narrow, self.bare = nn.Linear(3 * width, width), nn.Linear(width, width, bias=False)
        self.hidden, self.few = nn.Linear(width, 2 * width), nn.Linear(width // 2, width)
        self.head = nn.Linear(2 * width, 4 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.bare(self.narrow(self.square(self.wide(tokens))))
        few = self.few(tokens[..., : LEAST_INPUTS // 2])
        hidden = nn.functional.gelu(self.hidden(tokens + few))
        answer: Tensor = self.head(hidden.mean(dim=1))
        return answer


@cache
def products(clipped: bool) -> openvino.Model:
    """The network in OpenVINO, for tests that only read it."""
    tokens = torch.zeros(1, POSITIONS, LEAST_INPUTS)
    module = randomise(Products()).float()
    model = openvino.convert_model(torch.export.export(module, (tokens,)))
    model.reshape([1, POSITIONS, LEAST_INPUTS])
    if clipped:
        clip_matmuls(model)
    return model


def test_a_clip_follows_the_matmuls_that_gain() -> None:
    model = products(clipped=True)
    clips = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"]
    shapes = [tuple(clip.output(0).shape)[2] for clip in clips]
    assert shapes == [3 * LEAST_INPUTS, 3 * LEAST_INPUTS, LEAST_INPUTS]  # wide, square, bare
    for clip in clips:
        assert clip.get_attributes()["max"] == -clip.get_attributes()["min"] > 3.3e38


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.slow), 1e30])
def test_the_clip_changes_finite_numbers_only_by_rounding(scale: float) -> None:
    tokens = scale * np.random.default_rng(0).normal(size=(1, POSITIONS, LEAST_INPUTS))
    answers = [
        openvino.compile_model(products(clipped), "CPU")(tokens.astype(np.float32))[0]
        for clipped in (False, True)
    ]
    assert np.isfinite(answers[0]).all()
    np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-5 * scale)


def kernels(model: openvino.Model) -> list[str]:
    """Return the kernel that computes each matmul with weights."""
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = compiled.get_runtime_model().get_ordered_ops()
    facts = [node.get_rt_info() for node in nodes]
    return [
        each["primitiveType"].astype(str)
        for each in facts
        if each["layerType"].astype(str) == "FullyConnected"
    ]


def test_openvino_selects_its_other_kernel_for_clipped_matmuls() -> None:
    plain, clipped = kernels(products(clipped=False)), kernels(products(clipped=True))
    count = sum("mlas" in kernel for kernel in plain)
    if not count:
        pytest.skip("OpenVINO has one kernel for all products on this processor")
    assert sum("mlas" in kernel for kernel in clipped) == count - 3


@pytest.mark.slow
@pytest.mark.parametrize("dynamic_batch", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_files_contain_the_clips(dynamic_batch: bool, tmp_path: Path) -> None:
    """Clips: four of a slide attention, queries, keys and values of windows, and the last."""
    settings = {"embed_dim": 64, "num_heads": (2, 2), "depths": (1, 1), "num_slide_stages": 1}
    model = lower(reparameterize(random_swin(**settings))[0], Lowering("flat"))
    path = tmp_path / "model.xml"
    exporter_for("openvino").write(image_request(model, (3, 32, 32), dynamic_batch, {}), path)
    nodes = openvino.Core().read_model(path).get_ordered_ops()
    clips = [node for node in nodes if node.get_type_name() == "Clamp"]
    assert all(node.get_friendly_name().endswith("/Clip") for node in clips)
    shapes = [[size.get_max_length() for size in node.output(0).partial_shape] for node in clips]
    assert [shape[1:] for shape in shapes] == [[64, 64]] * 4 + [[16, 384], [16, 128]]
