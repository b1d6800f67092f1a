"""Small networks as PyTorch's own exporters write them to ``.onnx`` files."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from tests.shared import once
from tests.support import randomise

IMAGE = (1, 3, 16, 16)


class Branched(nn.Module):
    """One image in, five logits out: two parallel convolutions and one slide attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.side = nn.Conv2d(3, 8, 4, 4)
        self.attn = SlideAttention(SlideAttentionConfig(8, 2, 3))
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image) + self.side(image)
        return self.head((x + self.attn(x)[0]).mean((2, 3)))


class Plain(nn.Module):
    """One image in, feature maps out: nothing in it can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.stem(image).relu()


def branched(*, dynamo: bool = False, open_batch: bool = False) -> Path:
    """The path of a shared file of ``Branched``, ``model.onnx``.

    Args:
        dynamo: whether the exporter of today writes it; else the one of TorchScript.
        open_batch: whether its batch is open.
    """
    axes = {"image": {0: "batch"}} if open_batch else None
    return once(
        ("written elsewhere", dynamo, open_batch),
        lambda folder: write(Branched(), folder / "model.onnx", dynamo=dynamo, dynamic_axes=axes),
    )


def write(model: nn.Module, path: Path, *, dynamo: bool = False, **options: Any) -> Path:
    """Write a network with random weights by ``torch.onnx.export``, its input named image."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            randomise(model),
            (torch.zeros(IMAGE),),
            str(path),
            dynamo=dynamo,
            input_names=["image"],
            output_names=["answer"],
            **options,
        )
    return path


def with_data(path: Path, folder: Path, location: str = "weights.bin") -> Path:
    """A copy of a file, in another folder, that keeps its weights in a file of their own."""
    copy = folder / path.name
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        onnx.load(path),
        copy,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=True,
    )
    return copy
