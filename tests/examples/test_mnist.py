"""examples/mnist.pth and the pictures that it was trained on."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.evaluation.trained import trained_classifier
from slide_deploy.hosts import load_checkpoint
from tests.shared import once

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "examples" / "mnist.pth"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import mnist_data

    return mnist_data


@pytest.fixture
def pictures(data: ModuleType) -> Path:
    def written(folder: Path) -> Path:
        data.write(folder)
        return folder

    return once("pictures of MNIST", written)


def test_no_picture_is_both_learned_and_held_out(pictures: Path) -> None:
    parts = {
        part: [path.read_bytes() for path in sorted((pictures / part).glob("*/*.png"))]
        for part in ("training", "held-out")
    }
    assert {part: len(files) for part, files in parts.items()} == {
        "training": 3500,
        "held-out": 1500,
    }
    assert not set(parts["training"]) & set(parts["held-out"])


def test_pictures_are_prepared_for_training_as_for_prediction(
    data: ModuleType, pictures: Path
) -> None:
    taken = trained_classifier(deployable_checkpoint(load_checkpoint(CHECKPOINT))).taken
    paths = sorted((pictures / "held-out").glob("*/*.png"))
    learned, labels = data.read(pictures / "held-out")
    assert np.array_equal(np.bincount(labels), [150] * 10)
    for place in range(0, len(paths), 100):
        assert int(paths[place].parent.name) == labels[place]
        assert np.array_equal(taken.load(paths[place])[0], learned[place])


@pytest.mark.slow
def test_the_checkpoint_is_as_good_as_the_page_says(data: ModuleType, pictures: Path) -> None:
    page = (ROOT / "docs" / "precision.md").read_text()
    (said,) = re.findall(r"\| as trained \| float32 \|.*?\| ([0-9.]+) \(", page)
    images, labels = data.read(pictures / "held-out")
    model = load_checkpoint(CHECKPOINT).model
    with torch.inference_mode():
        found = torch.cat([model(each).argmax(1) for each in torch.from_numpy(images).split(100)])
    # Another processor may see one doubtful picture otherwise.
    assert 100 * np.mean(found.numpy() == labels) == pytest.approx(float(said), abs=0.1)
    assert CHECKPOINT.stat().st_size < 4e6
