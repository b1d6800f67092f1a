"""Models of every family and their files reproduce the outputs of the original networks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import load_checkpoint
from slide_deploy.hosts.registry import known_hosts
from slide_deploy.models.slide_attention import SlideAttention
from tests.families.golden import NAMES, family_golden, first_names, goldens
from tests.support import FORMATS, answers, exported, locate, save_folded


@goldens()
def test_settings_are_read_from_the_file(name: str) -> None:
    golden = family_golden(name)
    loaded = golden.load()
    assert loaded.host.name == golden.family
    for setting, value in golden.settings.items():
        assert getattr(loaded.config, setting) == value, setting
    assert not any("configuration" in each for each in loaded.remarks)


@goldens()
@torch.no_grad()
def test_outputs_equal_the_known_ones(name: str) -> None:
    """In float64. The stored outputs and the attention's stored input are rounded to float32."""
    golden = family_golden(name)
    model, expected = golden.load().model.double(), golden.expected
    image = expected["image"].double()
    stages = model.stages(image)
    found = {f"stage{stage}": tokens for stage, tokens in enumerate(stages)}
    found["logits"] = model(image)
    slide = next(each for each in model.modules() if isinstance(each, SlideAttention))
    found["attn_out"] = slide(expected["attn_in"].double())
    for key, value in found.items():
        largest = max(1.0, expected[key].abs().max().item())
        assert (value - expected[key]).abs().max() <= 1e-6 * largest, key


@goldens()
@torch.no_grad()
def test_the_backbone_outputs_the_feature_maps_of_the_stages(name: str) -> None:
    golden = family_golden(name)
    model = golden.load().model.double()
    maps = model.backbone()(golden.expected["image"].double())
    for stage, (found, dim) in enumerate(zip(maps, map(model.config.dim, range(4)), strict=True)):
        assert found.shape == (2, dim, *model.config.resolution(stage))


def file_cases() -> list[object]:
    """Pair networks and formats.

    Quick tests have the first network of every other family in one format, slow tests that of each
    family, and full tests have the rest.
    """
    cases = []
    firsts = first_names()
    for name in NAMES:
        for place, format in enumerate(FORMATS):
            if name not in firsts:
                marks = [pytest.mark.full]
            else:
                turn = (place - firsts.index(name)) % len(FORMATS)
                first = [pytest.mark.slow] if firsts.index(name) % 2 else []
                marks = (first, [pytest.mark.slow], [pytest.mark.full])[turn]
            cases.append(pytest.param(name, format, marks=marks))
    return cases


@pytest.mark.slow_but_first
@pytest.mark.parametrize(("name", "format"), file_cases())
def test_files_reproduce_the_known_logits(name: str, format: str) -> None:
    golden = family_golden(name)
    checkpoint = golden.load()
    (file,) = exported(checkpoint, formats=(format,)).files
    image, logits = golden.expected["image"].numpy(), golden.expected["logits"].numpy()
    assert file.violations == ()
    assert np.abs(answers(file.paths[0], image)["logits"] - logits).max() < 1e-4
    assert locate(file.paths[0], checkpoint).first_wrong is None


@goldens(others=pytest.mark.full)
@pytest.mark.full
def test_files_of_feature_maps_have_an_open_batch(name: str) -> None:
    golden = family_golden(name)
    checkpoint = golden.load()
    result = exported(checkpoint, features=True, dynamic_batch=True)
    image = golden.expected["image"].numpy()
    with torch.no_grad():
        maps = checkpoint.model.backbone()(golden.expected["image"])
    for file in result.files:
        assert file.violations == ()
        for found, expected in zip(answers(file.paths[0], image).values(), maps, strict=True):
            assert np.abs(found - expected.numpy()).max() < 1e-4, file.format


@goldens()
def test_folded_weights_are_read_back(name: str, tmp_path: Path) -> None:
    golden = family_golden(name)
    trained = golden.load()
    folded = tmp_path / "folded.safetensors"
    save_folded(reparameterize(trained.model)[0], trained, folded)
    again = load_checkpoint(folded)
    assert again.config == trained.config
    image = golden.expected["image"]
    with torch.no_grad():
        assert torch.allclose(again.model(image), trained.model(image), atol=1e-4)
    with pytest.raises(InputError, match="leave out --heads"):
        load_checkpoint(folded, Overrides(heads=(1,)))


def test_published_sizes_have_the_recorded_number_of_parameters() -> None:
    for host in known_hosts():
        for each in host.published:
            with torch.device("meta"):
                model = host.build(each.config, False, False)
            assert sum(p.numel() for p in model.parameters()) == each.parameters, each.name
            assert host.architecture(each.config) == each.name
