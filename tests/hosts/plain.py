"""Networks with nothing to fold: token ids, outputs of all ranks, and those of the graph rules."""

import torch
from torch import Tensor, nn

from tests.graph_checks.networks import NETWORKS, network
from tests.hosts.host import Build, Host, drawn, noise
from tests.support import FORMATS


def known(name: str) -> Build:
    """Return a builder of one of the graph rules' test networks."""

    def build() -> tuple[nn.Module, Tensor]:
        model, shape = network(name)
        return model, noise(1, *shape)

    return build


class Words(nn.Module):
    """Maps token ids to logits for each word, through an embedding and an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 16), nn.Embedding(8, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        out: Tensor = self.head(self.layer(x))
        return out


class Ranks(nn.Module):
    """Outputs of ranks 0 to 4, one of them indices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.conv(image)
        return {
            "map": x,
            "best": x.argmax(1),
            "pooled": x.mean((2, 3)),
            "row": x.amax((0, 2, 3)),
            "number": x.mean(),
        }


def _words() -> tuple[nn.Module, Tensor]:
    return drawn(Words()), torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def _ranks() -> tuple[nn.Module, Tensor]:
    return drawn(Ranks()), noise(1, 3, 12, 16)


def _half() -> tuple[nn.Module, Tensor]:
    model, shape = network("U-Net")
    return model.half(), noise(1, *shape).half()


_QUICK = {"ViT": ("onnx",), "1-D": ("coreml",)}

# The graph rules' test networks, by name.
NAMED = {
    name: Host(f"{name} of the graph rules", known(name), 0, quick=_QUICK.get(name, ()))
    for name in NETWORKS
}

# Formats of the slow tests, in turn. The other pairs are full tests.
LONG_FORMATS = {name: (FORMATS[place % len(FORMATS)],) for place, name in enumerate(NETWORKS)}

PLAIN = (
    Host("token ids", _words, 0),
    Host("outputs of all ranks", _ranks, 0, quick=("openvino", "coreml")),
    Host("U-Net in float16", _half, 0, quick=()),
    *NAMED.values(),
)
