"""Whatever is beside a network in a file, other weights are never chosen silently."""

from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slide_deploy.errors import InputError
from tests.checkpoint.layouts import State, nested, under, zeros
from tests.support import random_swin, read_checkpoint

RIGHT: State = dict(random_swin(depths=(1, 1), num_heads=(1, 2)).state_dict())
WRONG: State = zeros(RIGHT)

KEYS = st.sampled_from(
    [
        "model",
        "state_dict",
        "net",
        "module",
        "weights",
        "params",
        "ema",
        "model_ema",
        "best",
        "last",
        "epoch",
        "optimizer",
        "student",
        "teacher",
        "averaged",
        "swa_model",
        "callbacks",
        "0",
    ]
)
PREFIXES = st.lists(
    st.sampled_from(["model.", "module.", "net.", "_orig_mod.", "backbone.", "ema.", "a.b."]),
    max_size=3,
).map("".join)
BESIDE = st.sampled_from(
    [
        {"epoch": 3},
        {"criterion.weight": torch.ones(2)},
        {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        {"where": Path("runs")},
        {"val_acc.total": torch.ones(1), "args": [1, {"lr": 0.1}]},
    ]
)


@st.composite
def networks(draw: st.DrawFn, state: State) -> Any:
    """A network under some prefix, flat or nested, with something beside it."""
    named = under(draw(PREFIXES), state)
    inside: Any = nested(named) if draw(st.booleans()) else dict(named)
    if draw(st.booleans()):
        inside |= draw(BESIDE)
    for key in draw(st.lists(KEYS, max_size=2)):
        inside = draw(st.sampled_from([{key: inside}, {key: [inside]}, [inside]]))
    return inside


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_one_network_is_found_wherever_it_is(tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(networks(RIGHT))
    torch.save(content, tmp_path / "run.pth")
    try:
        stored = read_checkpoint(tmp_path / "run.pth")
    except InputError as error:
        assert "optimiser" in str(error)  # it stands where an optimiser keeps its averages
        return
    assert stored.tensors.keys() == RIGHT.keys()
    assert all(torch.equal(stored.tensors[name], tensor) for name, tensor in RIGHT.items())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_the_chosen_of_two_networks_is_named(tmp_path: Path, data: st.DataObject) -> None:
    """Either the file is refused, or the remarks name the chosen network and the other one."""
    keys = data.draw(st.lists(KEYS, min_size=2, max_size=2, unique=True))
    content = {keys[0]: data.draw(networks(RIGHT)), keys[1]: data.draw(networks(WRONG))}
    torch.save(content, tmp_path / "run.pth")
    try:
        stored = read_checkpoint(tmp_path / "run.pth")
    except InputError as error:
        assert any(word in str(error) for word in ("--entry", "optimiser", "twice"))
        return
    taken, passed_over = stored.remarks[0].split("; not taken: ")
    right = bool(stored.tensors["head.weight"].any())
    assert keys[0 if right else 1] in taken
    assert keys[1 if right else 0] in passed_over
