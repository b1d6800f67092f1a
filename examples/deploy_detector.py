"""Deploy a custom detector, from a PyTorch module to boxes, in one script.

The detector and its attention are plain PyTorch modules that do not use slide-deploy. The script
exports the detector to every format that is installed here, verifies each file against the module,
checks it against the policy, and finds boxes in an image with the ONNX file, without PyTorch. The
weights are random, so the boxes have no meaning, but the file and the module must find the same.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import slide_deploy
from slide_deploy.terminal.console import stdout, table

SIZE = (96, 128)
CLASSES = ("person", "bicycle", "car")
STRIDES = (4, 8, 16)
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "coreml": "coremltools"}
# Outputs by name.
Outputs = dict[str, NDArray[np.float32]]
# (boxes, 6): class, score, left, top, right and bottom in pixels.
Boxes = NDArray[np.float64]
# Limits of non-maximum suppression: overlap of two boxes, and number of boxes.
OVERLAP, BOXES = 0.5, 5


class SlideAttention(nn.Module):
    """Attention over the 3x3 neighbours of each position of NCHW feature maps.

    Args:
        dim: Channels.
        heads: Number of heads.
        dim_reduction: Factor by which queries, keys and values are narrower than ``dim``.
    """

    def __init__(self, dim: int, heads: int, dim_reduction: int = 1) -> None:
        super().__init__()
        inner = dim // dim_reduction
        self.heads, self.d = heads, inner // heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Conv2d(dim, 3 * inner, 1)
        self.proj = nn.Conv2d(inner, dim, 1)
        # The first copies each neighbour and is frozen. The second is learned.
        self.dep_conv = nn.Conv2d(self.d, 9 * self.d, 3, padding=1, groups=self.d)
        self.dep_conv1 = nn.Conv2d(self.d, 9 * self.d, 3, padding=1, groups=self.d)
        with torch.no_grad():
            neighbour = torch.eye(9).reshape(9, 1, 3, 3)
            self.dep_conv.weight.copy_(neighbour.repeat(self.d, 1, 1, 1))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(1, heads, 1, 9, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, None, None]:
        """Return the feature map first in a tuple, as some attention layers do."""
        batch, _, height, width = x.shape
        qkv = self.qkv(x).reshape(batch, self.heads, 3, self.d, height, width)
        q, k, v = qkv.unbind(2)
        k = self._neighbours(k) + self.relative_position_bias_table
        logits = (self.scale * q.unsqueeze(3) * k).sum(2, keepdim=True)
        out = (logits.softmax(3) * self._neighbours(v)).sum(3)
        return self.proj(out.flatten(1, 2)), None, None

    def _neighbours(self, x: Tensor) -> Tensor:
        """Gather neighbours, (batch, heads, d, H, W) to (batch, heads, d, offsets, H, W)."""
        batch, heads, d, height, width = x.shape
        x = x.reshape(batch * heads, d, height, width)
        neighbours = self.dep_conv(x) + self.dep_conv1(x)
        return neighbours.reshape(batch, heads, d, 9, height, width)


class Stage(nn.Module):
    """Reduces the resolution, then applies attention and an MLP."""

    def __init__(self, before: int, dim: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(before, dim, stride, stride), nn.BatchNorm2d(dim))
        self.attention = SlideAttention(dim, heads=2)
        self.mlp = nn.Sequential(nn.Conv2d(dim, 2 * dim, 1), nn.GELU(), nn.Conv2d(2 * dim, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, before, H, W) to (batch, dim, H / stride, W / stride)."""
        x = self.down(x)
        x = x + self.attention(x)[0]
        x = x + self.mlp(x)
        return x


class Pyramid(nn.Module):
    """Feature pyramid: adds each feature map, enlarged, to the next larger one."""

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(each, dim, 1) for each in dims)
        self.attention = SlideAttention(dim, heads=2, dim_reduction=2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map feature maps of the stages to feature maps with ``dim`` channels."""
        levels: list[Tensor] = []
        for lateral, each in reversed(list(zip(self.lateral, maps, strict=True))):
            level = lateral(each)
            if levels:
                level = level + functional.interpolate(levels[0], scale_factor=2.0)
            levels.insert(0, level)
        return [level + self.attention(level)[0] for level in levels]


class Detector(nn.Module):
    """Scores and boxes at three resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList((Stage(3, 16, 4), Stage(16, 32, 2), Stage(32, 32, 2)))
        self.neck = Pyramid((16, 32, 32), 32)
        self.scores = nn.Conv2d(32, len(CLASSES), 3, padding=1)
        self.boxes = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        """Return class logits and distances to the sides of the box, for each level."""
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(maps[-1] if maps else image))
        levels = self.neck(maps)
        return {
            "scores": [self.scores(level) for level in levels],
            "boxes": [self.boxes(level).relu() for level in levels],
        }


