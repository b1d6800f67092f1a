"""Core AI is written where it is named, and for every family."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from exporters.base import exporter_for
from slide_deploy.errors import InputError
from slide_deploy.formats import format_named
from slide_deploy.tasks.options import parse_formats
from tests.saved.aimodel.assets import valid_asset
from tests.support import GOLDEN, SWINS, golden_swin, image_request

pytest.importorskip("coreai_torch")
HOSTS = sorted((GOLDEN / "hosts").glob("*.pth"))


def test_all_leaves_a_preview_out_and_its_name_does_not() -> None:
    assert format_named("coreai").is_preview
    assert "coreai" not in parse_formats(["all"])
    assert parse_formats(["all,coreai"])[-1] == "coreai"


def test_doctor_calls_it_a_preview(run) -> None:
    code, out, err = run("doctor")
    assert code == 0, err
    (line,) = (line for line in out.splitlines() if "coreai-core" in line)
    assert "a preview" in line


class Spectrum(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft2(image).abs()


def test_an_operator_without_a_translation_is_named_with_its_layer(tmp_path: Path) -> None:
    request = image_request(nn.Sequential(nn.Identity(), Spectrum()), (3, 8, 8))
    with pytest.raises(InputError, match=r"\b1 .*computes _fft_c2c, which Core AI"):
        exporter_for("coreai").write(request, tmp_path / "model.aimodel")
    assert list(tmp_path.iterdir()) == []


def exported(run, checkpoint: Path, out: Path) -> dict:
    code, _, err = run("export", checkpoint, "--to", "coreai", "--out", out)
    assert code == 0, err
    (entry,) = json.loads((out / "manifest.json").read_text())["files"]
    return entry


def test_a_golden_checkpoint_is_proved_by_its_runtime(run, tmp_path: Path) -> None:
    """Against float64, within 1e-4, with no rule broken."""
    entry = exported(run, golden_swin("slide_swin_nano").path, tmp_path)
    assert entry["verification"]["runtime"] == "coreai"
    assert (entry["passed"], entry["violations"]) == (True, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SWINS[1::2], *(path.stem for path in HOSTS[::2])])
def test_every_family_is_proved_by_its_runtime(run, tmp_path: Path, name: str) -> None:
    path = next((path for path in HOSTS if path.stem == name), None)
    entry = exported(run, path or golden_swin(name).path, tmp_path)
    assert (entry["passed"], entry["violations"]) == (True, [])


@pytest.mark.slow
def test_it_locates_where_a_network_differs(run, tmp_path: Path) -> None:
    nano = golden_swin("slide_swin_nano").path
    exported(run, nano, tmp_path)
    asset = tmp_path / "slide_swin_nano.aimodel"
    code, out, err = run("verify", asset, "--against", nano, "--locate")
    assert (code, "layers: all" in out) == (0, True), err


def test_bench_reports_that_it_is_proved_and_not_timed(run) -> None:
    code, _, err = run("bench", valid_asset())
    assert (code, "can be verified here but not timed" in err) == (2, True), err
