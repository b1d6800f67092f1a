"""Networks of the user's code: their inputs, weights and provenance."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slide_deploy.deployable.factory import deployable_factory
from slide_deploy.deployable.module import deployable_of
from slide_deploy.deployable.record import Deployable, run
from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides

NET = """
import torch
from torch import nn
class TwoInputs(nn.Module):
    def __init__(self, dim=4):
        super().__init__()
        self.layer = nn.Conv2d(3, dim, 3, padding=1)
        self.words = nn.Embedding(9, dim)
    def forward(self, image, ids=None):
        maps = self.layer(image)
        if ids is not None:
            maps = maps + self.words(ids).mean(1)[:, :, None, None]
        return {"maps": maps, "mean": maps.mean((2, 3))}
class Fails(nn.Module):
    def forward(self, image):
        image = image + 1
        raise RuntimeError("not today")
class Any(nn.Module):
    def forward(self, *args, **kwargs):
        return sum(args) + sum(kwargs.values())
def zeros(dim=4):
    net = TwoInputs(dim)
    for each in net.parameters():
        nn.init.zeros_(each)
    return net
ready = zeros()
lazy = nn.LazyLinear(3)
script = torch.jit.trace(nn.Linear(4, 4), torch.ones(1, 4))
meta = nn.Linear(4, 4, device="meta")
"""
IMAGE, IDS = "image=1x3x8x8", "ids=1x5:int64"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "factory_net.py").write_text(NET)
    yield tmp_path
    sys.modules.pop("factory_net", None)


def made(folder: Path, factory: str, *inputs: str, args: Any = None, **more: Any) -> Deployable:
    text = None if args is None else json.dumps(args)
    return deployable_factory(f"factory_net:{factory}", text, inputs, folder=folder, **more)


def output(network: Deployable) -> np.ndarray:
    return run(network.network(), [each.example for each in network.inputs])[0].numpy()


def test_inputs_with_the_names_of_parameters_are_passed_by_name(folder: Path) -> None:
    found = made(folder, "TwoInputs", IDS, IMAGE)
    assert {each.name: each.shape for each in found.inputs} == {
        "image": (1, 3, 8, 8),
        "ids": (1, 5),
    }
    assert found.outputs == ("maps", "mean")
    assert {each.name: str(each.example.dtype) for each in found.inputs}["ids"] == "int64"


def test_other_names_are_used_in_files(folder: Path) -> None:
    found = made(folder, "TwoInputs", "picture=1x3x8x8", "1x5:int64")
    assert [each.name for each in found.inputs] == ["picture", "ids"]
    remark = "forward's input image is named picture in files, as given by --input"
    assert remark in found.origin.remarks
    assert found.outputs == made(folder, "TwoInputs", IMAGE, IDS).outputs


def test_names_default_to_those_of_forward(folder: Path) -> None:
    assert [each.name for each in made(folder, "TwoInputs", "1x3x8x8").inputs] == ["image"]


def test_a_forward_that_takes_anything_is_called_by_name_or_in_order(folder: Path) -> None:
    assert [each.name for each in made(folder, "Any", "a=1x2", "b=1x2").inputs] == ["a", "b"]
    assert len(made(folder, "Any", "1x2", "1x2").inputs) == 2


def test_open_sizes_keep_their_names(folder: Path) -> None:
    text = "picture=batchx3xheight:8xwidth:12"
    found = made(folder, "TwoInputs", text)
    assert found.inputs[0].shape == ("batch", 3, "height", "width")
    assert found.inputs[0].example.shape == (1, 3, 8, 12)
    assert set(found.sizes) == {"batch", "height", "width"}
    assert made(folder, "TwoInputs", IMAGE, dynamic_batch=True).inputs[0].shape[0] == "batch"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (("image=1x3x8x8", "image=1x3x8x8"), "image twice"),
        (("1x3",), "factory_net:TwoInputs cannot be run on the CPU"),
        (("1x3x8x8", "1x5:int64", "1x2"), "does not take these inputs"),
        (("ids=1x5:int64",), "cannot be run on the CPU"),
        (("my image=1x3x8x8",), "my image"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    inputs: tuple[str, ...], words: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=words):
        made(folder, "TwoInputs", *inputs)


@pytest.mark.parametrize(
    ("name", "words"), [("lazy", "no shape yet"), ("script", "TorchScript"), ("meta", "meta")]
)
def test_networks_that_are_not_ready_are_refused(name: str, words: str, folder: Path) -> None:
    with pytest.raises(InputError, match=f"factory_net:{name}.*{words}"):
        made(folder, name, "1x4")


def test_a_failing_forward_is_refused_with_its_line(folder: Path) -> None:
    with pytest.raises(InputError, match=r"RuntimeError: not today, .*factory_net.py:17"):
        made(folder, "Fails", IMAGE)


@pytest.mark.parametrize(
    ("text", "words"), [("{dim: 3}", "is not JSON"), ("3", "neither"), ('"a"', "neither")]
)
def test_arguments_other_than_an_object_or_list_are_refused(
    text: str, words: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=words):
        deployable_factory("factory_net:TwoInputs", text, [IMAGE], folder=folder)


def test_the_origin_records_the_provenance(folder: Path) -> None:
    file = folder / "run.pth"
    weights = made(folder, "TwoInputs", IMAGE, args=[6]).model.state_dict()
    torch.save({"epoch": 3, "ema": weights}, file)
    found = made(folder, "zeros", IMAGE, args={"dim": 6}, weights_file=file)
    origin = found.origin
    assert (origin.name, origin.stem) == ("factory_net:zeros", "zeros")
    assert origin.facts == {
        "model": "factory_net:zeros",
        "model_args": {"dim": 6},
        "file": "run.pth",
        "file_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "entry": "ema",
        "left_out": (),
    }
    assert made(folder, "TwoInputs", IMAGE).origin.stem == "two_inputs"


def test_weights_come_from_the_file_and_change_the_hash(folder: Path) -> None:
    trained = made(folder, "TwoInputs", IMAGE)
    torch.save(trained.model.state_dict(), folder / "run.pth")
    found = made(folder, "zeros", IMAGE, weights_file=folder / "run.pth")
    assert np.array_equal(output(found), output(trained))
    assert not np.any(output(made(folder, "zeros", IMAGE)))
    assert found.origin.sha256 != made(folder, "zeros", IMAGE).origin.sha256


def test_a_network_that_the_code_returns_again_is_unchanged(folder: Path) -> None:
    torch.save(made(folder, "TwoInputs", IMAGE).model.state_dict(), folder / "run.pth")
    before = output(made(folder, "ready", IMAGE))
    made(folder, "ready", IMAGE, weights_file=folder / "run.pth")
    assert np.array_equal(output(made(folder, "ready", IMAGE)), before)


def test_a_remark_warns_of_random_weights(folder: Path) -> None:
    (remark,) = made(folder, "TwoInputs", IMAGE).origin.remarks
    assert "random" in remark and "--weights-file" in remark
    assert made(folder, "Any", "1x2").origin.remarks == ()


def test_options_choose_among_the_weights_of_a_file(folder: Path) -> None:
    weights = made(folder, "TwoInputs", IMAGE).model.state_dict()
    zeros = {name: torch.zeros_like(each) for name, each in weights.items()}
    torch.save({"model": zeros, "model_ema": weights}, folder / "run.pth")
    for choice, is_zero in (("auto", False), ("averaged", False), ("raw", True)):
        found = made(
            folder,
            "TwoInputs",
            IMAGE,
            weights_file=folder / "run.pth",
            overrides=Overrides(weights=choice),
        )
        assert np.any(output(found)) != is_zero


def test_keyword_inputs_in_any_order_keep_their_values() -> None:
    class Net(nn.Module):
        def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
            return one.sum() - two.sum()

    found = deployable_of(Net(), {"two": torch.zeros(2), "one": torch.ones(3)})
    assert [(each.name, each.shape) for each in found.inputs] == [("one", (3,)), ("two", (2,))]
    assert output(found) == 3