def main() -> int:
    """Deploy, run and print. Return the exit code."""
    parser = argparse.ArgumentParser(description="Deploy a custom detector.")
    parser.add_argument("--out", type=Path, default=Path("build/detector"), help="output folder")
    out: Path = parser.parse_args().out

    detector = trained()
    picture = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    formats = [format for format, library in FORMATS.items() if find_spec(library)]
    try:
        result = slide_deploy.export(
            detector, {"image": picture}, to=formats, out=out, force=True, progress=True
        )
        result.raise_if_failed()
        stdout().print(files_table(result, detector, picture))
    except slide_deploy.SlideDeployError as error:
        print(error, file=sys.stderr)
        return 1

    found = boxes(run(result.paths["onnx"], picture.numpy()))
    wanted = boxes(outputs_of(detector, picture))
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-3, atol=1e-3):
        print("The boxes of the file and of the module differ.", file=sys.stderr)
        return 1
    stdout().print(boxes_table(found))
    return 0


def trained() -> Detector:
    """Return a detector with random weights and statistics from a seed, instead of training."""
    torch.manual_seed(9)
    detector = Detector().eval().requires_grad_(False)
    for name, tensor in detector.state_dict().items():
        if name.endswith(("running_mean", "bias_table")):
            tensor.normal_()
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
    for head in (detector.scores, detector.boxes):
        head.weight.mul_(4)  # for some high scores
    return detector


def files_table(result: slide_deploy.ExportResult, detector: Detector, picture: Tensor) -> Table:
    """Verify and check the files again, as another machine would.

    Raises:
        CheckFailed: Outputs of a file differ from those of the module.
    """
    certificate = result.certificate
    grid = table(
        f"{len(certificate.folded)} slide attentions folded, error at most {certificate.error:.0e}",
        [("file", False), ("MB", True), ("attentions", False), ("SNR dB", True), ("rules", False)],
    )
    for format, path in result.paths.items():
        verdict = slide_deploy.verify(path, detector, picture)
        verdict.raise_if_failed()
        broken = ", ".join(each.rule for each in slide_deploy.check(path).violations)
        file = result.file(format)
        grid.add_row(
            path.name,
            f"{file.size / 1e6:.1f}",
            ", ".join(sorted({str(lowering) for lowering in file.lowerings.values()})),
            f"{verdict.verification.worst.snr_db:.0f}",
            broken or "all kept",
        )
    return grid


def boxes_table(found: Boxes) -> Table:
    """Return a table of the boxes, the best first."""
    grid = table(
        "On ONNX Runtime, the same boxes as in PyTorch",
        [("class", False), *((name, True) for name in ("score", "left", "top", "right", "bottom"))],
    )
    for kind, score, *sides in found:
        grid.add_row(CLASSES[int(kind)], f"{score:.2f}", *(f"{side:.1f}" for side in sides))
    return grid


@torch.inference_mode()
def outputs_of(detector: Detector, picture: Tensor) -> Outputs:
    """Return the module's outputs, with the names that they have in files."""
    return {
        f"{name}_{level}": output.numpy()
        for name, outputs in detector(picture).items()
        for level, output in enumerate(outputs)
    }


def run(path: Path, image: NDArray[np.float32]) -> Outputs:
    """Run the file without PyTorch, as on a device, and return its outputs by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image}), strict=True))


def boxes(outputs: Outputs) -> Boxes:
    """Return the best boxes of all levels after non-maximum suppression, the best first.

    Args:
        outputs: ``scores_0`` (1, classes, H, W) and ``boxes_0`` (1, 4, H, W) of the first level,
            and so on for the others.
    """
    found = []
    for level, stride in enumerate(STRIDES):
        logits, sides = outputs[f"scores_{level}"][0], outputs[f"boxes_{level}"][0]
        rows, columns = np.mgrid[: logits.shape[1], : logits.shape[2]]
        x, y = (columns + 0.5) * stride, (rows + 0.5) * stride
        left, top, right, bottom = (1 + sides.astype(np.float64)) * stride
        corners = (x - left, y - top, x + right, y + bottom)
        scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
        found.append(np.stack([scores.argmax(0), scores.max(0), *corners], -1).reshape(-1, 6))
    candidates = np.concatenate(found)
    kept: list[NDArray[np.float64]] = []
    for candidate in candidates[np.argsort(-candidates[:, 1], kind="stable")]:
        if all(candidate[0] != other[0] or overlap(candidate, other) < OVERLAP for other in kept):
            kept.append(candidate)
        if len(kept) == BOXES:
            break
    return np.array(kept)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the intersection over union of two boxes."""
    low, high = np.maximum(one[2:4], other[2:4]), np.minimum(one[4:6], other[4:6])
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(box[4:6] - box[2:4])) for box in (one, other)]
    return shared / (sum(areas) - shared)


if __name__ == "__main__":
    sys.exit(main())
