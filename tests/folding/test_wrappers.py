"""Wrappers are removed from a copy, around a model and inside it. The model keeps them."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from slide_deploy.folding.model import reparameterize
from slide_deploy.folding.surgery import unwrapped
from slide_deploy.models.slide_attention import SlideAttentionConfig
from tests.support import random_attention


@pytest.fixture
def process_group(tmp_path) -> Iterator[None]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), random_attention(SlideAttentionConfig(8, 2))).eval()


def holds_wrappers(model: nn.Module) -> bool:
    kinds = (DataParallel, DistributedDataParallel, AveragedModel)
    return any(
        isinstance(module, kinds) or hasattr(module, "_orig_mod") for module in model.modules()
    )


@pytest.mark.parametrize("wrap", [DataParallel, AveragedModel, torch.compile])
def test_wrappers_around_and_inside_a_model_are_removed(wrap) -> None:
    model = network()
    image = torch.randn(1, 3, 9, 9)
    expected = model(image)[0]
    for wrapped in (
        wrap(model).eval(),
        wrap(DataParallel(model)).eval(),
        nn.ModuleList([nn.Sequential(model[0], wrap(model[1]).eval())]).eval()[0],
    ):
        plain = unwrapped(wrapped)
        assert holds_wrappers(wrapped) and not holds_wrappers(plain)
        assert list(plain.state_dict()) == list(model.state_dict())
        folded, certificate = reparameterize(wrapped)
        assert [line.name for line in certificate.folded] == ["1"]
        assert holds_wrappers(wrapped) and not holds_wrappers(folded)
        assert (folded(image)[0] - expected).abs().max() < 1e-5


def test_distributed_data_parallel_is_removed(process_group: None) -> None:
    model = network().requires_grad_(True)
    wrapped = DistributedDataParallel(model)
    image = torch.randn(1, 3, 9, 9)
    for each in (wrapped, nn.Sequential(wrapped), DataParallel(wrapped)):
        folded, certificate = reparameterize(each.eval())
        assert len(certificate.folded) == 1 and not holds_wrappers(folded)
        assert (folded(image)[0] - model(image)[0]).abs().max() < 1e-5
    assert isinstance(wrapped, DistributedDataParallel) and wrapped.module is model


def test_shared_modules_remain_shared() -> None:
    layer = nn.Linear(4, 4)
    wrapped = DataParallel(layer)
    model = nn.ModuleDict({"a": wrapped, "b": nn.Sequential(wrapped), "c": layer})
    plain = unwrapped(model)
    assert plain["a"] is plain["c"] and plain["b"][0] is plain["a"]
    assert plain["a"] is not layer and model["a"] is wrapped


def test_a_plain_model_is_copied() -> None:
    model = network()
    plain = unwrapped(model)
    assert plain is not model and plain[0].weight is not model[0].weight
    assert all(
        torch.equal(value, model.state_dict()[key]) for key, value in plain.state_dict().items()
    )


def test_weights_in_an_autograd_graph_are_copied() -> None:
    layer = torch.nn.utils.weight_norm(nn.Linear(4, 4))
    layer(torch.randn(1, 4))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(layer)
    plain = unwrapped(layer)
    x = torch.randn(2, 4)
    assert torch.equal(plain(x), layer(x)) and not layer.weight.is_leaf
