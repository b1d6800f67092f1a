"""Exports of the published sizes, from checkpoints in every training layout, to three formats."""

import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.outcome import ExportOptions
from slide_deploy.hosts import load_checkpoint
from slide_deploy.hosts.slide_swin.published import ARCHITECTURES
from slide_deploy.models.slide_swin import SlideSwin
from tests.support import FORMATS, GOLDEN, answers, export, randomise


def write_tiny(make_checkpoint, layout: str, path: Path) -> np.ndarray:
    """Write a checkpoint; return the image for which its logits are known."""
    arrays, spec = make_checkpoint.weights("slide_swin_tiny")
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    content = {
        "plain": {"model": state, "optimizer": {}, "max_accuracy": 0.0, "epoch": 299},
        "ema": {
            "model": {name: torch.zeros_like(tensor) for name, tensor in state.items()},
            "state_dict_ema": state,
        },
        "ddp": {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    }[layout]
    torch.save(content, path)
    return make_checkpoint.image(spec)


@pytest.mark.full
@pytest.mark.parametrize("layout", ["ema", "ddp"])
def test_tiny_in_other_layouts(make_checkpoint, layout: str, tmp_path: Path) -> None:
    """Check that the weights to export give the known logits."""
    image = torch.from_numpy(write_tiny(make_checkpoint, layout, tmp_path / "tiny.pth"))
    expected = np.load(GOLDEN / "slide_swin_tiny.expected.npz")["logits"]
    checkpoint = load_checkpoint(tmp_path / "tiny.pth")
    assert checkpoint.architecture == "slide_swin_tiny"
    assert checkpoint.config.image_size == (224, 224)
    with torch.no_grad():
        assert np.abs(checkpoint.model(image).numpy() - expected).max() < 1e-4


@pytest.mark.slow
def test_tiny(make_checkpoint, tmp_path: Path) -> None:
    image = write_tiny(make_checkpoint, "plain", tmp_path / "tiny.pth")
    expected = np.load(GOLDEN / "slide_swin_tiny.expected.npz")["logits"]
    checkpoint = load_checkpoint(tmp_path / "tiny.pth")
    assert checkpoint.architecture == "slide_swin_tiny"
    assert checkpoint.config.image_size == (224, 224)
    result = export(checkpoint, ExportOptions(FORMATS, tmp_path / "out"))
    assert result.passed
    assert result.certificate.error < 1e-12
    assert len(result.certificate.folded) == 4
    for file in result.files:
        assert np.abs(answers(file.paths[0], image)["logits"] - expected).max() < 1e-4, file.format


@pytest.mark.full
@pytest.mark.parametrize("architecture", ARCHITECTURES[1:3], ids=lambda each: each.name)
def test_small_and_base(architecture, tmp_path: Path) -> None:
    model = randomise(SlideSwin(architecture.config))
    path = tmp_path / f"{architecture.name}.pth"
    torch.save({"model": model.state_dict()}, path)
    del model
    checkpoint = load_checkpoint(path)
    assert checkpoint.architecture == architecture.name
    started = time.perf_counter()
    result = export(checkpoint, ExportOptions(FORMATS, tmp_path / "out"))
    assert result.passed
    assert len(result.certificate.folded) == 4
    print(f"{architecture.name}: {time.perf_counter() - started:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak < 5e9
