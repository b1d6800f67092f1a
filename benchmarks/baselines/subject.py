"""What a suite's candidates compute: a published network, or one slide attention on its own."""

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Settings
from slide_deploy.hosts.registry import host_of, published_named
from slide_deploy.models.slide_attention import Layout, SlideAttention, SlideAttentionConfig

# Of the published networks: heads of 32 features, neighbourhoods of 3x3.
_HEAD, _KERNEL = 32, 3


@dataclass(frozen=True)
class SuiteSubject:
    """A network by its settings, or an attention module on maps of one size.

    Attributes:
        config: its settings.
        shape: of the input for one image, (1, channels, height, width); an attention on tokens
            takes the same map as tokens.
        layout: of an attention.
    """

    config: Settings | SlideAttentionConfig
    shape: tuple[int, int, int, int]
    layout: Layout = "nchw"

    def branched(self) -> nn.Module:
        """The trained form, with random weights that are the same every time."""
        torch.manual_seed(0)
        return as_if_trained(
            SlideAttention(self.config, self.layout, self.shape[2:])
            if isinstance(self.config, SlideAttentionConfig)
            else host_of(self.config).build(self.config, False, False)
        )

    def example(self) -> Tensor:
        """An input."""
        image = torch.zeros(self.shape)
        return image if self.layout == "nchw" else image.flatten(2).transpose(1, 2)


@torch.no_grad()
def as_if_trained(model: nn.Module) -> nn.Module:
    """A fresh model, changed where training changes it and a runtime would notice.

    Runtimes leave out what adds zero or multiplies by one: fresh normalisations, biases and
    position biases would cost nothing, and those of a trained network do.
    """
    for name, parameter in model.named_parameters():
        if "position_bias" in name or name.endswith(".rpb"):
            nn.init.normal_(parameter, std=0.5)
        elif parameter.ndim == 1 or (parameter == 0).all():
            # Biases, the weights of normalisations, position tables and class tokens.
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def network(name: str, image_size: tuple[int, int]) -> SuiteSubject:
    """A published network.

    Raises:
        InputError: if none is called so, or it does not take images of that size.
    """
    _, architecture = published_named(name)
    # Windows are those of the published size, where they cover the whole map.
    config = replace(architecture.config, image_size=image_size)
    return SuiteSubject(config, (1, config.in_channels, *image_size))


def attention(size: str, layout: Layout = "nchw") -> SuiteSubject:
    """One slide attention by its size, "CHANNELSxHEIGHTxWIDTH[:kKERNEL][:dHEAD]".

    Without ``:k5`` its neighbourhood is 3x3, without ``:d8`` its heads have 32 features.

    Raises:
        InputError: if the text is no such size.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::k(\d+))?(?::d(\d+))?", size)
    channels, height, width = map(int, match.groups()[:3]) if match else (0, 0, 0)
    kernel, head = (int(match[4] or _KERNEL), int(match[5] or _HEAD)) if match else (0, 0)
    if not (channels and height and width and head) or channels % head or kernel % 2 == 0:
        raise InputError(
            f"{size} is no size of an attention: give channels, height and width, as 96x56x56; "
            f"with :k5 behind for an odd kernel other than {_KERNEL}, and :d16 for heads other "
            f"than of {_HEAD} features, which divide the channels."
        )
    config = SlideAttentionConfig(channels, channels // head, kernel)
    return SuiteSubject(config, (1, channels, height, width), layout)
