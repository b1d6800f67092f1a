"""Checkpoints of the families with known outputs; see ``tests/golden/README.md``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slide_deploy.hosts import Checkpoint, Overrides, load_checkpoint
from tests.support import GOLDEN

FOLDER = GOLDEN / "hosts"
# Names of settings in the reference files, where they differ from the names here.
_NAMES = {"img_size": "image_size", "split_size": "stripes"}


@dataclass(frozen=True)
class FamilyGolden:
    """A checkpoint with known outputs.

    Attributes:
        name: name of its files.
        family: name of its family, as in ``Host.name``.
        settings: settings of the network, by the names used here.
        expected: the image, the tokens after the blocks of each stage, the logits, and input and
            output of the first slide attention.
    """

    name: str
    family: str
    settings: dict[str, Any]
    expected: dict[str, torch.Tensor]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.pth"

    @property
    def size(self) -> tuple[int, int]:
        return self.settings["image_size"]

    def load(self) -> Checkpoint:
        return load_checkpoint(self.path, Overrides(image_size=self.size))


def family_golden(name: str) -> FamilyGolden:
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    family = stored.pop("arch").removeprefix("slide_")
    settings = {
        _NAMES.get(key, key): tuple(value) if isinstance(value, list) else value
        for key, value in stored.items()
    }
    settings["image_size"] = (settings["image_size"],) * 2
    return FamilyGolden(name, family, settings, load_file(FOLDER / f"{name}.expected.safetensors"))


NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def first_names() -> list[str]:
    """Return the first golden checkpoint of each family."""
    return list({family_golden(name).family: name for name in reversed(NAMES)}.values())


def goldens(others: pytest.MarkDecorator | None = None) -> pytest.MarkDecorator:
    """Run a test with every golden checkpoint.

    Args:
        others: mark for all but the first golden of each family.
    """
    firsts = first_names()
    marked = [
        pytest.param(name, marks=[] if name in firsts or others is None else others)
        for name in NAMES
    ]
    return pytest.mark.parametrize("name", marked)
