"""Train a small Slide-Swin on handwritten digits, like the authors of Slide Attention.

`digits` is the network of the demo. `mnist` is a larger one for comparing the accuracy of all
precisions. Both have two stages of slide attention in branched form and one stage of window
attention. The kernel of the shift branch is frozen (`dep_conv.weight`), while its bias and the
deformed branch are learned. The checkpoint has the layout of the authors' training run.

The weights of the last epoch are written. The held-out images do not influence the training.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import digits_data
import mnist_data
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, interpolate
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slide_deploy.images.preprocessing import DEVIATION, MEAN
from slide_deploy.models.slide_swin import SlideSwin, SlideSwinConfig


@dataclass(frozen=True)
class Example:
    """A network and its training data.

    Attributes:
        data: Module with ``training()`` and ``held_out()``.
        config: Settings of the network.
        epochs: Default number of epochs.
        elastic: Largest elastic shift, as a share of the image's side.
        raw_weights: Whether to write the last weights in addition to the averaged ones.
    """

    data: ModuleType
    config: SlideSwinConfig
    epochs: int
    elastic: float = 0.0
    raw_weights: bool = True


EXAMPLES = {
    "digits": Example(
        data=digits_data,
        config=SlideSwinConfig(
            image_size=(digits_data.IMAGE_SIZE, digits_data.IMAGE_SIZE),
            num_classes=digits_data.NUM_CLASSES,
            embed_dim=16,
            depths=(2, 2, 2),
            num_heads=(2, 4, 8),
            window_size=2,
            num_slide_stages=2,
            patch_size=4,
        ),
        epochs=30,
    ),
    "mnist": Example(
        data=mnist_data,
        config=SlideSwinConfig(
            image_size=(mnist_data.IMAGE_SIZE, mnist_data.IMAGE_SIZE),
            num_classes=mnist_data.NUM_CLASSES,
            embed_dim=32,
            depths=(2, 2, 3),
            num_heads=(2, 4, 8),
            window_size=3,
            num_slide_stages=2,
            patch_size=4,
        ),
        epochs=24,
        elastic=0.04,
        raw_weights=False,  # the file stays below 4 MB
    ),
}

BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WARM_UP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
GRADIENT_NORM = 5.0
AVERAGE_DECAY = 0.99  # the mean of about the last 100 steps: five epochs
# Limits of the augmentation.
ROTATION_DEGREES = 12.0
SCALE = 0.1
SHIFT = 2.5 / 32  # of the side
ELASTIC_CELLS = 4  # cells in a row of the field of elastic shifts
# Normalised value of the black background.
BACKGROUND = -(torch.tensor(MEAN) / torch.tensor(DEVIATION)).view(3, 1, 1)
# One thread adds in the same order on every machine. On a busy machine, two threads took ten times
# as long.
THREADS = 1

EXAMPLE = """\
example:
  python examples/train.py digits --out examples/digits.pth
"""


def main() -> int:
    """Train, report and write. Return the exit code."""
    arguments = _parse()
    example = EXAMPLES[arguments.example]
    epochs = example.epochs if arguments.epochs is None else arguments.epochs
    config_node = _config_node_type()
    if config_node is None:
        return _refuse("The layout of the checkpoint needs yacs: run pip install yacs.")
    if epochs < 1:
        return _refuse(f"--epochs is {epochs}: give 1 or more.")
    if not arguments.out.parent.is_dir():
        return _refuse(f"{arguments.out.parent} is not a folder: create it or change --out.")

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    start = time.perf_counter()
    model = build_model(example.config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    size = example.data.IMAGE_SIZE
    print(f"Slide-Swin, {parameters:,} parameters, {size}x{size}, seed {arguments.seed}")
    averaged = train(model, example, epochs)
    accuracy = evaluate(averaged, *example.data.held_out())

    weights = {"state_dict_ema": averaged.state_dict()}
    if example.raw_weights:
        weights["model"] = model.state_dict()
    checkpoint = {
        **weights,
        "epoch": epochs - 1,
        "max_accuracy": accuracy,
        "config": training_config(config_node, arguments.example, epochs, arguments.seed),
    }
    torch.save(checkpoint, arguments.out)
    print(
        f"{accuracy:.2f} % of the held-out images, averaged weights; "
        f"{time.perf_counter() - start:.0f} s; "
        f"{arguments.out}, {arguments.out.stat().st_size / 1e6:.2f} MB"
    )
    return 0


def build_model(config: SlideSwinConfig) -> SlideSwin:
    """Build the network with Swin's initialisation and frozen shift branches."""
    model = SlideSwin(config)
    for name, parameter in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.trunc_normal_(parameter, std=0.02)
        if name.endswith("dep_conv.weight"):
            parameter.requires_grad = False
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def train(model: SlideSwin, example: Example, epochs: int) -> nn.Module:
    """Train a model in place. Return a model with the moving average of its weights."""
    images, labels = (torch.from_numpy(array) for array in example.data.training())
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=LEARNING_RATE)
    steps = math.ceil(len(images) / BATCH_SIZE)
    # Cosine warm-up and cosine decay.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=LEARNING_RATE,
        total_steps=epochs * steps,
        pct_start=WARM_UP_SHARE,
        cycle_momentum=False,
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
    model.train()
    for epoch in range(epochs):
        start = time.perf_counter()
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
            logits = model(augment(images[chosen], example.elastic))
            loss = cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            total += loss.item() * len(chosen)
        print(
            f"epoch {epoch + 1:3}/{epochs}  loss {total / len(images):.3f}  "
            f"{time.perf_counter() - start:.1f} s",
            flush=True,
        )
    return average.module


