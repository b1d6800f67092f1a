"""Averages that cannot be read are reported, and other names are not taken for averages."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slide_deploy.checkpoint.averages import names_an_average
from slide_deploy.errors import InputError
from slide_deploy.hosts import Overrides, load_checkpoint
from tests.checkpoint.layouts import State, under, zeros
from tests.support import GOLDEN, read_checkpoint


@pytest.fixture(scope="module")
def state() -> State:
    return dict(read_checkpoint(GOLDEN / "slide_swin_nano.pth").tensors)


def hidden(kind: str, state: State) -> Any:
    if kind == "module":
        return {"state_dict": zeros(state), "ema": torch.nn.ParameterDict(floats(state))}
    if kind == "list in the optimiser":
        return {
            "state_dict": under("model.", zeros(state)),
            "optimizer_states": [{"ema": tuple(floats(state).values())}],
        }
    if kind == "names without dots":
        flat = {"model_ema." + name.replace(".", ""): value for name, value in state.items()}
        return {"state_dict": {**under("model.", zeros(state)), **flat}}
    vector = torch.cat([value.flatten() for value in floats(state).values()])
    return {"model": zeros(state), "ema": vector}


def floats(state: State) -> State:
    return {name.replace(".", "/"): v for name, v in state.items() if v.is_floating_point()}


@pytest.mark.parametrize("kind", ["module", "list in the optimiser", "names without dots", "one"])
def test_unreadable_averages_are_reported(kind: str, state: State, tmp_path: Path) -> None:
    torch.save(hidden(kind, state), tmp_path / "run.pth")
    with pytest.raises(InputError, match=r"holds averaged weights under .*--weights raw"):
        read_checkpoint(tmp_path / "run.pth")
    assert not read_checkpoint(tmp_path / "run.pth", "raw").tensors["head.weight"].any()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("model_ema",), True),
        (("EMACallback", "weights"), True),
        (("modelEma",), True),
        (("swa_model",), True),
        (("exp_avg",), False),
        (("exp_avg_diff",), False),
        (("best_avg_acc",), False),
        (("swa_optimizer", "state", "0"), False),
        (("remap", "schema"), False),
        (("model",), False),
    ],
)
def test_words_that_name_averages(path: tuple[str, ...], expected: bool) -> None:
    assert names_an_average(path) is expected


def test_a_second_head_is_not_the_classifier(state: State, tmp_path: Path) -> None:
    headless = {name: value for name, value in state.items() if not name.startswith("head.")}
    content = {**headless, "aux.head.weight": torch.ones(4, 64), "aux.head.bias": torch.zeros(4)}
    torch.save(content, tmp_path / "run.pth")
    with pytest.raises(InputError, match=r"holds aux\.head\.weight"):
        read_checkpoint(tmp_path / "run.pth")


def test_a_lazily_negated_tensor_is_refused(state: State, tmp_path: Path) -> None:
    bias = state["patch_embed.norm.bias"]
    negated = torch.view_as_complex(torch.stack([0 * bias, -bias], -1)).conj().imag
    assert negated.is_neg()
    torch.save({**state, "patch_embed.norm.bias": negated}, tmp_path / "run.pth")
    with pytest.raises(InputError, match="lazily negated"):
        read_checkpoint(tmp_path / "run.pth")


def test_an_entry_and_the_kind_of_weights_may_not_contradict(state: State, tmp_path: Path) -> None:
    torch.save({"model": state, "ema": zeros(state)}, tmp_path / "run.pth")
    with pytest.raises(InputError, match="names averaged weights, which contradicts --weights raw"):
        load_checkpoint(tmp_path / "run.pth", Overrides("raw", (64, 64), entry="ema"))


def test_a_plain_pickle_of_tensors_is_read(state: State, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "run.pkl").write_bytes(pickle.dumps({"model": state}))
    loaded = read_checkpoint(tmp_path / "run.pkl").tensors
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_preprocessing_constants_beside_a_network_are_named(state: State, tmp_path: Path) -> None:
    content = {**under("model.", state), "pixel_mean": torch.zeros(3, 1, 1)}
    torch.save({"state_dict": content}, tmp_path / "run.pth")
    remarks = load_checkpoint(tmp_path / "run.pth", Overrides(image_size=(64, 64))).remarks
    assert any("pixel_mean" in text and "preprocessing" in text for text in remarks)


def test_adapters_beside_the_network_are_refused(state: State, tmp_path: Path) -> None:
    lora = {"layers.0.blocks.0.attn.qkv.lora_A": torch.ones(2, 8)}
    torch.save({"model": state, "lora": lora}, tmp_path / "run.pth")
    with pytest.raises(InputError, match="adapters"):
        read_checkpoint(tmp_path / "run.pth")


@pytest.mark.parametrize(
    "name", ["mixup.proj.weight", "accuracy_head.weight", "layers.0.blocks.0.decay", "grad"]
)
def test_names_that_only_look_like_those_of_training(
    name: str, state: State, tmp_path: Path
) -> None:
    torch.save({"model": {**state, name: torch.ones(1)}}, tmp_path / "run.pth")
    with pytest.raises(InputError, match=f"holds {name}"):
        read_checkpoint(tmp_path / "run.pth")


def test_partitioned_weights_are_named(state: State, tmp_path: Path) -> None:
    empty = {name: torch.empty(0) for name in state}
    torch.save({"module": empty}, tmp_path / "run.pth")
    with pytest.raises(InputError, match="ZeRO-3"):
        read_checkpoint(tmp_path / "run.pth")


def test_keys_cannot_forge_a_remark_or_break_the_output(state: State, tmp_path: Path) -> None:
    odd = {"x\nnote: taken": torch.ones(1), "\ud800": torch.ones(1), b"\xff": torch.ones(1)}
    torch.save({"model": state, "beside": odd, 10**5000: torch.ones(1)}, tmp_path / "run.pth")
    loaded = load_checkpoint(tmp_path / "run.pth", Overrides(image_size=(64, 64)))
    for text in (*loaded.remarks, *loaded.left_out):
        assert text.isprintable()


def test_small_files_that_expand_are_read_quickly(state: State, tmp_path: Path) -> None:
    doubled: Any = []
    for _ in range(40):
        doubled = [doubled, doubled]
    sections: Any = {"X": 1}
    for _ in range(30):
        sections = {"A": sections, "B": sections}
    content = {
        "model": state,
        "config": {"DATA": {"IMG_SIZE": 64}, "MODEL": {"FOO": doubled, "SWIN": sections}},
        **{"a." * 3000 + str(number): torch.ones(1) for number in range(50)},
    }
    torch.save(content, tmp_path / "run.pth")
    assert load_checkpoint(tmp_path / "run.pth").config.image_size == (64, 64)
