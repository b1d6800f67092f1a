"""The networks that passes are measured on, with reproducible random weights.

Biases and statistics are random too. Runtimes remove additions of zero and multiplications by one,
which trained networks do not have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.baselines.subject import as_if_trained, network
from slide_deploy.deployable.model_text import ModelText
from slide_deploy.deployable.module import deployable_of
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.user_code import build
from slide_deploy.errors import InputError
from studies.passes.architectures.convnext import ConvNeXt
from studies.passes.architectures.pyramid import FeaturePyramid
from studies.passes.architectures.repvgg import RepVGG
from studies.passes.architectures.segmenter import Segmenter
from studies.passes.architectures.vit import VisionTransformer

_ROOT = Path(__file__).parents[2]
_DETECTOR = "examples/deploy_detector.py:trained"


@dataclass(frozen=True)
class Size:
    """Size of a network.

    Attributes:
        build: Returns the network. The caller sets the random seed.
        image: Height and width of its input in pixels.
    """

    build: Callable[[], nn.Module]
    image: tuple[int, int]


@dataclass(frozen=True)
class PassNetwork:
    """A network in two sizes.

    Attributes:
        name: Name in tables and of folders.
        full: Size for measuring.
        quick: Size that is exported in a second or two, for tests.
        each: Whether to measure each pass separately, or only all passes together.
    """

    name: str
    full: Size
    quick: Size
    each: bool = True

    def deployable(self, quick: bool = False) -> Deployable:
        """Return the network with an example input.

        Raises:
            InputError: Its code is missing.
        """
        size = self.quick if quick else self.full
        torch.manual_seed(0)
        image = torch.randn(1, 3, *size.image)
        return deployable_of(size.build(), {"image": image}, name=self.name, stem=self.name)


def _detector() -> nn.Module:
    if not (_ROOT / "examples").is_dir():
        raise InputError(
            "The code of the detector is in the repository only: run the command in a clone."
        )
    return as_if_trained(build(ModelText.parse(_DETECTOR), None, _ROOT))


def _slide_swin(size: str, image: tuple[int, int]) -> Size:
    return Size(lambda: network(f"slide_swin_{size}", image).branched(), image)


def _fresh(make: Callable[[], nn.Module], side: int) -> Size:
    """Return the size of a network that comes with initial weights."""
    image = (side, side)
    return Size(lambda: as_if_trained(_with_statistics(make(), torch.randn(4, 3, *image))), image)


@torch.no_grad()
def _with_statistics(model: nn.Module, images: Tensor) -> nn.Module:
    """Set the statistics of batch normalisations from images, as training does."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # use the statistics of this batch only
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    model.train()(images)
    return model.eval()


NETWORKS = (
    PassNetwork(
        "slide_swin_tiny",
        _slide_swin("tiny", (224, 224)),
        _slide_swin("tiny", (64, 64)),
    ),
    PassNetwork(
        "slide_swin_small",
        _slide_swin("small", (224, 224)),
        _slide_swin("small", (64, 64)),
        each=False,  # it has the same blocks as the tiny one
    ),
    PassNetwork(
        "detector",
        Size(_detector, (384, 512)),
        Size(_detector, (96, 128)),
    ),
    PassNetwork(
        "pyramid",
        _fresh(lambda: FeaturePyramid((32, 64, 128, 256), 2, 128), 320),
        _fresh(lambda: FeaturePyramid((8, 16, 16, 24), 1, 16), 64),
    ),
    PassNetwork(
        "segmenter",
        _fresh(lambda: Segmenter((32, 64, 160, 256), (1, 2, 5, 8), 2, 256, 19), 256),
        _fresh(lambda: Segmenter((8, 16), (1, 2), 1, 16, 5), 32),
    ),
    PassNetwork(
        "vit_small",
        _fresh(lambda: VisionTransformer(224, 384, 12, 6, 1000), 224),
        _fresh(lambda: VisionTransformer(64, 24, 2, 2, 10), 64),
    ),
    PassNetwork(
        "repvgg",
        _fresh(lambda: RepVGG(48, (48, 96, 192, 1280), (2, 4, 14, 1), 1000), 224),
        _fresh(lambda: RepVGG(8, (8, 16), (2, 2), 10), 32),
    ),
    PassNetwork(
        "convnext",
        _fresh(lambda: ConvNeXt((40, 80, 160, 320), (2, 2, 6, 2), 1000), 224),
        _fresh(lambda: ConvNeXt((8, 16), (1, 1), 10), 32),
    ),
)


def networks_named(names: tuple[str, ...]) -> tuple[PassNetwork, ...]:
    """Return networks by name in the order of ``NETWORKS``, or all without names.

    Raises:
        InputError: There is no such network.
    """
    known = [each.name for each in NETWORKS]
    for name in names:
        if name not in known:
            raise InputError(f"There is no network {name}: choose one of {', '.join(known)}.")
    return tuple(each for each in NETWORKS if not names or each.name in names)
