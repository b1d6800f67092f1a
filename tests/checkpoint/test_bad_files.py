"""Files that cannot be used are refused with one sentence, and their code is never run."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slide_deploy.checkpoint.read import CONFIG_KEY
from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from tests.support import GOLDEN, random_swin


def refusal(path: Path, overrides: Overrides | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path, overrides)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def damaged(tmp_path: Path, edit) -> Path:
    content = torch.load(GOLDEN / "slide_swin_nano_ddp.pth", weights_only=True)
    edit(content["state_dict"])
    torch.save(content, tmp_path / "damaged.pth")
    return tmp_path / "damaged.pth"


class RunsCode:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self):
        return os.mkdir, (str(self.flag),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "the code was run"
    torch.save(RunsCode(flag), tmp_path / "evil.pth")
    assert "holds posix.mkdir, which is code" in refusal(tmp_path / "evil.pth")
    beside = {"model": random_swin().state_dict(), "extra": RunsCode(flag)}
    torch.save(beside, tmp_path / "beside.pth")
    assert load_checkpoint(tmp_path / "beside.pth", Overrides(image_size=(32, 32))).entry == "model"
    with (tmp_path / "plain.pth").open("wb") as file:
        pickle.dump(RunsCode(flag), file)
    refusal(tmp_path / "plain.pth")
    assert not flag.exists()


def test_missing_directory_empty_and_text(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere.pth")
    assert "is a directory" in refusal(tmp_path)
    (tmp_path / "empty.pth").touch()
    assert "is empty" in refusal(tmp_path / "empty.pth")
    for name in ("text.pth", "text.pt", "text.safetensors"):
        (tmp_path / name).write_text("not a checkpoint\n" * 100)
        refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["slide_swin_nano.pth", "slide_swin_nano_1stage.safetensors"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated(tmp_path: Path, name: str, share: float) -> None:
    whole = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(share * len(whole))])
    refusal(path)


def test_no_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "log.pth")
    assert "no state dict (found epoch, lr)" in refusal(tmp_path / "log.pth")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    assert "is not a Slide-Swin, a PVT, a PVTv2, a CSWin or a NAT: it has 0" in refusal(
        tmp_path / "list.pth"
    )
    torch.save([3], tmp_path / "numbers.pth")
    assert "holds a list" in refusal(tmp_path / "numbers.pth")
    torch.save({}, tmp_path / "nothing.pth")
    assert "no state dict" in refusal(tmp_path / "nothing.pth")


def test_another_architecture(tmp_path: Path) -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    torch.save(other.state_dict(), tmp_path / "other.pth")
    assert "is not a Slide-Swin, " in refusal(tmp_path / "other.pth")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert "is not a Slide-Swin, " in refusal(tmp_path / "other.safetensors")


def test_missing_extra_and_misshapen_tensors(tmp_path: Path) -> None:
    name = "module.layers.0.blocks.0.attn.dep_conv1.bias"
    assert f"lacks {name[7:]}" in refusal(damaged(tmp_path, lambda state: state.pop(name)))
    extra = damaged(tmp_path, lambda state: state.update({"module.extra": torch.zeros(2)}))
    assert "holds extra" in refusal(extra)
    short = damaged(tmp_path, lambda state: state.update({name: torch.zeros(5)}))
    assert "has the shape (5,)" in refusal(short)
    whole = damaged(tmp_path, lambda state: state.update({name: torch.zeros(72, dtype=torch.int)}))
    assert "not floating point" in refusal(whole)


@pytest.mark.parametrize(
    "name",
    [
        "module.layers.0.blocks.0.attn.qkv.weight",
        "module.layers.0.blocks.0.attn.proj.weight",
        "module.layers.2.blocks.0.attn.relative_position_bias_table",
        "module.patch_embed.proj.weight",
        "module.layers.0.blocks.0.mlp.fc1.weight",
        "module.layers.1.blocks.0.attn.dep_conv.weight",
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 3), (2, 2, 2, 2)])
def test_any_wrong_shape_is_refused(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    refusal(damaged(tmp_path, lambda state: state.update({name: torch.zeros(shape)})))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    def edit(state):
        state["module.layers.2.blocks.1.mlp.fc1.bias"][3] = value

    text = refusal(damaged(tmp_path, edit))
    assert "layers.2.blocks.1.mlp.fc1.bias holds NaN or infinity" in text


@pytest.mark.parametrize("settings", ["{", "[1]", '{"colour": 3}', '{"depths": [1, 1]}', '"text"'])
def test_broken_settings_of_a_folded_file(tmp_path: Path, settings: str) -> None:
    path = tmp_path / "folded.safetensors"
    save_file(dict(random_swin().state_dict()), path, {CONFIG_KEY: settings})
    with pytest.raises(InputError):
        load_checkpoint(path)


def test_a_name_cannot_request_a_billion_blocks(tmp_path: Path) -> None:
    name = "layers.0.blocks.999999999.attn.qkv.weight"
    path = damaged(tmp_path, lambda state: state.update({name: torch.zeros(1)}))
    assert "it is not a complete Slide-Swin" in refusal(path)
    name = "layers.99999999.blocks.0.attn.x"
    path = damaged(tmp_path, lambda state: state.update({name: torch.zeros(1)}))
    assert f"holds {name}" in refusal(path)


def test_a_small_file_cannot_claim_a_large_tensor(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**10)
    path = damaged(tmp_path, lambda state: state.update({"module.head.bias": huge}))
    assert "head.bias claims more elements than are stored" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"depths": [2, 1, 2]},
        {"image_size": [10**6, 10**6]},
        {"embed_dim": 16},
        {"depths": [10**9, 1, 2]},
        {"window_size": 2.0},
        {"kept_windows": [2.0]},
        {"kept_windows": [2, 2]},
        {"kept_windows": "2"},
        {"feature_norms": [1]},
    ],
)
def test_settings_that_the_tensors_contradict(tmp_path: Path, change: dict) -> None:
    import dataclasses
    import json

    from slide_deploy.folding.model import reparameterize

    model = random_swin()
    folded, _ = reparameterize(model)
    path = tmp_path / "folded.safetensors"
    settings = json.dumps(dataclasses.asdict(model.config) | change)
    save_file(dict(folded.state_dict()), path, {CONFIG_KEY: settings})
    assert "fold it again" in refusal(path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    import zipfile

    with (
        zipfile.ZipFile(GOLDEN / "slide_swin_nano.pth") as source,
        zipfile.ZipFile(tmp_path / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for item in source.infolist():
            target.writestr(item.filename, source.read(item))
    assert "is a compressed archive" in refusal(tmp_path / "deflated.pth")


def test_sparse_and_meta_tensors_and_double_names(tmp_path: Path) -> None:
    for odd in (torch.eye(4).to_sparse(), torch.zeros(4, device="meta")):
        path = damaged(tmp_path, lambda state, odd=odd: state.update({"module.head.bias": odd}))
        refusal(path)
    twice = damaged(tmp_path, lambda state: state.update({"head.bias": torch.zeros(4)}))
    assert "holds head.bias twice" in refusal(twice)


def test_weights_that_overflow_float32(tmp_path: Path) -> None:
    large = torch.full((4,), 1e300, dtype=torch.float64)
    path = damaged(tmp_path, lambda state: state.update({"module.head.bias": large}))
    assert "overflows float32" in refusal(path)


def test_numpy_objects_of_a_file_are_not_built(tmp_path: Path) -> None:
    import numpy as np

    content = torch.load(GOLDEN / "slide_swin_nano_ddp.pth", weights_only=True)
    content["config"] = {"MODEL": {"NUM_CLASSES": np.arange(3)}, "DATA": {"IMG_SIZE": np.int64(7)}}
    torch.save(content, tmp_path / "numpy.pth")
    assert load_checkpoint(tmp_path / "numpy.pth").config.image_size == (64, 64)
