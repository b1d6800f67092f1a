"""Assets from strangers end in a sentence that names them, and never take the process down."""

import random
from pathlib import Path

import pytest

from slide_deploy.backends.base import Configuration, untimed
from slide_deploy.backends.coreai.targets import TARGETS
from slide_deploy.errors import InputError
from slide_deploy.graph_checks.readers.aimodel import read
from slide_deploy.saved.aimodel import apart, open_asset, program_of
from tests.fuzz.changes import BYTES
from tests.saved.aimodel.assets import (
    operators,
    valid_asset,
    with_bytes,
    with_metadata,
    with_program,
)
from tests.support import copied

pytest.importorskip("coreai")


def refused(path: Path, reason: str) -> None:
    """Reading and opening end in one sentence, the same kind for both."""
    for use in (read, lambda asset: TARGETS[0].open(asset, Configuration(), untimed)):
        with pytest.raises(InputError, match=reason) as caught:
            use(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


def test_a_changed_program_is_detected_by_its_hash(tmp_path: Path) -> None:
    asset = copied(valid_asset(), tmp_path)
    content = bytearray((asset / "main.mlirb").read_bytes())
    content[len(content) // 2] ^= 1
    (asset / "main.mlirb").write_bytes(content)
    refused(asset, "does not match main.hash")


@pytest.mark.parametrize("name", ["main.mlirb", "main.hash", "metadata.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    asset = copied(valid_asset(), tmp_path)
    (asset / name).unlink()
    refused(asset, f"it has no {name}")


def test_a_file_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    asset = copied(valid_asset(), tmp_path / "inside")
    (asset / "main.mlirb").rename(tmp_path / "outside.mlirb")
    (asset / "main.mlirb").symlink_to(tmp_path / "outside.mlirb")
    refused(asset, "leads out of the folder")


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "file.aimodel"
    path.touch()
    refused(path, "is not a folder")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"assetVersion": "x"}', "[" * 100_000])
def test_invalid_metadata_are_refused(tmp_path: Path, text: str) -> None:
    asset = copied(valid_asset(), tmp_path)
    (asset / "metadata.json").write_text(text)
    refused(asset, "metadata.json")


def test_entries_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    asset = with_metadata(tmp_path, lambda held: held["creatorDefinedMetadata"].update(more=[1]))
    assert open_asset(asset).metadata == open_asset(valid_asset()).metadata


def test_a_program_that_ends_apples_parser_is_one_sentence(tmp_path: Path) -> None:
    """The hash is right, and the name of an operator is not."""

    def rename(content: bytearray) -> None:
        at = content.index(b"primitive.conv2d")
        content[at : at + 9] = b"primative"

    refused(with_bytes(tmp_path, rename), "Core AI cannot read its program")


def test_half_a_program_is_refused_before_apples_parser_runs(tmp_path: Path) -> None:
    asset = with_bytes(tmp_path, cut)
    with pytest.raises(InputError, match="a part of its program is longer than the file"):
        read(asset)


def test_a_composite_that_declares_another_epsilon_is_refused(tmp_path: Path) -> None:
    def edit(graph, ir) -> None:
        module = graph.operation.parent.regions[0].blocks[0]
        composite = next(each for each in module.operations if "composite_decl" in each.attributes)
        (held,) = [
            each
            for each in operators(composite, "constant")
            if str(each.results[0].type) == "tensor<f32>"
        ]
        held.attributes["value"] = ir.Attribute.parse("dense<1.0e-3> : tensor<f32>")

    asset = with_program(valid_asset(), tmp_path, edit)
    with pytest.raises(InputError, match="declares the epsilon 1e-05 but uses another"):
        read(asset)


@pytest.mark.slow
def test_damage_under_a_correct_hash_is_refused_or_reported(tmp_path: Path) -> None:
    """Apple's parser ends its process for nearly all of it."""
    outcomes = {"refused": 0, "read": 0}
    for seed in range(16):
        rng = random.Random(f"asset {seed}")

        def change(content: bytearray) -> None:
            content[:] = rng.choice(BYTES)(rng, bytes(content))  # noqa: B023

        asset = with_bytes(tmp_path / str(seed), change)
        try:
            read(asset)
            outcomes["read"] += 1
        except InputError as error:
            assert str(asset) in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 5, outcomes


def test_no_module_of_the_working_directory_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "was-run"
    for name in ("base64", "json", "slide_deploy"):
        text = f"open({str(marker)!r}, 'w').close()\nraise ImportError('hostile')\n"
        (tmp_path / f"{name}.py").write_text(text)
    asset = open_asset(valid_asset())
    monkeypatch.setattr(apart, "_DESCRIPTIONS", {})
    monkeypatch.chdir(tmp_path)
    assert program_of(asset)["outputs"]
    assert not marker.exists()
