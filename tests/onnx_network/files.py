"""Files as other tools write them, made once for all test processes."""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from slide_deploy.folding.model import Certificate, reparameterize
from slide_deploy.hosts import Checkpoint
from slide_deploy.onnx_network.deployable import deployable_onnx
from slide_deploy.tasks.fold_file import FoldedFile, fold_file
from tests.families import golden as families
from tests.shared import once
from tests.support import SWINS, golden_swin

Batch = Literal[1, 2, "open"]
GOLDENS = (*SWINS, *families.NAMES)


@dataclass(frozen=True)
class Writer:
    """How PyTorch writes a file.

    Attributes:
        exporter: "dynamo" or "torchscript".
        opset: opset of the file.
        batch: size of the batch, or "open".
    """

    exporter: Literal["dynamo", "torchscript"] = "dynamo"
    opset: int = 20
    batch: Batch = 1

    def __str__(self) -> str:
        return f"{self.exporter}-{self.opset}-{self.batch}"

    def write(self, model: nn.Module, example: Tensor, path: Path, **options: object) -> None:
        """Write a model that takes one tensor; ``example`` has a batch of one."""
        count = 1 if self.batch == 1 else 2
        example = example[:1].expand(count, *example.shape[1:]).contiguous()
        is_open, is_dynamo = self.batch == "open", self.exporter == "dynamo"
        if is_open and is_dynamo:
            options["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=1, max=64)},)
        elif is_open:
            options["dynamic_axes"] = {"image": {0: "batch"}, "result": {0: "batch"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.eval(),
                (example,),
                path,
                dynamo=is_dynamo,
                opset_version=self.opset,
                input_names=["image"],
                output_names=["result"],
                verbose=False,
                **options,
            )


def checkpoint_of(name: str) -> Checkpoint:
    """A golden checkpoint of any family."""
    return golden_swin(name).load() if name in SWINS else families.family_golden(name).load()


def file_of(name: str, writer: Writer) -> Path:
    """A golden checkpoint as PyTorch writes it, with its training-time branches."""

    def make(folder: Path) -> Path:
        checkpoint = checkpoint_of(name)
        shape = (1, checkpoint.config.in_channels, *checkpoint.config.image_size)
        model = checkpoint.model if checkpoint.model.is_classifier else checkpoint.model.backbone()
        writer.write(model, torch.zeros(shape), folder / "model.onnx")
        return folder / "model.onnx"

    return once(("onnx file", name, writer), make)


def changed(key: object, path: Path, change: Callable[[Path, Path], None]) -> Path:
    """A file made from another one; ``change`` takes both paths."""

    def make(folder: Path) -> Path:
        for data in path.parent.glob("*.data"):  # a tool may go on reading it
            shutil.copyfile(data, folder / data.name)
        change(path, folder / "model.onnx")
        return folder / "model.onnx"

    return once(("changed onnx file", str(path), key), make)


def folded(path: Path, output: Path, lowering: str = "depthwise") -> FoldedFile:
    """A file that ``slide-deploy fold`` writes and verifies."""
    return fold_file(path, output, lowering=lowering)


def operators(path: Path) -> Counter[str]:
    """How often each operator is in a file."""
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def outputs(path: Path, images: np.ndarray, optimised: bool = False) -> list[np.ndarray]:
    """The outputs of a file on ONNX Runtime, whose optimisations are off unless asked for."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})


def difference(
    one: Path, other: Path, shape: tuple[int, ...], seed: int = 3, dtype: str = "float32"
) -> float:
    """The largest difference of two files on noise, relative to the largest output."""
    noise = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    pairs = zip(outputs(one, noise), outputs(other, noise), strict=True)
    return float(np.max([relative(ours, theirs) for ours, theirs in pairs]))  # NaN stays


@dataclass(frozen=True)
class Recognised:
    """What is found in a file, without writing another one.

    Attributes:
        certificate: the certificate of the fold.
        remarks: what looks like an attention and was left.
        error: largest difference of the folded network from the file on noise, relative to the
            largest output.
    """

    certificate: Certificate
    remarks: tuple[str, ...]
    error: float


@torch.no_grad()
def recognised(path: Path, shape: tuple[int, ...], seed: int = 3) -> Recognised:
    """Read a file with one input of this shape, and fold its attentions."""
    network = deployable_onnx(path)
    model, certificate = reparameterize(network.model)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found = model(image)
    ours = found if isinstance(found, tuple) else (found,)
    pairs = zip(ours, outputs(path, image.numpy()), strict=True)
    error = float(np.max([relative(one.numpy(), other) for one, other in pairs]))  # NaN stays
    return Recognised(certificate, network.origin.remarks, error)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest number of the second; NaN fails any limit."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    largest = np.abs(theirs.astype(np.float64)).max()
    return float(np.abs(ours.astype(np.float64) - theirs).max() / largest)
