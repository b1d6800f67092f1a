"""Files for image sizes that differ from training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from exporters.outcome import ExportOptions
from slide_deploy.backends import open_file
from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from slide_deploy.testing import assert_parity
from tests.support import GOLDEN, answers, export, random_swin, verify_file

FORMATS = ("onnx", "openvino", "coreml")
NANO = GOLDEN / "slide_swin_nano.pth"
SHIFTED = GOLDEN / "slide_swin_nano_shifted.pth"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "size", "options", "dynamic_batch", "formats"),
    [
        pytest.param(SHIFTED, (256, 128), {}, True, FORMATS, marks=pytest.mark.full),
        pytest.param(
            NANO, (128, 192), {"keep_windows": True}, False, FORMATS, marks=pytest.mark.full
        ),
        # Tables are interpolated before the format matters.
        (NANO, (96, 96), {"resize_position_tables": True}, False, ("onnx",)),
    ],
    ids=["windows-stay", "windows-kept", "tables-interpolated"],
)
def test_every_format_agrees_with_the_model_of_that_size(
    path: Path,
    size: tuple[int, int],
    options: dict[str, Any],
    dynamic_batch: bool,
    formats: tuple[str, ...],
    tmp_path: Path,
) -> None:
    overrides = Overrides(image_size=size, **options)
    checkpoint = load_checkpoint(path, overrides)
    result = export(checkpoint, ExportOptions(formats, tmp_path), dynamic_batch=dynamic_batch)
    assert result.passed
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = checkpoint.model(images).numpy()
    for file in result.files:
        assert file.violations == ()
        assert open_file(file.paths[0]).inputs[0].shape[2:] == size
        assert np.abs(answers(file.paths[0], images.numpy())["logits"] - expected).max() < 1e-4
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["source"]["trained_image_size"] != list(size)
    for entry in manifest["files"]:
        batch = "batch" if dynamic_batch else 1
        assert entry["inputs"] == {"image": [batch, 3, *size]}
        assert entry["metadata"]["resized_position_tables"].split() == list(checkpoint.resized)
    properties = onnx.load(tmp_path / f"{path.stem}.onnx").metadata_props
    metadata = {entry.key: entry.value for entry in properties}
    assert metadata["slide_deploy.image_size"] == f"{size[0]}x{size[1]}"
    assert metadata["slide_deploy.resized_position_tables"].split() == list(checkpoint.resized)
    assert_parity(tmp_path / f"{path.stem}.onnx", path, overrides=overrides)


@pytest.mark.parametrize("formats", [("onnx",), pytest.param(FORMATS, marks=pytest.mark.slow)])
def test_slide_stages_alone_take_any_size(formats: tuple[str, ...], tmp_path: Path) -> None:
    model = random_swin(num_slide_stages=3)
    content = {"model": model.state_dict(), "config": {"DATA": {"IMG_SIZE": 32}}}
    torch.save(content, tmp_path / "slides.pth")
    checkpoint = load_checkpoint(tmp_path / "slides.pth", Overrides(image_size=(48, 80)))
    assert checkpoint.resized == ()
    assert export(checkpoint, ExportOptions(formats, tmp_path / "out")).passed


@pytest.mark.slow
def test_features_of_another_size(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(NANO, Overrides(image_size=(128, 64), keep_windows=True))
    result = export(checkpoint, ExportOptions(("onnx",), tmp_path), features=True)
    assert result.passed
    maps = answers(result.files[0].paths[0], np.zeros((1, 3, 128, 64), np.float32))
    assert [value.shape[2:] for value in maps.values()] == [(32, 16), (16, 8), (8, 4), (4, 2)]


@pytest.mark.slow
def test_files_with_kept_and_interpolated_tables_are_told_apart(tmp_path: Path) -> None:
    kept, interpolated = (
        load_checkpoint(NANO, Overrides(image_size=(128, 128), **{option: True}))
        for option in ("keep_windows", "resize_position_tables")
    )
    path = export(kept, ExportOptions(("onnx",), tmp_path)).files[0].paths[0]
    assert verify_file(path, kept).passed
    assert not verify_file(path, interpolated).passed
    with pytest.raises(InputError, match=r"3x128x128 .* give the sizes of the export"):
        verify_file(path, load_checkpoint(NANO))
