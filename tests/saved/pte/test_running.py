"""Files of ExecuTorch on their own runtime: proved, timed, and refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from exporters.outcome import ExportOptions
from exporters.pipeline import export
from slide_deploy.backends.base import Configuration, untimed
from slide_deploy.backends.opening import open_file, target_for, values_of
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.formats import format_named, refuse_delegate
from slide_deploy.graph_checks import read_graph
from slide_deploy.saved.pte.program import map_program
from tests.saved.pte.networks import SHAPE, small, written
from tests.support import image_network

XNNPACK = target_named("executorch:xnnpack")


@pytest.fixture(scope="module")
def path() -> Path:
    return written().paths["executorch"]


def image(batch: int = 1) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((batch, *SHAPE)).astype(np.float32)


def test_the_file_is_proved_by_its_own_runtime() -> None:
    result = written()
    (file,) = result.files
    assert result.passed
    assert file.verification.runtime == "executorch:xnnpack"
    assert file.verification.worst.max_relative < 1e-4
    assert file.reference is not None
    assert target_for(file.paths[0]).name == "executorch:xnnpack"


def test_a_call_does_not_spoil_the_next_one(path: Path) -> None:
    """The runtime computes other values where it planned the input."""
    stream = XNNPACK.open(path, Configuration(), untimed).new_stream()
    stream.bind({"image": image()})
    stream.run()
    (first,) = stream.read()
    stream.run()
    (second,) = stream.read()
    assert np.array_equal(first, second)
    stream.bind({"image": image() + 1})
    stream.run()
    assert not np.array_equal(first, stream.read()[0])


def test_two_streams_do_not_share_memory(path: Path) -> None:
    session = XNNPACK.open(path, Configuration(), untimed)
    one, other = session.new_stream(), session.new_stream()
    one.bind({"image": image()})
    one.run()
    (before,) = one.read()
    before = before.copy()
    other.bind({"image": image() * 2})
    other.run()
    assert np.array_equal(one.read()[0], before)


def test_facts_name_the_delegate_and_the_operators_left(path: Path) -> None:
    facts = XNNPACK.open(path, Configuration(), untimed).facts
    assert facts["delegate"] == "XnnpackBackend"
    assert facts["operators_not_delegated"] == "2"
    assert facts["threads"] == "1"


def test_unsupported_settings_are_refused(path: Path) -> None:
    session = XNNPACK.open(path, Configuration(), untimed)
    with pytest.raises(
        InputError, match=r"1 threads in this process, not 2: .* in another process"
    ):
        XNNPACK.open(path, Configuration(threads=2), untimed)
    with pytest.raises(InputError, match="one call at a time"):
        XNNPACK.open(path, Configuration(streams=2), untimed)
    with pytest.raises(InputError, match="could not run the file"):
        session({"image": np.zeros((1, 3, 9, 8), np.float32)})
    assert session({"image": image()})["logits"].shape == (1, 4)


def test_intermediates_match_the_values_of_the_graph(path: Path) -> None:
    values = values_of(path, {"image": image()})
    graph = read_graph(path)
    assert values.keys() <= graph.values.keys()
    assert len(values) > 5
    assert all(values[name].shape == graph.values[name].shape for name in values)
    answer = open_file(path)({"image": image()})["logits"]
    assert np.allclose(values["logits"], answer)


def test_a_delegate_of_another_format_is_refused() -> None:
    records = [format_named("onnx"), format_named("openvino")]
    with pytest.raises(InputError, match=r"--delegate coreml is for executorch: add it"):
        refuse_delegate(records, "coreml")
    refuse_delegate([*records, format_named("executorch")], "CoreML")
    with pytest.raises(InputError, match="no delegate qnn: choose one of xnnpack, coreml, vulkan"):
        refuse_delegate([format_named("executorch")], "qnn")


def test_a_file_that_cannot_be_proved_here_is_written_only_on_request(tmp_path: Path) -> None:
    options = ExportOptions(("executorch",), tmp_path, delegate="vulkan")
    with pytest.raises(
        InputError, match=r"executorch:vulkan is not available here .* give --unproven"
    ):
        export(image_network(small(), SHAPE), options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("delegate", ["coreml", "vulkan"])
def test_an_unproven_file_is_never_called_proved(delegate: str) -> None:
    result = written(delegate=delegate)
    (file,) = result.files
    assert file.paths[0].exists()
    assert not file.passed
    assert "unproven" in result.manifest.read_text()
    assert "unproven" in repr(result)
    assert "is unproven: executorch:" in result.problems[0]
    assert {each.severity for each in file.violations} == {"warning"}
    assert file.reference is not None
    assert read_graph(file.paths[0]).sealed
    with pytest.raises(InputError, match=r"was written for .*Backend, not for XnnpackBackend"):
        XNNPACK.open(file.paths[0], Configuration(), untimed)


@pytest.mark.slow
def test_an_open_batch_has_an_upper_bound() -> None:
    path = written(open_batch=True).paths["executorch"]
    method = map_program(path).methods["forward"]
    most = method.values[method.inputs[0]].sizes[0]
    assert most >= 15
    session = open_file(path)
    assert session.inputs[0].shape == (None, *SHAPE)
    for batch in (1, 3, most):
        assert session({"image": image(batch)})["logits"].shape == (batch, 4)
    with pytest.raises(InputError, match="could not run the file"):
        session({"image": image(most + 1)})


def test_other_open_sizes_are_refused(tmp_path: Path) -> None:
    from exporters.base import ExportRequest, Traces
    from exporters.executorch_exporter import refuse

    network = image_network(small(), SHAPE, open_batch=True)
    request = ExportRequest(Traces(network), {})
    refuse(request, "xnnpack")
    with pytest.raises(InputError, match="a fixed batch for vulkan: leave out --dynamic-batch"):
        refuse(request, "vulkan")
