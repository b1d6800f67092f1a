"""No wrong or half-written file is ever left under its final name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters import jobs, pipeline
from exporters.base import Exporter
from exporters.outcome import ExportOptions
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import ONNX
from slide_deploy.hosts import Checkpoint
from slide_deploy.lowerings import Chooser, Lowering, lower
from tests.support import Golden, answers, export, random_swin


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small(nano: Golden) -> Checkpoint:
    """A golden checkpoint with the smallest network, because only the files matter."""
    model = random_swin(
        image_size=(16, 16), embed_dim=4, depths=(1,), num_heads=(1,), num_slide_stages=1
    )
    return replace(nano.load(), model=model, config=model.config)


@pytest.fixture
def damaged_lowering(monkeypatch: pytest.MonkeyPatch):
    """Make the pipeline write a model with one error."""

    def damage(edit) -> None:
        def lower_and_damage(*arguments, **options):
            model = lower(*arguments, **options)
            edit(model)
            return model

        monkeypatch.setattr(jobs, "lower", lower_and_damage)

    return damage


def scale_head(model) -> None:
    model.head.weight.data.mul_(1.001)
    model.head.bias.data.mul_(1.001)


def wrong_border(model) -> None:
    model.layers[0].blocks[0].attn.form.value_conv.padding_mode = "replicate"
    model.layers[0].blocks[0].attn.form.value_conv._reversed_padding_repeated_twice = [1, 1, 1, 1]


def nan_weight(model) -> None:
    model.norm.bias.data[0] = float("nan")


def epsilon(model) -> None:
    model.patch_embed.norm.eps = 1e-6


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(wrong_border, marks=pytest.mark.slow),
        pytest.param(nan_weight, marks=pytest.mark.slow),
        epsilon,
    ],
)
def test_a_file_that_disagrees_is_removed(
    nano: Golden, tmp_path: Path, damaged_lowering, edit
) -> None:
    damaged_lowering(edit)
    result = export(nano.load(), ExportOptions(("onnx", "openvino"), tmp_path))
    assert not result.passed
    assert all(not file.paths for file in result.files)
    assert entries(tmp_path) == ["manifest.json"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [file["passed"] for file in manifest["files"]] == [False, False]


def test_a_file_that_disagrees_is_kept_on_request(
    small: Checkpoint, tmp_path: Path, damaged_lowering
) -> None:
    damaged_lowering(scale_head)
    options = ExportOptions(("onnx",), tmp_path, keep_failed=True)
    assert not export(small, options).passed
    beside = "slide_swin_nano.onnx.reference.safetensors"
    assert entries(tmp_path) == ["manifest.json", "slide_swin_nano.onnx", beside]


def test_existing_files_are_refused_without_force(small: Checkpoint, tmp_path: Path) -> None:
    target = tmp_path / "slide_swin_nano.xml"
    target.write_text("precious")
    with pytest.raises(InputError, match=r"slide_swin_nano.xml exists: give --force"):
        export(small, ExportOptions(("openvino",), tmp_path))
    assert target.read_text() == "precious"
    assert entries(tmp_path) == ["slide_swin_nano.xml"]


def test_force_replaces_files_and_packages(small: Checkpoint, tmp_path: Path) -> None:
    options = ExportOptions(("onnx", "coreml"), tmp_path, force=True)
    (tmp_path / "slide_swin_nano.mlpackage").mkdir()
    (tmp_path / "slide_swin_nano.mlpackage" / "stale").touch()
    (tmp_path / "slide_swin_nano.onnx").write_text("stale")
    assert export(small, options).passed
    assert not (tmp_path / "slide_swin_nano.mlpackage" / "stale").exists()
    assert (tmp_path / "slide_swin_nano.onnx").read_bytes() != b"stale"


def test_a_failed_file_removes_that_of_an_earlier_export(
    small: Checkpoint, tmp_path: Path, damaged_lowering
) -> None:
    options = ExportOptions(("openvino",), tmp_path, force=True)
    assert export(small, options).passed
    damaged_lowering(scale_head)
    assert not export(small, options).passed
    assert entries(tmp_path) == ["manifest.json"]


@pytest.mark.slow
def test_formats_can_be_added_later_and_the_manifest_keeps_all(
    small: Checkpoint, tmp_path: Path
) -> None:
    export(small, ExportOptions(("openvino",), tmp_path))
    export(small, ExportOptions(("onnx",), tmp_path), dynamic_batch=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    found = [(file["format"], file["inputs"]["image"][0]) for file in manifest["files"]]
    assert found == [("openvino", 1), ("onnx", "batch")]
    other = replace(small, sha256="0" * 64, path=tmp_path / "other.pth")
    with pytest.raises(InputError, match="belongs to another export"):
        export(other, ExportOptions(("onnx",), tmp_path))


def test_a_converter_that_fails_leaves_the_other_formats_unwritten(
    small: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exporters import coreml_exporter

    def write(request, path):
        path.mkdir()
        raise RuntimeError("no such operator")

    monkeypatch.setattr(coreml_exporter, "write", write)
    with pytest.raises(InputError, match="could not be written as coreml"):
        export(small, ExportOptions(("onnx", "coreml"), tmp_path / "new"))
    assert entries(tmp_path) == []


def test_a_converter_that_fails_leaves_nothing(
    small: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exporters import onnx_exporter

    def write(request, path):
        path.write_text("half a file")
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(onnx_exporter, "write", write)
    with pytest.raises(InputError, match=r"could not be written as onnx: .*\(no such operator\)"):
        export(small, ExportOptions(("onnx",), tmp_path / "new" / "with" / "parents"))
    assert entries(tmp_path) == []


def test_the_message_of_a_converter_is_quoted(
    small: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exporters import openvino_exporter

    def write(request, path):
        import openvino

        class Unknown(torch.nn.Module):
            def forward(self, image):
                return torch.linalg.eigvals(image).real

        openvino.convert_model(torch.export.export(Unknown(), (torch.zeros(1, 3, 3),)))

    monkeypatch.setattr(openvino_exporter, "write", write)
    with pytest.raises(InputError, match=r"as openvino: .*\(.*operation view_as_real.*\)"):
        export(small, ExportOptions(("openvino",), tmp_path / "new"))
    assert entries(tmp_path) == []


def test_folders_that_another_process_uses_are_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pipeline.working_folder(tmp_path / "there" / "new" / "out"):
        (tmp_path / "there" / "new" / "notes.txt").touch()
    assert entries(tmp_path / "there") == ["new"]
    assert entries(tmp_path / "there" / "new") == ["notes.txt"]


def test_an_output_that_cannot_be_made_leaves_no_parents(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="cannot be written to"),
        pipeline.working_folder(tmp_path / "new" / ("x" * 300)),
    ):
        pass
    assert entries(tmp_path) == []


def test_unwritable_output(small: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        export(small, ExportOptions(("onnx",), tmp_path / "file" / "out"))
    with pytest.raises(InputError, match="cannot be written to"):
        export(small, ExportOptions(("onnx",), tmp_path / "file"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formats", "other", "traces"),
    [
        (("openvino", "coreml"), "", 1),
        pytest.param(("onnx", "openvino", "coreml"), "coreml", 2, marks=pytest.mark.slow),
    ],
)
def test_formats_with_equal_lowerings_share_a_trace(
    formats: tuple[str, ...],
    other: str,
    traces: int,
    nano: Golden,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lowered, asked = [], []

    def counting(*arguments, **options):
        lowered.append(lower(*arguments, **options))
        return lowered[-1]

    def choose(format: str, precision: str) -> Chooser:
        asked.append((format, precision))
        strips = 2 if format == other else 1
        return lambda attention: Lowering("depthwise", strips * attention.config.num_heads)

    monkeypatch.setattr(jobs, "lower", counting)
    model = random_swin(embed_dim=4, depths=(1, 1), num_heads=(1, 2))
    checkpoint = replace(nano.load(), model=model, config=model.config)
    result = export(checkpoint, ExportOptions(formats, tmp_path, lowering=choose))
    assert result.passed
    assert asked == [(format, "float32") for format in formats]
    assert len(lowered) == traces
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    found = {file["format"]: list(file["lowerings"].values()) for file in manifest["files"]}
    alike, another = ["depthwise", "depthwise/2"], ["depthwise/2", "depthwise/4"]
    assert found == {format: another if format == other else alike for format in formats}
    assert list(manifest["files"][0]["lowerings"]) == [
        "layers.0.blocks.0.attn",
        "layers.1.blocks.0.attn",
    ]


def test_a_feature_map_with_fewer_rows_than_strips_is_refused_by_name(
    nano: Golden, tmp_path: Path
) -> None:
    options = ExportOptions(("onnx",), tmp_path / "out", lowering=Lowering("depthwise", 9))
    with pytest.raises(
        InputError, match=r"^layers.1.blocks.0.attn as depthwise/9: A feature map of 8 rows"
    ):
        export(nano.load(), options)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named_with_its_command(nano: Golden, tmp_path: Path) -> None:
    exporter = Exporter(replace(ONNX, packages=("a_library_that_is_not_here",)))
    with pytest.raises(MissingExtra, match=r"pip install 'slide-deploy\[onnx\]'"):
        exporter.require()
    with pytest.raises(InputError, match="tflite is not a format: choose one of onnx"):
        export(nano.load(), ExportOptions(("tflite",), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folded_checkpoint_exports_with_the_same_outputs(nano: Golden, tmp_path: Path) -> None:
    from slide_deploy.folding.model import reparameterize
    from slide_deploy.hosts import load_checkpoint
    from tests.support import save_folded

    trained = nano.load()
    folded, _ = reparameterize(trained.model)
    save_folded(folded, trained, tmp_path / "folded.safetensors")
    again = load_checkpoint(tmp_path / "folded.safetensors")
    assert again.config == trained.config
    result = export(again, ExportOptions(("onnx",), tmp_path))
    assert result.certificate.status == "already folded"
    assert result.passed
    out = next(iter(answers(tmp_path / "folded.onnx", nano.expected["image"].numpy()).values()))
    assert np.abs(out - nano.expected["logits"].numpy()).max() < 1e-4


@pytest.mark.slow
def test_a_model_without_slide_attention_exports(tmp_path: Path, nano: Golden) -> None:
    model = random_swin(num_slide_stages=0, window_size=4, depths=(2, 2, 2))
    checkpoint = replace(nano.load(), model=model, config=model.config)
    result = export(checkpoint, ExportOptions(("onnx", "openvino"), tmp_path))
    assert result.certificate.status == "nothing to fold"
    assert result.passed
