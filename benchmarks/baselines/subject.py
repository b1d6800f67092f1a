"""Subjects of suites: a published network, or a single slide attention."""

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Settings
from slide_deploy.hosts.registry import host_of, published_named
from slide_deploy.models.slide_attention import Layout, SlideAttention, SlideAttentionConfig

# As in the published networks: heads of 32 features, neighbourhoods of 3x3.
_HEAD, _KERNEL = 32, 3


@dataclass(frozen=True)
class SuiteSubject:
    """A network, or an attention module for feature maps of one size.

    Attributes:
        config: Settings of the network or attention.
        shape: NCHW shape of the input for one image. An attention on tokens gets the same feature
            map as tokens.
        layout: Layout of an attention's input.
    """

    config: Settings | SlideAttentionConfig
    shape: tuple[int, int, int, int]
    layout: Layout = "nchw"

    def branched(self) -> nn.Module:
        """Return the training form with reproducible random weights."""
        torch.manual_seed(0)
        return as_if_trained(
            SlideAttention(self.config, self.layout, self.shape[2:])
            if isinstance(self.config, SlideAttentionConfig)
            else host_of(self.config).build(self.config, False, False)
        )

    def example(self) -> Tensor:
        """Return an example input."""
        image = torch.zeros(self.shape)
        return image if self.layout == "nchw" else image.flatten(2).transpose(1, 2)


@torch.no_grad()
def as_if_trained(model: nn.Module) -> nn.Module:
    """Randomise initial zeros and ones of a new model in place, and return it in eval mode.

    Runtimes remove additions of zero and multiplications by one. So initial normalisations, biases
    and position biases would cost nothing, while trained ones do.
    """
    for name, parameter in model.named_parameters():
        if "position_bias" in name or name.endswith(".rpb"):
            nn.init.normal_(parameter, std=0.5)
        elif parameter.ndim == 1 or (parameter == 0).all():
            # Biases, weights of normalisations, position tables and class tokens.
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def network(name: str, image_size: tuple[int, int]) -> SuiteSubject:
    """Return a published network for an image size.

    Raises:
        InputError: There is no such network, or it does not accept images of that size.
    """
    _, architecture = published_named(name)
    # Windows keep the published size, at which they cover the whole feature map.
    config = replace(architecture.config, image_size=image_size)
    return SuiteSubject(config, (1, config.in_channels, *image_size))


def attention(size: str, layout: Layout = "nchw") -> SuiteSubject:
    """Return one slide attention by its size, "CHANNELSxHEIGHTxWIDTH[:kKERNEL][:dHEAD]".

    The default neighbourhood is 3x3 (``:k5`` for 5x5). The default head has 32 features (``:d8``
    for 8).

    Raises:
        InputError: The text is not such a size.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)(?::k(\d+))?(?::d(\d+))?", size)
    channels, height, width = map(int, match.groups()[:3]) if match else (0, 0, 0)
    kernel, head = (int(match[4] or _KERNEL), int(match[5] or _HEAD)) if match else (0, 0)
    if not (channels and height and width and head) or channels % head or kernel % 2 == 0:
        raise InputError(
            f"{size} is not a size of an attention: give channels, height and width, such as "
            f"96x56x56, then :k5 for an odd kernel other than {_KERNEL}, and :d16 for heads with "
            f"other than {_HEAD} features, which must divide the channels."
        )
    config = SlideAttentionConfig(channels, channels // head, kernel)
    return SuiteSubject(config, (1, channels, height, width), layout)
