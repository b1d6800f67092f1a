"""The right weights load from the layout of every training framework."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from tests.checkpoint.layouts import (
    BACKBONES,
    CLASSIFIERS,
    State,
    body,
    moved_downsample,
    noise,
    under,
    zeros,
)
from tests.support import GOLDEN, read_checkpoint

SIZE = Overrides(image_size=(64, 64))


@pytest.fixture(scope="module")
def state() -> State:
    return dict(read_checkpoint(GOLDEN / "slide_swin_nano.pth").tensors)


@pytest.fixture(scope="module")
def expected() -> State:
    return load_file(GOLDEN / "slide_swin_nano.expected.safetensors")


def saved(content: object, tmp_path: Path, **how: object) -> Path:
    torch.save(content, tmp_path / "run.pth", **how)
    return tmp_path / "run.pth"


@pytest.mark.parametrize("layout", CLASSIFIERS)
def test_a_classifier_outputs_what_it_did_in_training(
    layout: str, state: State, expected: State, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(saved(CLASSIFIERS[layout](state), tmp_path), SIZE)
    answer = checkpoint.classifier()(expected["image"])
    assert torch.allclose(answer, expected["logits"], atol=3e-5)


@pytest.mark.parametrize("layout", BACKBONES)
def test_a_backbone_has_the_stages_that_were_trained(
    layout: str, state: State, expected: State, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(saved(BACKBONES[layout](state), tmp_path), SIZE)
    maps = checkpoint.model(expected["image"])
    last = maps[-1].flatten(2).transpose(1, 2)
    assert torch.allclose(last, expected["stage3"], atol=3e-5)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("archive", [True, False])
def test_every_protocol_and_both_formats(
    protocol: int, archive: bool, state: State, tmp_path: Path
) -> None:
    path = saved(
        {"model": state, "extra": Path("x")},
        tmp_path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=archive,
    )
    loaded = read_checkpoint(path).tensors
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_remarks_name_the_chosen_and_the_other_networks(state: State, tmp_path: Path) -> None:
    content = {
        "model": zeros(state),
        "model_ema": {**under("module.", state), "n_averaged": torch.tensor(3)},
        "criterion.weight": torch.ones(2),
    }
    loaded = load_checkpoint(saved(content, tmp_path), SIZE)
    assert loaded.entry == "model_ema"
    assert loaded.remarks[0] == "taken: model_ema (averaged); not taken: model (raw)"
    assert "model_ema.n_averaged" in loaded.remarks[1]
    assert {"model_ema.n_averaged", "criterion.weight"} <= set(loaded.left_out)
    raw = load_checkpoint(saved(content, tmp_path), Overrides("raw", (64, 64)))
    assert raw.entry == "model"


def test_constants_of_the_preprocessing_are_named(state: State, tmp_path: Path) -> None:
    content = {"model": {**state, "mean": torch.zeros(1, 3, 1, 1), "std": torch.ones(1, 3, 1, 1)}}
    loaded = load_checkpoint(saved(content, tmp_path), SIZE)
    assert any("mean, std" in text and "preprocessing" in text for text in loaded.remarks)
    assert set(loaded.left_out) == {"model.mean", "model.std"}


def refusal(content: object, tmp_path: Path, overrides: Overrides = SIZE) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(saved(content, tmp_path), overrides)
    return str(caught.value)


def test_different_networks_are_listed_and_one_must_be_chosen(state: State, tmp_path: Path) -> None:
    content = {"last": noise(state), "best": {"net": state}}
    text = refusal(content, tmp_path)
    assert "2 different networks (last, best.net)" in text
    assert "--entry last" in text
    for entry in ("best.net", "best"):
        chosen = load_checkpoint(
            saved(content, tmp_path), Overrides(image_size=(64, 64), entry=entry)
        )
        assert torch.equal(chosen.model.head.weight, state["head.weight"])
    assert "does not lead to a single network" in refusal(
        content, tmp_path, Overrides(image_size=(64, 64), entry="worst")
    )


def test_several_averages_that_differ_are_refused(state: State, tmp_path: Path) -> None:
    content = {"model": zeros(state), "ema_0.999": state, "ema_0.9999": noise(state)}
    assert "2 different networks (ema_0.999, ema_0.9999)" in refusal(content, tmp_path)


def test_a_teacher_of_another_size_is_not_an_average(state: State, tmp_path: Path) -> None:
    teacher = {name: value for name, value in state.items() if ".blocks.1." not in name}
    content = {"student": state, "teacher": teacher}
    assert "looks like an average of student" in refusal(content, tmp_path)


def test_averages_without_names_are_reported(state: State, tmp_path: Path) -> None:
    content = {"model": state, "ema": {"shadow_params": list(state.values())}}
    assert "averaged weights under ema, without the names" in refusal(content, tmp_path)
    loaded = load_checkpoint(saved(content, tmp_path), Overrides("raw", (64, 64)))
    assert loaded.entry == "model"


def test_an_optimiser_alone_holds_no_weights(state: State, tmp_path: Path) -> None:
    content = {"optimizer": {"exp_avg": noise(state)}}
    assert "only the state of an optimiser" in refusal(content, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("layers.0.blocks.0.attn.qkv.lora_A.default.weight", "adapters"),
        ("layers.0.blocks.0.adapter.down.weight", "adapters"),
        ("layers.0.blocks.0.mlp.fc1.parametrizations.weight.original0", "parametrised"),
        ("layers.0.blocks.0.mlp.fc1.weight_mask", "parametrised"),
        ("layers.0.blocks.0.mlp.fc1.zero_point", "quantised"),
        ("layers.0.blocks.0.gamma_1", "--leave-out"),
        ("temperature", "--leave-out"),
        ("projector.0.weight", "--leave-out"),
    ],
)
def test_tensors_that_may_change_the_outputs_are_refused(
    name: str, words: str, state: State, tmp_path: Path
) -> None:
    text = refusal({"model": {**state, name: torch.ones(2, 2)}}, tmp_path)
    assert words in text
    assert name in text


def test_the_user_may_leave_out_a_tensor(state: State, tmp_path: Path) -> None:
    content = {"model": {**state, "projector.0.weight": torch.ones(2, 2)}}
    overrides = Overrides(image_size=(64, 64), leave_out=("projector",))
    loaded = load_checkpoint(saved(content, tmp_path), overrides)
    assert loaded.left_out == ("model.projector.0.weight",)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
def test_types_of_quantised_networks_are_refused(
    dtype: torch.dtype, state: State, tmp_path: Path
) -> None:
    low = {**state, "head.weight": state["head.weight"].to(dtype)}
    assert str(dtype).removeprefix("torch.") in refusal(low, tmp_path)
    save_file(low, tmp_path / "low.safetensors")
    with pytest.raises(InputError, match="not floating point"):
        load_checkpoint(tmp_path / "low.safetensors", SIZE)


def test_two_wrappers_with_one_key_are_not_mixed(state: State, tmp_path: Path) -> None:
    name = "layers.0.blocks.0.attn.qkv.weight"
    doubled = {**state, "layers.0.blocks.0.other.attn.qkv.weight": torch.zeros(24, 8)}
    assert f"holds {name} twice" in refusal(doubled, tmp_path)


def test_renamed_merging_goes_with_any_prefix(state: State, tmp_path: Path) -> None:
    content = {"state_dict": under("model.backbone.", moved_downsample(body(state)))}
    assert load_checkpoint(saved(content, tmp_path), SIZE).config.depths == (1, 1, 2, 1)
