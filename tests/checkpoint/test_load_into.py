"""Weights of any layout are loaded strictly into a module that user code built."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from slide_deploy.checkpoint.load_into import LoadedWeights, load_into
from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides
from tests.checkpoint.layouts import State, nested, under, zeros


class Net(nn.Module):
    """Parameters, buffers of two types, a frozen parameter and a tied one."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.module = nn.Conv2d(3, dim, 3)  # the word that wrappers use, as a name of its own
        self.norm = nn.BatchNorm2d(dim)
        self.frozen = nn.Parameter(torch.randn(dim), requires_grad=False)
        self.register_buffer("relative_position_index", torch.arange(dim))
        self.register_buffer("places", torch.arange(dim))
        self.first = nn.Linear(dim, dim)
        self.last = nn.Linear(dim, dim)
        self.last.weight = self.first.weight


def trained(dim: int = 4) -> Net:
    torch.manual_seed(5)
    net = Net(dim)
    for buffer in (net.norm.running_mean, net.norm.running_var):
        buffer.uniform_(0.5, 2)
    net.norm.num_batches_tracked += 7
    return net


STATE: State = dict(trained().state_dict())


def load(content: Any, tmp_path: Path, net: nn.Module | None = None, **options: Any) -> nn.Module:
    net = Net() if net is None else net
    torch.save(content, tmp_path / "run.pth")
    load_file(tmp_path / "run.pth", net, **options)
    return net


def load_file(path: Path, net: nn.Module, **options: Any) -> LoadedWeights:
    return load_into(net, path, "own:Net", Overrides(**options))


def refusal(content: Any, tmp_path: Path, net: nn.Module | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        load(content, tmp_path, net, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def same(net: nn.Module, state: State = STATE) -> bool:
    found = net.state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_a_fresh_network_is_another_one() -> None:
    assert not same(Net())


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"run": {"best": {"weights": STATE}}},
        under("module.", STATE),
        {"model": under("module.backbone.", STATE)},
        {"model": under("_orig_mod.net.", STATE), "optim": {"state": {0: {"a": torch.ones(3)}}}},
        {"module": STATE},
        {"net": {"module": nested(STATE)}},
        {"net": nested(STATE)},
        [1, STATE],
    ],
    ids=[
        "bare",
        "beside",
        "deep",
        "module",
        "prefixes",
        "compiled",
        "key",
        "keys",
        "nested",
        "list",
    ],
)
def test_weights_are_found_wherever_they_are(content: Any, tmp_path: Path) -> None:
    assert same(load(content, tmp_path))


