"""A new host family takes one file and one line, as docs/extending.md describes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.baselines.registry import baseline_named
from benchmarks.baselines.subject import network
from benchmarks.candidates import Sweep
from benchmarks.suite import members
from slide_deploy.backends import open_file
from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.cli.source import Source
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.hosts import load_checkpoint, registry
from slide_deploy.models.slide_attention import SlideAttention
from slide_deploy.tasks.contests import find_attentions
from slide_deploy.tasks.suite_files import export_for_suite
from tests.support import GOLDEN, random_swin, randomise
from tests.toy_family.family import TOY, Toy, ToyConfig

TABLE = "attn.relative_position_bias_table"
CONFIG = {"DATA": {"IMG_SIZE": 32}, "MODEL": {"TYPE": "toy"}}


@pytest.fixture(autouse=True)
def _one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "HOSTS", (*registry.HOSTS, TOY))


@pytest.fixture
def toy() -> Toy:
    return randomise(Toy(ToyConfig())).eval()


@pytest.fixture
def path(toy: Toy, tmp_path: Path) -> Path:
    path = tmp_path / "toy.pth"
    torch.save({"model": toy.state_dict(), "config": CONFIG}, path)
    return path


def image(size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def outputs(path: Path, x: torch.Tensor) -> dict[str, np.ndarray]:
    return open_file(path)({"image": x.numpy()})


@torch.no_grad()
def test_a_checkpoint_is_loaded(toy: Toy, path: Path) -> None:
    loaded = load_checkpoint(path)
    assert (loaded.host, loaded.config, loaded.entry) == (TOY, ToyConfig(), "model")
    assert (loaded.architecture, loaded.remarks) == ("toy_small", ())
    assert torch.equal(loaded.classifier()(image()), toy(image()))
    larger = load_checkpoint(path, Overrides(image_size=(32, 48)))
    assert larger.config.resolution(1) == (4, 6)
    assert larger.remarks == ("trained on 32x32 images",)
    summary = deployable_checkpoint(loaded).origin.summary
    assert summary == "toy_small: 32x32 pixels, 5 classes, depths 1 1"


@pytest.mark.slow
@torch.no_grad()
def test_logits_and_feature_maps_are_exported_and_verified(
    run, toy: Toy, path: Path, tmp_path: Path
) -> None:
    logits, maps = tmp_path / "logits" / "toy.onnx", tmp_path / "maps" / "toy.xml"
    for file, options in ((logits, ("--to", "onnx")), (maps, ("--to", "openvino", "--features"))):
        code, _, err = run("export", path, "--out", file.parent, *options)
        assert code == 0, err
        manifest = json.loads((file.parent / "manifest.json").read_text())
        assert all(each["passed"] for each in manifest["files"])
        assert "toy_small" in json.dumps(manifest)
        code, printed, err = run("verify", file, "--against", path, "--locate")
        assert (code, "layers: all" in printed) == (0, True), err
    found = outputs(logits, image())
    assert np.allclose(found["logits"], toy(image()).numpy(), atol=1e-5)
    found = outputs(maps, image())
    for name, truth in zip(("stage0", "stage1"), toy.backbone()(image()), strict=True):
        assert np.allclose(found[name], truth.numpy(), atol=1e-5)


@pytest.mark.slow
def test_verify_locates_the_difference_to_another_checkpoint(
    run, toy: Toy, path: Path, tmp_path: Path
) -> None:
    code, _, err = run("export", path, "--to", "onnx", "--out", tmp_path)
    assert code == 0, err
    with torch.no_grad():
        toy.levels[1][0].attn.proj.weight[0] *= 1.5
    torch.save({"model": toy.state_dict(), "config": CONFIG}, path)
    code, out, _ = run("verify", tmp_path / "toy.onnx", "--against", path, "--locate")
    assert (code, "levels.1.0.attn" in out) == (1, True), out


@torch.no_grad()
def test_folded_weights_are_read_back(run, toy: Toy, path: Path, tmp_path: Path) -> None:
    folded = tmp_path / "folded.safetensors"
    code, _, err = run("fold", path, "--output", folded)
    assert code == 0, err
    again = load_checkpoint(folded)
    assert again.config == ToyConfig()
    assert not any(isinstance(each, SlideAttention) for each in again.model.modules())
    assert torch.allclose(again.classifier()(image()), toy(image()), atol=1e-5)
    code, _, err = run("export", folded, "--to", "onnx", "--out", tmp_path)
    assert code == 0, err


@torch.no_grad()
def test_a_backbone_outputs_feature_maps_only(toy: Toy, path: Path) -> None:
    weights = {name: each for name, each in toy.state_dict().items() if "head" not in name}
    torch.save({"model": weights, "config": CONFIG}, path)
    loaded = load_checkpoint(path)
    assert isinstance(loaded.model, Toy)
    assert loaded.left_out == ("norm.weight", "norm.bias")
    assert deployable_checkpoint(loaded, features=None).outputs == ("stage0", "stage1")
    with pytest.raises(InputError, match="a backbone without a classifier"):
        loaded.classifier()


def test_models_lists_it(run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert "toy_small" in out
    assert "3,955" in out
    assert sum(each.numel() for each in Toy(ToyConfig()).parameters()) == 3_955


def test_tune_finds_its_attentions(path: Path) -> None:
    found = [
        (each.channels, each.height, each.width)
        for each in find_attentions(Source(path).load(), ())
    ]
    assert found == [(8, 8, 8), (16, 4, 4)]


@pytest.mark.slow
def test_a_suite_makes_its_files_and_baselines(tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'name = "a"\ntargets = ["onnxruntime:cpu"]\nimage_sizes = ["32"]\n'
        '[[candidate]]\nname = "ours"\narchitecture = "toy_small"\n'
        '[[candidate]]\nname = "unfold"\nbaseline = "unfold"\narchitecture = "toy_small"\n'
    )
    found = members(suite, tmp_path / "work", Sweep(), export_for_suite)
    ours, baseline = (outputs(Path(each.candidate.path), image()) for each in found)
    assert np.abs(next(iter(baseline.values()))).max() > 0
    assert ours["logits"].shape == (1, 5)
    with pytest.raises(InputError, match="no Toy without slide attention"):
        baseline_named("swin")(network("toy_small", (32, 32)))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda state: state.pop("levels.1.0.attn.proj.bias"), "not a complete Toy checkpoint"),
        (lambda state: state.update({"levels.0.0.attn.more": torch.ones(2)}), "a Toy of these"),
        (lambda state: state.pop("stem.weight"), r"is not a Slide-Swin, .* or a Toy: it has"),
        (lambda state: state.update({"head.bias": torch.full((5,), torch.nan)}), "holds NaN"),
        (lambda state: state.pop(f"levels.1.0.{TABLE}"), "lacks some of a Toy"),
        (
            lambda state: [state.pop(name) for name in list(state) if ".dep_conv." in name],
            "no shift branch",
        ),
    ],
)
def test_invalid_files_are_refused(toy: Toy, path: Path, edit, sentence: str) -> None:
    state = toy.state_dict()
    edit(state)
    torch.save({"model": state, "config": CONFIG}, path)
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (Overrides(image_size=(30, 32)), "multiples of 8"),
        (Overrides(window_size=7), "leave out --window-size"),
        (Overrides(keep_windows=True), "leave out --keep-windows"),
        (Overrides(resize_position_tables=True), "leave out --resize-position-tables"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    path: Path, overrides: Overrides, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(path, overrides)


def test_an_entry_chooses_between_families_in_one_file(toy: Toy, tmp_path: Path) -> None:
    swin = random_swin().state_dict()
    both = tmp_path / "both.pth"
    torch.save({"student": swin, "teacher": toy.state_dict()}, both)
    with pytest.raises(InputError, match=r"a Slide-Swin \(student\) and a Toy \(teacher\)"):
        load_checkpoint(both)

    def named(entry: str) -> str:
        return load_checkpoint(both, Overrides(image_size=(32, 32), entry=entry)).host.name

    assert (named("student"), named("teacher")) == ("slide_swin", "toy")
    with pytest.raises(InputError, match=r"a Slide-Swin .* and a Toy .* choose one"):
        named("nobody")


def test_the_family_that_matches_most_tensors_is_chosen(toy: Toy, path: Path) -> None:
    """Another family's first layer at the same place does not make a network of it."""
    state = toy.state_dict() | {"patch_embed.proj.weight": torch.zeros(8, 3, 4, 4)}
    torch.save(state, path)
    with pytest.raises(InputError, match="a Toy of these settings does not have"):
        load_checkpoint(path)
    overrides = Overrides(image_size=(32, 32), leave_out=("patch_embed",))
    assert load_checkpoint(path, overrides).host is TOY


def test_two_families_that_match_the_same_tensors_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "HOSTS", (TOY, TOY))
    with pytest.raises(InputError, match=r"a Toy .* and a Toy .*: name the function"):
        load_checkpoint(path)


def test_the_golden_networks_are_still_found() -> None:
    assert load_checkpoint(GOLDEN / "slide_swin_nano.pth").host.name == "slide_swin"
