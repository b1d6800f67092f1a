"""Golden checkpoints and random models that several tests share."""

import copy
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from exporters import pipeline
from exporters.base import ExportRequest, Traces
from exporters.outcome import ExportOptions, ExportResult
from slide_deploy.backends import open_file
from slide_deploy.checkpoint.choice import WeightChoice
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.deployable import save
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.deployable.network import NetworkCall
from slide_deploy.deployable.record import Deployable, Origin
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import Checkpoint, Overrides, load_checkpoint
from slide_deploy.hosts.find import find_network
from slide_deploy.lowerings import DEFAULT_LOWERING, Lowering
from slide_deploy.models.host_network import are_features
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from slide_deploy.models.slide_swin import SlideSwin, SlideSwinConfig
from slide_deploy.verification import verify
from slide_deploy.verification.divergence import Divergence
from slide_deploy.verification.parity import Verification
from tests.shared import once

FORMATS = ("onnx", "openvino", "coreml")
GOLDEN = Path(__file__).parent / "golden"
SWINS = sorted(
    path.stem for path in GOLDEN.glob("slide_swin_nano*.json") if "shapes" not in path.name
)
ATTENTIONS = sorted(path.stem for path in GOLDEN.glob("slide_attention_*.json"))


@dataclass(frozen=True)
class Golden:
    """A checkpoint with known answers."""

    name: str
    path: Path
    settings: dict[str, Any]
    expected: dict[str, torch.Tensor]

    def load(self) -> Checkpoint:
        return load_checkpoint(self.path)


def golden_swin(name: str) -> Golden:
    path = next(
        GOLDEN / f"{name}{end}"
        for end in (".pth", ".safetensors")
        if (GOLDEN / f"{name}{end}").exists()
    )
    settings = json.loads((GOLDEN / f"{name}.json").read_text())
    return Golden(name, path, settings, load_file(GOLDEN / f"{name}.expected.safetensors"))


def read_checkpoint(path: Path, weights: WeightChoice = "auto") -> StoredWeights:
    """The tensors of a checkpoint, and what it says beside them."""
    return find_network(path, Overrides(weights=weights))[1]


def exported(
    checkpoint: Checkpoint,
    *,
    dynamic_batch: bool = False,
    lowering: Lowering = DEFAULT_LOWERING,
    features: bool = False,
    formats: tuple[str, ...] = FORMATS,
    precision: str = "float32",
) -> ExportResult:
    """A checkpoint in some formats, exported once in a run of the tests, whoever asks first.

    The files are shared: a test that changes one makes a `copied` one.
    """

    def write(folder: Path) -> ExportResult:
        options = ExportOptions(formats, folder, lowering, precision=precision)
        return export(checkpoint, options, features=features, dynamic_batch=dynamic_batch)

    network = (checkpoint.path.name, checkpoint.sha256, checkpoint.config, checkpoint.resized)
    asked = (dynamic_batch, str(lowering), features, formats, precision)
    return once(("exported", *network, *asked), write)


def export(
    checkpoint: Checkpoint,
    options: ExportOptions,
    *,
    features: bool = False,
    dynamic_batch: bool = False,
) -> ExportResult:
    """Export a checkpoint as the command line does."""
    whole = deployable_checkpoint(checkpoint, features=features, dynamic_batch=dynamic_batch)
    return pipeline.export(whole, options)


def against(path: Path, checkpoint: Checkpoint) -> Deployable:
    """What a file is held against: the logits of a checkpoint, or its maps if it has those."""
    return deployable_checkpoint(checkpoint, features=are_features(open_file(path).outputs))


def verify_file(path: Path, checkpoint: Checkpoint, precision: str = "float32") -> Verification:
    """Hold a file against a checkpoint as the command line does."""
    return verify.verify_file(path, against(path, checkpoint), precision)


def locate(path: Path, checkpoint: Checkpoint) -> Divergence:
    """The first layer of a checkpoint that a file computes differently."""
    return verify.locate(path, against(path, checkpoint))


