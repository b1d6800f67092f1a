"""Train a small Slide-Swin on handwritten digits, as the authors of Slide Attention train theirs.

The network has two stages of slide attention in its branched form and a stage of window attention.
The shift branch keeps its kernel (`dep_conv.weight` is frozen, its bias learns); the deformed
branch beside it learns. The file has the layout of the authors' training run, with the averaged
weights under `state_dict_ema`.

The last epoch's weights are written: held-out images are counted for the reader, they choose
nothing.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from digits_data import BACKGROUND, IMAGE_SIZE, NUM_CLASSES, held_out, training
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slide_deploy.models.slide_swin import SlideSwin, SlideSwinConfig

CONFIG = SlideSwinConfig(
    image_size=(IMAGE_SIZE, IMAGE_SIZE),
    num_classes=NUM_CLASSES,
    embed_dim=16,
    depths=(2, 2, 2),
    num_heads=(2, 4, 8),
    window_size=2,
    num_slide_stages=2,
    patch_size=4,
)

BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WARM_UP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
GRADIENT_NORM = 5.0
AVERAGE_DECAY = 0.99  # the mean of about the last 100 steps: five epochs
# How far a digit may stray before a reader would call it badly written.
ROTATION_DEGREES = 12.0
SCALE = 0.1
SHIFT_PIXELS = 2.5
# One thread adds in the same order on every machine, and does not wait for another one: beside
# other work, two threads took ten times as long.
THREADS = 1

EXAMPLE = """\
example:
  python examples/train_digits.py --out examples/digits.pth
"""


def main() -> int:
    """Train, report and write; the exit code."""
    arguments = _parse()
    config_node = _config_node_type()
    if config_node is None:
        return _refuse("yacs is not installed and the layout needs it: run pip install yacs.")
    if arguments.epochs < 1:
        return _refuse(f"--epochs is {arguments.epochs}: give at least 1.")
    if not arguments.out.parent.is_dir():
        return _refuse(f"{arguments.out.parent} is not a folder: create it or change --out.")

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    start = time.perf_counter()
    model = build_model()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"Slide-Swin, {parameters:,} parameters, {IMAGE_SIZE}x{IMAGE_SIZE}, seed {arguments.seed}"
    )
    averaged, best = train(model, arguments.epochs)
    accuracy = evaluate(averaged)

    checkpoint = {
        "model": model.state_dict(),
        "state_dict_ema": averaged.state_dict(),
        "epoch": arguments.epochs - 1,
        "max_accuracy": best,
        "config": training_config(config_node, arguments.epochs, arguments.seed),
    }
    torch.save(checkpoint, arguments.out)
    print(
        f"{accuracy:.2f} % of the held-out images, averaged weights; "
        f"{time.perf_counter() - start:.0f} s; "
        f"{arguments.out}, {arguments.out.stat().st_size / 1e6:.2f} MB"
    )
    return 0


def build_model() -> SlideSwin:
    """The network, initialised as Swin is, its shift branches frozen."""
    model = SlideSwin(CONFIG)
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


def train(model: SlideSwin, epochs: int) -> tuple[nn.Module, float]:
    """Train a model in place.

    Returns:
        The moving average of its weights, and the best accuracy of the model itself over the
        epochs, in percent.
    """
    images, labels = (torch.from_numpy(array) for array in training())
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=LEARNING_RATE)
    steps = math.ceil(len(images) / BATCH_SIZE)
    # A cosine up and a cosine down.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=LEARNING_RATE,
        total_steps=epochs * steps,
        pct_start=WARM_UP_SHARE,
        cycle_momentum=False,
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
    best = 0.0
    for epoch in range(epochs):
        start = time.perf_counter()
        model.train()
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
            logits = model(augment(images[chosen]))
            loss = cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            total += loss.item() * len(chosen)
        accuracy = evaluate(model)
        best = max(best, accuracy)
        print(
            f"epoch {epoch + 1:3}/{epochs}  loss {total / len(images):.3f}  "
            f"held out {accuracy:6.2f} %  averaged {evaluate(average.module):6.2f} %  "
            f"{time.perf_counter() - start:.1f} s",
            flush=True,
        )
    return average.module, best


def augment(images: Tensor) -> Tensor:
    """Turn, scale and shift each image a little at random; what comes in is background."""
    count = len(images)

    def spread(limit: float, *shape: int) -> Tensor:
        return limit * (2 * torch.rand(count, *shape) - 1)

    angle = spread(math.radians(ROTATION_DEGREES))
    scale = 1 + spread(SCALE)
    sine, cosine = scale * angle.sin(), scale * angle.cos()
    shift = spread(2 * SHIFT_PIXELS / IMAGE_SIZE, 2)  # the grid is two units wide
    rows = [
        torch.stack((cosine, -sine, shift[:, 0]), dim=1),
        torch.stack((sine, cosine, shift[:, 1]), dim=1),
    ]
    # (image, output axis, input axis and constant)
    grid = affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    background = torch.from_numpy(BACKGROUND)
    return grid_sample(images - background, grid, align_corners=False) + background


@torch.no_grad()
def evaluate(model: nn.Module) -> float:
    """Share of the held-out images that a model classifies right, in percent."""
    images, labels = (torch.from_numpy(array) for array in held_out())
    model.eval()
    return 100.0 * float((model(images).argmax(dim=1) == labels).float().mean())


def training_config(config_node: type[dict[str, Any]], epochs: int, seed: int) -> Mapping[str, Any]:
    """What the authors' training run stores as ``config``: the entries that apply here."""
    return config_node(
        {
            "DATA": {"DATASET": "digits", "IMG_SIZE": IMAGE_SIZE, "BATCH_SIZE": BATCH_SIZE},
            "MODEL": {
                "TYPE": "slide_swin",
                "NAME": "slide_swin_digits",
                "NUM_CLASSES": CONFIG.num_classes,
                "LABEL_SMOOTHING": LABEL_SMOOTHING,
                "SWIN": {
                    "PATCH_SIZE": CONFIG.patch_size,
                    "IN_CHANS": CONFIG.in_channels,
                    "EMBED_DIM": CONFIG.embed_dim,
                    "DEPTHS": list(CONFIG.depths),
                    "NUM_HEADS": list(CONFIG.num_heads),
                    "WINDOW_SIZE": CONFIG.window_size,
                    "MLP_RATIO": CONFIG.mlp_ratio,
                    "QKV_BIAS": CONFIG.qkv_bias,
                    "APE": CONFIG.ape,
                    "PATCH_NORM": CONFIG.patch_norm,
                },
                "SLIDE": {
                    "KA": CONFIG.kernel_size,
                    "NUM_SLIDE_STAGES": CONFIG.num_slide_stages,
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
    """Matrices and kernels decay; biases, norms and tables of position biases do not."""
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
    """The class that the authors' configurations are pickled as; None without yacs."""
    try:
        from yacs.config import CfgNode  # type: ignore[import-untyped]
    except ImportError:
        return None
    node_type: type[dict[str, Any]] = CfgNode
    return node_type


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a small Slide-Swin on scikit-learn's handwritten digits.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write, .pth")
    parser.add_argument("--epochs", type=int, default=30, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    return parser.parse_args()


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
