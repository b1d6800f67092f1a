"""A valid asset: what the reader says of it, and what its runtime answers."""

import numpy as np
import pytest
import torch

from slide_deploy.backends.base import Configuration, untimed
from slide_deploy.backends.coreai.session import intermediates
from slide_deploy.backends.coreai.targets import TARGETS
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import inspect, standard_ops
from slide_deploy.graph_checks.check import check_graph
from slide_deploy.graph_checks.readers.aimodel import read
from slide_deploy.saved.aimodel import open_asset
from tests.saved.aimodel.assets import SHAPE, model, valid_asset

pytest.importorskip("coreai")
(TARGET,) = TARGETS


def images(count: int = 1) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, *SHAPE)).astype(np.float32)


def trained(pixels: np.ndarray) -> np.ndarray:
    answer = model().double()(torch.from_numpy(pixels).double())
    return (answer[0] if isinstance(answer, tuple | list) else answer).numpy()


def test_the_weights_are_those_of_the_network() -> None:
    graph = read(valid_asset())
    arrays = [held.array() for held in graph.constants.values() if held.dtype == "float32"]
    weight = model().layers[0].blocks[0].mlp.fc2.weight.numpy()
    assert any(
        array.shape in (weight.shape, weight.shape[::-1])
        and (np.array_equal(array, weight) or np.array_equal(array, weight.T))
        for array in arrays
    )


@pytest.mark.parametrize("open_batch", [False, True])
def test_a_valid_asset_keeps_the_policy_and_is_counted(open_batch: bool) -> None:
    graph = read(valid_asset(open_batch))
    assert list(check_graph(graph, standard_ops())) == []
    assert graph.inputs[0].shape == (None if open_batch else 1, *SHAPE)
    found, fixed = inspect(graph), inspect(read(valid_asset()))
    assert found.macs == fixed.macs and fixed.macs
    assert found.parameters >= fixed.parameters
    assert open_asset(graph.path).metadata["slide_deploy.precision"] == "float32"


@pytest.mark.parametrize("count", [1, 3])
def test_the_outputs_of_the_runtime_match_the_network(count: int) -> None:
    session = TARGET.open(valid_asset(open_batch=count > 1), Configuration(), untimed)
    answer = session({"image": images(count)})["logits"]
    wanted = trained(images(count))
    assert np.abs(answer - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_streams_keep_their_own_inputs() -> None:
    session = TARGET.open(valid_asset(), Configuration(), untimed)
    first, second = session.new_stream(), session.new_stream()
    one, other = images(), -images()
    first.bind({"image": one})
    second.bind({"image": other})
    one[:] = 0
    first.run()
    second.run()
    assert np.allclose(first.read()[0], trained(images()), atol=1e-4)
    assert np.allclose(second.read()[0], trained(-images()), atol=1e-4)
    first.run()
    assert np.allclose(first.read()[0], trained(images()), atol=1e-4)


def test_intermediates_have_the_names_and_shapes_of_the_graph() -> None:
    graph, values = read(valid_asset()), intermediates(valid_asset(), {"image": images()})
    assert len(values) > 50
    for name, value in values.items():
        assert graph.values[name].shape == value.shape, name
    (output,) = (node for node in graph.nodes if "logits" in node.outputs)
    assert np.allclose(values[output.inputs[0]], trained(images()), atol=1e-4)


def test_an_unsupported_configuration_is_one_sentence() -> None:
    session = TARGET.open(valid_asset(), Configuration(), untimed)
    with pytest.raises(InputError, match="could not run the file"):
        session({"image": images()[:, :, 1:]})
    for wrong in (Configuration(options={"a": "b"}), Configuration(precision="bfloat16")):
        with pytest.raises(InputError, match="coreai:cpu"):
            TARGET.open(valid_asset(), wrong, untimed)


def test_nothing_is_printed_and_no_files_are_left(
    capfd: pytest.CaptureFixture[str], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    TARGET.open(valid_asset(), Configuration(), untimed)({"image": images()})
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_its_speed_is_not_measured() -> None:
    assert not TARGET.is_timed