def test_other_kinds_of_files_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_model(trained(), str(tmp_path / "one.safetensors"))  # which leaves out a tied tensor
    hub = tmp_path / "hub"
    hub.mkdir()
    names = sorted(STATE)
    parts = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
    for file, held in parts.items():
        save_file({name: STATE[name].clone() for name in held}, hub / file)
    index = {name: file for file, held in parts.items() for name in held}
    (hub / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for name in ("old.pth", "one.safetensors", "hub", "hub/model.safetensors.index.json"):
        net = Net()
        load_file(tmp_path / name, net)
        assert same(net), name


def test_shared_tensors_stay_shared(tmp_path: Path) -> None:
    net = load(STATE, tmp_path)
    assert net.first.weight is net.last.weight
    differ = {**STATE, "last.weight": STATE["last.weight"] + 1}
    assert "one tensor for both" in refusal(differ, tmp_path)


def test_averages_are_preferred_and_completed_by_the_last_weights(
    tmp_path: Path,
) -> None:
    last = zeros(STATE)
    trainable = {name for name, each in Net().named_parameters() if each.requires_grad}
    average = {name: each for name, each in STATE.items() if name in trainable}
    content = {"model": last, "model_ema": average}
    net = load(content, tmp_path)
    assert same(net, average)
    assert not net.norm.running_mean.any() and not net.frozen.any()
    (said, *_) = load_file(tmp_path / "run.pth", Net()).remarks
    assert said.startswith("not averaged and taken from model: frozen, places, norm.running_mean")
    assert same(load(content, tmp_path, weights="raw"), last)


def test_two_networks_need_a_choice(tmp_path: Path) -> None:
    content = {"student": STATE, "other": zeros(STATE)}
    assert "--entry" in refusal(content, tmp_path)
    assert same(load(content, tmp_path, entry="student"))


def test_a_frozen_network_is_found_like_any_other(tmp_path: Path) -> None:
    net = Net().requires_grad_(False).eval()
    assert same(load({"model": zeros(STATE), "ema": STATE}, tmp_path, net))


def test_missing_tensors_are_refused_with_up_to_three_names(tmp_path: Path) -> None:
    few = {name: STATE[name] for name in STATE if name.startswith(("module", "norm"))}
    sentence = refusal({"model": few}, tmp_path)
    assert "lacks frozen, places, first.weight and 3 more below model" in sentence
    assert "own:Net" in sentence
    one = {name: each for name, each in STATE.items() if name != "norm.running_var"}
    assert "lacks norm.running_var," in refusal(one, tmp_path)


def test_extra_tensors_are_refused_or_left_out_on_request(tmp_path: Path) -> None:
    more = {**STATE, **{f"second.{index}.weight": torch.ones(2) for index in range(5)}}
    sentence = refusal(more, tmp_path)
    assert "second.0.weight, second.1.weight, second.2.weight and 2 more" in sentence
    assert "own:Net does not have" in sentence and "--leave-out second" in sentence
    assert same(load(more, tmp_path, leave_out=("second",)))


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    sentence = refusal(dict(trained(6).state_dict()), tmp_path)
    assert "frozen has the shape (6,) and own:Net needs (4,)" in sentence
    assert "(also differs: places, module.weight, module.bias and 8 more)" in sentence


def test_counters_and_derived_buffers_are_optional(tmp_path: Path) -> None:
    derived = ("num_batches_tracked", "relative_position_index")
    without = {name: each for name, each in STATE.items() if not name.endswith(derived)}
    assert same(load(without, tmp_path), without)
    more = {**STATE, "first.total_ops": torch.ones(1), "block.attn_mask": torch.ones(3)}
    assert same(load(more, tmp_path))
    other = {**STATE, "relative_position_index": torch.arange(9)}  # of another map
    net = load(other, tmp_path)
    assert torch.equal(net.relative_position_index, torch.arange(4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    half = {n: each.to(dtype) if each.is_floating_point() else each for n, each in STATE.items()}
    net = load(half, tmp_path, Net().half())
    assert net.first.weight.dtype == torch.float32
    assert torch.equal(net.first.weight, half["first.weight"].float())


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("first.bias", torch.ones(4, dtype=torch.int8), "of type int8"),
        ("first.bias", torch.full((4,), float("nan")), "NaN"),
        ("places", torch.ones(4), "of type float32 and the network has int64"),
        ("first.zero_point", torch.ones(1), "quantised weights"),
        ("first.lora_A.weight", torch.ones(2, 4), "adapters"),
        ("first.weight_g", torch.ones(2, 4), "parametrised weights"),
    ],
)
def test_tensors_that_are_not_weights_are_refused(
    name: str, tensor: torch.Tensor, words: str, tmp_path: Path
) -> None:
    assert words in refusal({**STATE, name: tensor}, tmp_path)


def test_names_of_other_weight_forms_are_allowed_if_the_module_has_them(tmp_path: Path) -> None:
    def parametrised() -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))

    source = parametrised()
    net = load(source.state_dict(), tmp_path, parametrised())
    assert torch.equal(net.weight, source.weight)


def test_files_without_this_network_are_refused(tmp_path: Path) -> None:
    sentence = refusal({"other.kernel": torch.ones(2)}, tmp_path)
    assert "holds no tensor of own:Net" in sentence and "other.kernel" in sentence
    assert "holds no state dict" in refusal({"epoch": 3}, tmp_path)
    assert "has no weights to load" in refusal(STATE, tmp_path, nn.Identity())
    with pytest.raises(InputError, match="does not exist"):
        load_file(tmp_path / "none.pth", Net())


def test_lazy_and_meta_modules_are_filled(tmp_path: Path) -> None:
    state = dict(nn.Linear(3, 2).state_dict())
    lazy = load(state, tmp_path, nn.LazyLinear(2))
    with torch.device("meta"):
        empty = nn.Linear(3, 2)
    for net in (lazy, load(state, tmp_path, empty)):
        assert torch.equal(net.weight, state["weight"])


def test_a_failing_loader_of_the_module_is_reported(tmp_path: Path) -> None:
    class Odd(nn.Linear):
        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            raise KeyError("version")

    sentence = refusal(dict(nn.Linear(2, 2).state_dict()), tmp_path, Odd(2, 2))
    assert "own:Net cannot load the weights" in sentence and "KeyError" in sentence


def test_a_refused_file_loads_nothing(tmp_path: Path) -> None:
    net = Net()
    before = copy.deepcopy(dict(net.state_dict()))
    refusal({**STATE, "second.weight": torch.ones(2)}, tmp_path, net)
    assert same(net, before)