def save_folded(folded: torch.nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Write folded weights of a checkpoint."""
    save.save_folded(folded, deployable_checkpoint(checkpoint, features=None), path)


def small_checkpoint(folder: Path) -> Path:
    """A folded checkpoint of two blocks, for tests in which only messages and files matter."""
    model = random_swin(
        image_size=(16, 16), embed_dim=4, depths=(1, 1), num_heads=(1, 2), num_slide_stages=1
    )
    checkpoint = replace(golden_swin("slide_swin_nano").load(), model=model, config=model.config)
    save_folded(reparameterize(model)[0], checkpoint, folder / "small.safetensors")
    return folder / "small.safetensors"


def answers(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every output of a file that takes one image, for images one by one where its batch is 1."""
    session = open_file(path)
    (port,) = session.inputs
    step = port.shape[0] or len(images)
    parts = [
        session({port.name: images[start : start + step]}) for start in range(0, len(images), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in session.outputs}


def image_network(
    model: torch.nn.Module,
    shape: tuple[int, ...],
    open_batch: bool = False,
    outputs: tuple[str, ...] = ("logits",),
) -> Deployable:
    """A module that takes one image, of this shape without the batch, as a record."""
    image = np.zeros((1, *shape), np.float32)
    return Deployable(
        model,
        (Input("image", image, {0: BATCH_NAME} if open_batch else {}),),
        outputs,
        NetworkCall.of_one_tensor(len(outputs)),
        Origin("test", "test", "", "test"),
        {BATCH_NAME: (3,)} if open_batch else {},
    )


def image_request(
    model: torch.nn.Module,
    shape: tuple[int, ...],
    open_batch: bool = False,
    metadata: dict[str, str] | None = None,
    outputs: tuple[str, ...] = ("logits",),
    passes: tuple[str, ...] = ("common_operators",),
) -> ExportRequest:
    """What an exporter gets for a module that takes one image."""
    declared = {} if metadata is None else metadata
    traces = Traces(image_network(model, shape, open_batch, outputs))
    return ExportRequest(traces, declared, passes=passes)


def exported_path(result: ExportResult, format: str) -> Path:
    """The file of one format, which must have passed."""
    (file,) = (file for file in result.files if file.format == format)
    assert file.passed
    return file.paths[0]


def copied(path: Path, folder: Path) -> Path:
    """A copy of an exported file, with everything that belongs to it, that a test may damage."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copy(path, target)
    if path.suffix == ".xml":
        shutil.copy(path.with_suffix(".bin"), target.with_suffix(".bin"))
    return target


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Draw every parameter, biases and bias tables included: a zero would hide a missing term."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("norm.weight") or (".norm" in name and name.endswith("weight")):
                parameter.copy_(1 + 0.1 * draw)
            elif parameter.ndim > 1 and "table" not in name:
                fan_in = parameter[0].numel()
                parameter.copy_(draw / fan_in**0.5)
            else:
                parameter.copy_(0.3 * draw)
    return module.eval().requires_grad_(False)


def random_swin(seed: int = 0, **settings: Any) -> SlideSwin:
    """A small Slide-Swin with random weights."""
    defaults: dict[str, Any] = {
        "image_size": (32, 32),
        "num_classes": 5,
        "embed_dim": 8,
        "depths": (1, 1, 2),
        "num_heads": (1, 2, 4),
        "window_size": 56,
        "num_slide_stages": 2,
    }
    model = randomise(SlideSwin(SlideSwinConfig(**(defaults | settings))), seed)
    assert isinstance(model, SlideSwin)
    return model


def random_attention(
    config: SlideAttentionConfig, seed: int = 0, drift: float = 0.0
) -> SlideAttention:
    """An NCHW slide attention with random weights; its shift kernel is off by ``drift``."""
    attention = SlideAttention(config)
    shift = attention.dep_conv.weight.detach().clone()
    randomise(attention, seed)
    with torch.no_grad():
        attention.dep_conv.weight.copy_(shift + drift * torch.randn_like(shift))
    return attention


def attention_config(options: dict[str, Any]) -> SlideAttentionConfig:
    """The settings in a golden attention's JSON."""
    return SlideAttentionConfig(
        dim=options["dim"],
        num_heads=options["num_heads"],
        kernel_size=options["ka"],
        qkv_bias=options["qkv_bias"],
        dim_reduction=options["dim_reduction"],
        rpb=options["rpb"],
        share_dwc_kernel=options["share_dwc_kernel"],
        share_qkv=options["share_qkv"],
    )


def logits(model: torch.nn.Module, image: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """Logits of a copy of the model in some type."""
    with torch.no_grad():
        return copy.deepcopy(model).to(dtype)(image.to(dtype)).numpy()
