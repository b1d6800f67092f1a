"""A network converted by the road that the exporters take answers as torch does."""

import logging
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from slide_deploy.backends.mil_interpreter import MilProgram

SEED = 7


class Attention(nn.Module):
    """Attention of four heads over the tokens of a map, with an added bias."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = nn.Parameter(torch.randn(4, tokens, tokens))
        self.project = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, channels = x.shape
        # (batch, tokens, 3, head, d) -> three of (batch, head, tokens, d)
        qkv = self.qkv(self.norm(x)).reshape(batch, tokens, 3, 4, -1).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-2, -1) * 0.3 + self.bias).softmax(-1)
        return x + self.project((weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, channels))


class Network(nn.Module):
    """The operators of a vision model: patches, attention, shifts, depthwise, pools, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.GELU())
        self.attention = Attention(16, 49)
        self.depthwise = nn.Conv2d(16, 48, 3, padding=1, groups=16)
        self.mix = nn.Sequential(nn.Conv2d(48, 24, 1), nn.SiLU(), nn.MaxPool2d(2, 1))
        self.head = nn.Linear(24, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.embed(image)
        tokens = self.attention(x.flatten(2).transpose(1, 2))
        x = tokens.transpose(1, 2).reshape(x.shape)
        x = torch.roll(x, (-2, 1), (2, 3)) + nn.functional.pad(x, (1, 0, 0, 1))[:, :, 1:, :-1]
        x = self.mix(self.depthwise(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(SEED)
    model = Network().eval()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(SEED))


@pytest.fixture(scope="module")
def packages(network, image, tmp_path_factory):
    """The network as float32 and as float16 packages."""
    import coremltools as ct

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (image,)).run_decompositions({})
        for precision in ("FLOAT32", "FLOAT16"):
            model = ct.convert(
                program,
                convert_to="mlprogram",
                compute_precision=getattr(ct.precision, precision),
                minimum_deployment_target=ct.target.iOS17,
                skip_model_load=True,
            )
            model.save(str(tmp_path_factory.getbasetemp() / f"{precision}.mlpackage"))
    return tmp_path_factory.getbasetemp()


def answers(path, image):
    """The single output of a package."""
    program = MilProgram.load(path)
    (name,) = program.inputs
    (answer,) = program.run({name: image.numpy()}).values()
    return answer


def test_a_float32_network_matches_torch(packages, network, image):
    with torch.inference_mode():
        expected = network(image).numpy()
    actual = answers(packages / "FLOAT32.mlpackage", image)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_float16_network_differs_by_no_more_than_its_storage(packages, network, image):
    with torch.inference_mode():
        expected = network(image).numpy()
    actual = answers(packages / "FLOAT16.mlpackage", image)
    error = np.square(actual - expected).mean()
    decibels = 10 * np.log10(np.square(expected).mean() / error)
    assert 45 < decibels < 90
    assert actual.argmax() == expected.argmax()