def augment(images: Tensor, elastic: float = 0.0) -> Tensor:
    """Randomly rotate, scale, shift and bend each image, with background outside.

    Args:
        images: Images, (image, channel, row, column).
        elastic: Largest elastic shift, as a share of the image's side.
    """
    count, _, height, width = images.shape

    def spread(limit: float, *shape: int) -> Tensor:
        return limit * (2 * torch.rand(count, *shape) - 1)

    angle = spread(math.radians(ROTATION_DEGREES))
    scale = 1 + spread(SCALE)
    sine, cosine = scale * angle.sin(), scale * angle.cos()
    shift = spread(2 * SHIFT, 2)  # the grid is two units wide
    rows = [
        torch.stack((cosine, -sine, shift[:, 0]), dim=1),
        torch.stack((sine, cosine, shift[:, 1]), dim=1),
    ]
    # (image, output axis, input axis and constant)
    grid = affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    if elastic:
        field = spread(2 * elastic, 2, ELASTIC_CELLS, ELASTIC_CELLS)
        smooth = interpolate(field, (height, width), mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)  # (image, row, column, x and y)
    return grid_sample(images - BACKGROUND, grid, align_corners=False) + BACKGROUND


@torch.inference_mode()
def evaluate(model: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the accuracy of a model in percent."""
    model.eval()
    batches = torch.from_numpy(images).split(BATCH_SIZE)
    classes = torch.cat([model(batch).argmax(dim=1) for batch in batches])
    return 100.0 * float((classes == torch.from_numpy(labels)).float().mean())


def training_config(
    config_node: type[dict[str, Any]], name: str, epochs: int, seed: int
) -> Mapping[str, Any]:
    """Return the entries of the authors' ``config`` that apply here."""
    config = EXAMPLES[name].config
    return config_node(
        {
            "DATA": {
                "DATASET": name,
                "IMG_SIZE": config.image_size[0],
                "BATCH_SIZE": BATCH_SIZE,
            },
            "MODEL": {
                "TYPE": "slide_swin",
                "NAME": f"slide_swin_{name}",
                "NUM_CLASSES": config.num_classes,
                "LABEL_SMOOTHING": LABEL_SMOOTHING,
                "SWIN": {
                    "PATCH_SIZE": config.patch_size,
                    "IN_CHANS": config.in_channels,
                    "EMBED_DIM": config.embed_dim,
                    "DEPTHS": list(config.depths),
                    "NUM_HEADS": list(config.num_heads),
                    "WINDOW_SIZE": config.window_size,
                    "MLP_RATIO": config.mlp_ratio,
                    "QKV_BIAS": config.qkv_bias,
                    "APE": config.ape,
                    "PATCH_NORM": config.patch_norm,
                },
                "SLIDE": {
                    "KA": config.kernel_size,
                    "NUM_SLIDE_STAGES": config.num_slide_stages,
                },
            },
            "TRAIN": {
                "EPOCHS": epochs,
                "BASE_LR": LEARNING_RATE,
                "WEIGHT_DECAY": WEIGHT_DECAY,
                "CLIP_GRAD": GRADIENT_NORM,
                "LR_SCHEDULER": {"NAME": "cosine"},
                "OPTIMIZER": {"NAME": "adamw"},
            },
            "SEED": seed,
        }
    )


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Exempt biases, norms and position bias tables from weight decay."""
    decaying: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim == 1 or name.endswith("relative_position_bias_table")
        (free if exempt else decaying).append(parameter)
    return [
        {"params": decaying, "weight_decay": WEIGHT_DECAY},
        {"params": free, "weight_decay": 0.0},
    ]


def _config_node_type() -> type[dict[str, Any]] | None:
    """Return the class of the authors' pickled configurations; None without yacs."""
    try:
        from yacs.config import CfgNode  # type: ignore[import-untyped]
    except ImportError:
        return None
    node_type: type[dict[str, Any]] = CfgNode
    return node_type


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a small Slide-Swin on handwritten digits.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("example", choices=EXAMPLES, help="network to train")
    parser.add_argument("--out", type=Path, required=True, help="path of the checkpoint, .pth")
    parser.add_argument("--epochs", type=int, help="default: as for the checkpoint in examples/")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    return parser.parse_args()


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
