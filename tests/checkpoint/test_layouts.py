"""Every layout that training writes loads, with the settings that it was trained with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from slide_deploy.models.slide_swin import SlideSwinConfig
from tests.support import GOLDEN, Golden, random_swin, read_checkpoint


def test_inferred_settings_are_those_of_training(golden: Golden) -> None:
    settings = dict(golden.settings)
    assert settings.pop("arch") == "slide_swin"
    size = settings.pop("img_size")
    trained = SlideSwinConfig(
        image_size=(size, size),
        kernel_size=settings.pop("ka", 3),
        **{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()},
    )
    found = golden.load().config
    # Where every window is the whole map any larger window size is the same network.
    stages = range(found.num_slide_stages, len(found.depths))
    assert [found.window(s) for s in stages] == [trained.window(s) for s in stages]
    assert replace(found, window_size=56) == replace(trained, window_size=56)


def test_window_size_comes_from_the_configuration_where_there_is_one() -> None:
    assert load_checkpoint(GOLDEN / "slide_swin_nano_shifted.pth").config.window_size == 4


def test_averaged_weights_are_preferred_and_selectable() -> None:
    path = GOLDEN / "slide_swin_nano_ema.pth"
    assert load_checkpoint(path).entry == "state_dict_ema"
    assert load_checkpoint(path, Overrides(weights="averaged")).entry == "state_dict_ema"
    raw = load_checkpoint(path, Overrides(weights="raw"))
    assert raw.entry == "model"
    assert raw.model.head.weight.abs().max() == 0  # the file's raw weights are zeros
    with pytest.raises(InputError, match="no averaged weights"):
        load_checkpoint(GOLDEN / "slide_swin_nano.pth", Overrides(weights="averaged"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(prefix: str, tmp_path: Path) -> None:
    model = random_swin()
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "wrapped.pth")
    loaded = load_checkpoint(tmp_path / "wrapped.pth", Overrides(image_size=(32, 32)))
    assert torch.equal(loaded.model.head.weight, model.head.weight)


def test_plain_data_of_other_training_scripts_is_read(tmp_path: Path) -> None:
    import argparse

    import numpy as np

    content = {
        "model": random_swin().state_dict(),
        "args": argparse.Namespace(lr=0.1, sizes=[1, 2]),
        "best": np.float64(81.5),
        "history": np.arange(3),
    }
    torch.save(content, tmp_path / "run.pth")
    assert load_checkpoint(tmp_path / "run.pth", Overrides(image_size=(32, 32))).entry == "model"


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5, "rpb": False},
        {"dim_reduction": 2, "share_qkv": True},
        {"share_dwc_kernel": False, "qkv_bias": False},
        {"ape": True, "patch_norm": False, "num_slide_stages": 3},
        {"num_slide_stages": 0, "in_channels": 1, "mlp_ratio": 2.0, "patch_size": 2},
        {"num_slide_stages": 1, "window_size": 2, "depths": (1, 2, 2)},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_any_setting_is_found_from_shapes(settings: dict, tmp_path: Path) -> None:
    model = random_swin(**settings)
    state = dict(model.state_dict())
    for name, module in model.named_modules():  # a real checkpoint stores the derived buffers
        if getattr(module, "attn_mask", None) is not None:
            state[f"{name}.attn_mask"] = module.attn_mask
        if hasattr(module, "position_bias"):
            state[f"{name}.relative_position_index"] = torch.zeros(
                module.window**2, dtype=torch.long
            )
    torch.save(state, tmp_path / "bare.pth")
    found = load_checkpoint(tmp_path / "bare.pth").config
    assert found == model.config


def test_options_supply_what_the_file_cannot_tell(tmp_path: Path) -> None:
    model = random_swin(num_slide_stages=3)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(InputError, match="--image-size"):
        load_checkpoint(tmp_path / "bare.pth")
    loaded = load_checkpoint(tmp_path / "bare.pth", Overrides(image_size=(64, 48)))
    assert loaded.config.image_size == (64, 48)


def test_an_option_that_contradicts_the_file_is_refused() -> None:
    path = GOLDEN / "slide_swin_nano.pth"
    with pytest.raises(InputError, match="window size 56 but --window-size gives 4"):
        load_checkpoint(path, Overrides(window_size=4))


def test_tensors_count_where_the_configuration_says_otherwise(tmp_path: Path) -> None:
    content = torch.load(GOLDEN / "slide_swin_nano_ddp.pth", weights_only=True)
    content["config"] = {
        "DATA": {"IMG_SIZE": 64},
        "MODEL": {"NUM_CLASSES": 1000, "SWIN": {"WINDOW_SIZE": 56, "NUM_HEADS": [1, 2, 4, 8]}},
    }
    torch.save(content, tmp_path / "tuned.pth")
    loaded = load_checkpoint(tmp_path / "tuned.pth")
    assert loaded.config.num_classes == 4
    assert len(loaded.remarks) == 1
    assert "num_classes is 1000" in loaded.remarks[0]


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    model = random_swin()
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    loaded = load_checkpoint(tmp_path / "half.pth", Overrides(image_size=(32, 32)))
    assert all(p.dtype == torch.float32 for p in loaded.model.parameters())


def test_hash_is_that_of_the_file() -> None:
    import hashlib

    path = GOLDEN / "slide_swin_nano.pth"
    assert read_checkpoint(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_call_to_torch_load_may_run_code() -> None:
    # The one call in the package says weights_only=True, and nothing else unpickles a file.
    package = Path(__file__).parents[2]
    for room in ("slide_deploy", "exporters", "benchmarks", "studies", "examples"):
        for path in (package / room).rglob("*.py"):
            text = path.read_text()
            assert "weights_only=False" not in text
            assert text.count("torch.load(") == text.count("weights_only=True)"), path
            if path.parent.name != "measuring":  # a pipe between two processes of our own
                assert "pickle.load" not in text


def test_rectangular_images_and_odd_mlp_ratios(tmp_path: Path) -> None:
    model = random_swin(image_size=(32, 64), mlp_ratio=2.7)
    config = {"DATA": {"IMG_SIZE": [32, 64]}}
    torch.save({"model": model.state_dict(), "config": config}, tmp_path / "wide.pth")
    assert load_checkpoint(tmp_path / "wide.pth").config.image_size == (32, 64)
    torch.save({"model": model.state_dict()}, tmp_path / "bare.pth")
    told = load_checkpoint(tmp_path / "bare.pth", Overrides(image_size=(32, 64)))
    assert told.config.image_size == (32, 64)


@pytest.mark.parametrize("width", [96, 112, 128])
@pytest.mark.parametrize("ratio", [1.37, 2.7, 3.99, 4.0])
def test_hidden_widths_come_back_from_the_ratio_that_is_found(width: int, ratio: float) -> None:
    trained = [int(width * 2**stage * ratio) for stage in range(4)]
    found = max(hidden / (width * 2**stage) for stage, hidden in enumerate(trained))
    assert [int(width * 2**stage * found + 1e-6) for stage in range(4)] == trained


def test_a_stored_window_that_the_tables_contradict_does_not_count(tmp_path: Path) -> None:
    content = torch.load(GOLDEN / "slide_swin_nano_ddp.pth", weights_only=True)
    content["config"] = {"MODEL": {"SWIN": {"WINDOW_SIZE": 3}}}
    torch.save(content, tmp_path / "odd.pth")
    assert load_checkpoint(tmp_path / "odd.pth").config.window(2) == 4


def test_options_that_contradict_a_folded_file_are_refused(tmp_path: Path) -> None:
    from slide_deploy.folding.model import reparameterize
    from tests.support import save_folded

    trained = load_checkpoint(GOLDEN / "slide_swin_nano.pth")
    save_folded(reparameterize(trained.model)[0], trained, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="leave out --window-size"):
        load_checkpoint(tmp_path / "f.safetensors", Overrides(window_size=4))
