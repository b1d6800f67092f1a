"""Calibration sets: folders with damaged images, and arrays that do or do not fit."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import slide_deploy
from exporters.outcome import ExportOptions
from exporters.quantisation.calibration import read_calibration
from exporters.quantisation.examples import Calibration
from slide_deploy import InputError
from slide_deploy.api.networks import network_of
from slide_deploy.images.description import Preprocessing
from tests.exporters.quantisation.colours import SIDE, archive, colours, image, pictures

ONNX_SOON = pytest.mark.parametrize(
    "format", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)]
)


def options(**others) -> ExportOptions:
    return ExportOptions(("onnx",), Path("out"), precision="int8", **others)


def read(source: Path, batch: int = 1, seed: int = 0, **others) -> Calibration:
    network = network_of(colours(), image(batch))
    return read_calibration(source, network, options(**others), seed)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A folder with images in subfolders, a text, a file that is not an image, a truncated one."""
    folder = tmp_path / "messy"
    shutil.copytree(pictures(20), folder)
    (folder / "0" / "notes.txt").write_text("not a picture")
    (folder / "0" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    whole = next(folder.glob("1/*.png")).read_bytes()
    (folder / "1" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_damaged_images_are_left_out_counted_and_named(messy: Path, tmp_path: Path) -> None:
    found = read(messy)
    assert [name for name, _ in found.damaged] == ["0/damaged.png", "1/cut.png"]
    assert (found.skipped, len(found.measured) + len(found.held_back)) == (1, 20)
    result = slide_deploy.export(
        colours(), image(), to="onnx", precision="int8", calibration=messy, out=tmp_path / "out"
    )
    assert result.passed, result.problems
    (remark,) = (each for each in result.remarks if "left out" in each)
    assert remark.startswith("2 images were left out of the calibration set")
    assert "0/damaged.png and 1 other" in remark
    (entry,) = json.loads(result.manifest.read_text())["files"]
    assert set(entry["calibration"]["damaged"]) == {"0/damaged.png", "1/cut.png"}
    assert entry["calibration"]["skipped"] == 1
    assert entry["calibration"]["measured"] == 15


def test_damaged_images_are_replaced_by_others(
    messy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.quantisation.calibration.MEASURED", 12)
    monkeypatch.setattr("exporters.quantisation.calibration.HELD_BACK", 3)
    for path in sorted(messy.glob("2/*.png"))[:2]:
        path.write_bytes(b"nothing")
    found = read(messy)
    assert len(found.measured) + len(found.held_back) == 15


def test_a_set_of_damaged_images_is_refused(tmp_path: Path) -> None:
    for place in range(5):
        (tmp_path / f"{place}.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="has 5 images and none can be read; the first error"):
        read(tmp_path)


def test_the_sample_depends_only_on_the_set_and_the_seed() -> None:
    one, same, other = read(pictures(200)), read(pictures(200)), read(pictures(200), seed=1)
    assert one.sha256 == same.sha256 != other.sha256
    assert np.array_equal(one.measured[3]["image"], same.measured[3]["image"])
    assert set(one.pictures) != set(other.pictures)
    assert (len(one.measured), len(one.held_back)) == (128, 16)


def test_a_changed_image_changes_the_hash_of_the_set(messy: Path) -> None:
    before = read(messy).sha256
    Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(next(messy.glob("2/*.png")))
    assert read(messy).sha256 != before


def test_no_image_is_both_measured_and_held_back() -> None:
    found = read(pictures())
    measured = {each["image"].tobytes() for each in found.measured}
    assert len(measured) == len(found.measured) == 45
    assert not measured & {each["image"].tobytes() for each in found.held_back}


@ONNX_SOON
def test_a_batch_of_two_uses_two_images_for_each_example(tmp_path: Path, format: str) -> None:
    found = read(pictures(), batch=2)
    assert found.measured[0]["image"].shape == (2, 3, SIDE, SIDE)
    assert len(found.measured) + len(found.held_back) == 30
    result = slide_deploy.export(
        colours(), image(2), to=format, precision="int8", calibration=pictures(), out=tmp_path
    )
    assert result.passed, result.problems


@ONNX_SOON
def test_embedded_preprocessing_takes_pixels(tmp_path: Path, format: str) -> None:
    found = read(pictures(), preprocessing=Preprocessing(embedded=True))
    assert found.measured[0]["image"].dtype == np.uint8
    result = slide_deploy.export(
        colours(),
        image(),
        to=format,
        precision="int8",
        calibration=pictures(),
        embed_preprocessing=True,
        input_layout="nhwc",
        max_drop=0.5,
        out=tmp_path,
    )
    assert result.passed, result.problems
    assert all(file.price is not None and file.price.drop <= 0.5 for file in result.files)


def test_a_set_of_equal_images_is_refused(tmp_path: Path) -> None:
    for place in range(8):
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / f"{place}.png")
    with pytest.raises(InputError, match="has only equal examples"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": np.zeros((8, 3, SIDE, SIDE), np.float32)}, "has picture and Colours takes"),
        ({}, "has no arrays and Colours takes image"),
        ({"image": np.zeros((8, 1, SIDE, SIDE), np.float32)}, "give float32 of Nx3x16x16"),
        ({"image": np.zeros((8, 3, SIDE, SIDE), np.complex64)}, "has image of complex64"),
        ({"image": np.full((8, 3, SIDE, SIDE), np.nan, np.float32)}, "in image that are not"),
        ({"image": np.zeros((3, 3, SIDE, SIDE), np.float32)}, "has 3 examples: give at least 4"),
        ({"image": np.zeros((8, 3, SIDE, SIDE), np.float32)}, "only equal examples"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays, message: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="is not a NumPy archive"):
        read(path)


class TwoInputs(nn.Module):
    """Tokens and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(64, 64)
        self.project = nn.Linear(64, 64)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        found = self.project(self.embed(tokens).relu()) * mask[..., None]
        return {"maps": found, "mean": found.mean(1)}


@ONNX_SOON
def test_several_inputs_and_outputs(tmp_path: Path, format: str) -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    examples = {"tokens": torch.randn(1, 7, 64), "mask": torch.ones(1, 7)}
    with pytest.raises(InputError, match=r"takes tokens, mask: give a \.npz file with an array"):
        slide_deploy.export(
            TwoInputs(), examples, to=format, precision="int8", calibration=pictures(), out=tmp_path
        )
    arrays = {
        "tokens": random.standard_normal((12, 7, 64)).astype(np.float32),
        "mask": (random.random((12, 7)) < 0.8).astype(np.float32),
    }
    np.savez(tmp_path / "set.npz", **arrays)
    result = slide_deploy.export(
        TwoInputs(),
        examples,
        to=format,
        precision="int8",
        calibration=tmp_path / "set.npz",
        out=tmp_path / "out",
    )
    assert result.passed, result.problems
    assert result.file(format).verification.outputs == ("maps", "mean")
    np.savez(tmp_path / "uneven.npz", **(arrays | {"mask": arrays["mask"][:9]}))
    with pytest.raises(InputError, match="has arrays of different lengths"):
        slide_deploy.export(
            TwoInputs(),
            examples,
            to=format,
            precision="int8",
            calibration=tmp_path / "uneven.npz",
            out=tmp_path / "out2",
        )


def test_all_examples_of_an_archive_are_used(tmp_path: Path) -> None:
    found = read(archive(tmp_path / "few.npz", 24))
    assert (len(found.measured), len(found.held_back), found.pictures) == (18, 6, ())


@pytest.mark.parametrize(
    ("precision", "given", "message"),
    [
        ("int8", False, "int8 needs examples to measure ranges of values: give"),
        ("float32", True, "float32 does not use examples: leave out"),
        ("int8-weights", True, "int8-weights does not use examples: leave out"),
    ],
)
def test_examples_are_required_or_refused_by_precision(
    precision: str, given: bool, message: str, tmp_path: Path
) -> None:
    calibration = pictures() if given else None
    with pytest.raises(InputError, match=message):
        slide_deploy.export(
            colours(),
            image(),
            to="onnx",
            precision=precision,
            calibration=calibration,
            out=tmp_path,
        )
    assert not any(tmp_path.iterdir())


def test_any_damage_of_an_archive_is_reported_in_one_sentence(tmp_path: Path) -> None:
    def refused(path: Path) -> None:
        with pytest.raises(InputError, match="is not a NumPy archive"):
            read(path)

    plain = tmp_path / "plain.npy"
    np.save(plain, np.zeros((8, 3, SIDE, SIDE), np.float32))
    refused(plain.rename(tmp_path / "renamed.npz"))
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as file:
        file.writestr("image", b"no array")
    refused(tmp_path / "bytes.npz")
    path = tmp_path / "set.npz"
    np.savez_compressed(path, image=np.random.default_rng(0).normal(size=(8, 3, SIDE, SIDE)))
    whole = bytearray(path.read_bytes())
    entry = whole.index(b"PK\x01\x02")
    # Damage to the content, then to the archive's headers: encryption, and unknown compression.
    for change in (dict.fromkeys(range(60, 90), 0xFF), {entry + 8: 1}, {entry + 10: 99}):
        damaged = bytearray(whole)
        for offset, value in change.items():
            damaged[offset] = value
        path.write_bytes(damaged)
        refused(path)


@pytest.mark.parametrize(
    "array", [np.ones((8, 3, SIDE, SIDE), np.int64), np.full((8, 3, SIDE, SIDE), 1e300)]
)
def test_values_that_a_cast_changes_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.savez(tmp_path / "set.npz", image=array)
    with pytest.raises(InputError, match="give float32 of Nx3"):
        read(tmp_path / "set.npz")


def test_float64_is_rounded(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", image=np.random.default_rng(0).normal(size=(8, 3, SIDE, SIDE)))
    assert read(tmp_path / "set.npz").measured[0]["image"].dtype == np.float32


def test_file_names_that_are_not_unicode_are_read_and_reported(messy: Path) -> None:
    folder = os.fsencode(messy / "2")
    whole = next(messy.glob("2/*.png")).read_bytes()
    Path(os.fsdecode(folder + b"/\xff.png")).write_bytes(whole)
    Path(os.fsdecode(folder + b"/\xfe.png")).write_bytes(b"nothing")
    found = read(messy)
    assert "2/?.png" in dict(found.damaged)
    json.dumps(found.summary(), ensure_ascii=False).encode()
