"""Int8 matmuls are correct on CPUs that add pairs of products in 16 bits.

Without VNNI, an instruction of x86 multiplies unsigned by signed bytes and adds two neighbours into
16 bits, where what is too large is cut off: 255 |w| + 255 |w'| must stay below 2^15.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import slide_deploy
from slide_deploy.graph_checks import read_graph

_LARGEST = 2**15 - 1
_RUN = """
import sys
import numpy as np
import openvino
examples = np.load(sys.argv[2])["tokens"]
compiled = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], np.concatenate([compiled(each[None])[0].copy() for each in examples]))
"""


class Wide(nn.Module):
    """Weights and values of one sign, so that neighbouring products add up."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(256, 256), nn.Linear(256, 256)
        for layer in (self.first, self.second):
            nn.init.uniform_(layer.weight, 0.03, 0.06)

    def forward(self, tokens):
        return {"logits": self.second(self.first(tokens).relu()).mean(1)}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("overflow")
    random = np.random.default_rng(0)
    # Most values are near the largest one.
    tokens = random.uniform(0, 1, (32, 16, 256)).astype(np.float32) ** 0.25
    np.savez(folder / "noise.npz", tokens=tokens)
    slide_deploy.export(
        Wide().eval(),
        {"tokens": tokens[:1]},
        to=["onnx", "openvino"],
        precision="int8",
        calibration=folder / "noise.npz",
        out=folder,
        name="wide",
        keep_failed=True,
    )
    return folder


@pytest.mark.parametrize("file", ["wide.onnx", "wide.xml"])
def test_no_pair_of_products_saturates(written: Path, file: str) -> None:
    graph = read_graph(written / file)
    weights = [
        each.load().view(np.int8).reshape(each.shape).astype(int)
        for each in graph.constants.values()
        if each.dtype == "int8" and each.shape == (256, 256)
    ]
    assert weights  # those of equal size
    for each in weights:
        sizes = np.sort(np.abs(each), axis=None)
        assert 255 * int(sizes[-1] + sizes[-2]) <= _LARGEST
        assert sizes[-1] >= 60  # as many bits as there are


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE", "DEFAULT"])
def test_openvino_outputs_agree_without_vnni(
    written: Path, tmp_path: Path, instructions: str
) -> None:
    given, answers = written / "noise.npz", tmp_path / "answers.npy"
    subprocess.run(
        [sys.executable, "-c", _RUN, written / "wide.xml", given, answers],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
        check=True,
        capture_output=True,
    )
    with np.load(given) as archive, torch.no_grad():
        true = Wide().double()(torch.from_numpy(archive["tokens"]).double())["logits"].numpy()
    got = np.load(answers)
    assert np.abs(got - true).max() <= 0.02 * np.abs(true).max()
