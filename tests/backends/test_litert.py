"""LiteRT: what took which operators, open sizes, inner values, delegates, and silence."""

import ctypes.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from slide_deploy.backends.base import Configuration, Session, untimed
from slide_deploy.backends.litert import delegates
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.saved.tflite.model import opened
from slide_deploy.saved.tflite.schema import MISSING
from tests.backends.files import WEIGHTS, litert_file
from tests.backends.stand_ins import litert as stand_in
from tests.mutants.litert_damage import graph, in_model, nodes

X = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return litert_file(tmp_path, 2)


def session(name: str, path: Path, **settings) -> Session:
    return target_named(name).open(path, Configuration(**({"batch": None} | settings)), untimed)


def test_xnnpack_runs_every_operator_and_the_reference_target_does_not_use_it(path: Path) -> None:
    found = {name: session(name, path).facts for name in ("litert:cpu", "litert:reference")}
    assert (found["litert:cpu"]["partitions"], found["litert:cpu"]["not delegated"]) == (
        "1",
        "none",
    )
    assert found["litert:reference"]["partitions"] == "0"
    assert found["litert:reference"]["not delegated"] == "FULLY_CONNECTED 1"


@pytest.mark.parametrize("name", ["litert:cpu", "litert:reference"])
def test_an_open_batch_takes_any_number_of_rows(name: str, tmp_path: Path) -> None:
    opened_file = session(name, litert_file(tmp_path, None))
    assert opened_file.inputs[0].shape == (None, 4)
    for rows in (2, 5, 1):
        x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        np.testing.assert_allclose(opened_file({"x": x})["y"], np.maximum(x @ WEIGHTS, 0), 1e-5)


def test_streams_do_not_share_memory(path: Path) -> None:
    file = session("litert:cpu", path, streams=2)
    first, second = file.new_stream(), file.new_stream()
    first.bind({"x": X})
    second.bind({"x": -X})
    first.run()
    second.run()
    np.testing.assert_allclose(first.read()[0], np.maximum(X @ WEIGHTS, 0), 1e-5)
    np.testing.assert_allclose(second.read()[0], np.maximum(-X @ WEIGHTS, 0), 1e-5)


def test_intermediates_have_the_names_of_the_common_graph(path: Path) -> None:
    tell = target_named("litert:reference").intermediates
    assert tell is not None
    values = tell(path, {"x": X})
    assert set(values) == {"y"} <= set(opened(path).names[0])
    np.testing.assert_allclose(values["y"], np.maximum(X @ WEIGHTS, 0), 1e-5)


def test_another_shape_or_a_damaged_file_is_one_sentence(path: Path) -> None:
    with pytest.raises(InputError, match=r"litert could not run the file"):
        session("litert:cpu", path)({"x": X[:, :3]})
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"small\.tflite is damaged"):
        session("litert:cpu", path)
    path.write_bytes(whole)
    in_model(lambda model: setattr(nodes(model, "FULLY_CONNECTED")[0], "inputs", [0]))(path)
    with pytest.raises(InputError, match=r"small\.tflite does not load on LiteRT"):
        session("litert:cpu", path)


def test_an_output_without_a_tensor_is_refused(path: Path) -> None:
    in_model(lambda model: setattr(graph(model), "outputs", [MISSING]))(path)
    with pytest.raises(InputError, match="it has no tensor -1"):
        session("litert:cpu", path)


def test_nothing_is_printed(path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from slide_deploy.backends.base import untimed\n"
        "from slide_deploy.backends.base import Configuration\n"
        "from slide_deploy.backends.registry import target_named\n"
        "told = Path(sys.argv[1]), Configuration(batch=2), untimed\n"
        "target_named('litert:cpu').open(*told).new_stream()"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_delegate_is_reported_with_what_helps(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegates.ctypes.util, "find_library", lambda name: None)
    for name in ("litert:gpu", "litert:nnapi"):
        found = target_named(name).find()
        assert (found.present, "the system finds no lib" in found.detail) == (False, True)
        with pytest.raises(InputError, match=f"{name} cannot run here: .*with the option library"):
            session(name, path)


def test_nnapi_exists_on_android_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegates.sys, "platform", "darwin")
    assert target_named("litert:nnapi").find().detail == "needs android or linux"


@pytest.mark.parametrize("library", ["libnowhere.so", ctypes.util.find_library("m") or "libm.so.6"])
def test_a_library_that_is_no_delegate_is_refused(path: Path, library: str) -> None:
    with pytest.raises(InputError, match=rf"litert:gpu cannot use {library} \(.*\): name another"):
        session("litert:gpu", path, options={"library": library})


def test_a_delegate_gets_its_own_options(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = stand_in.install(monkeypatch, "litert:gpu")
    options = {"library": "libmine.so", "delegate.precision_loss_allowed": "1"}
    facts = session("litert:gpu", path, options=options).facts
    assert behaviour.loaded == [("libmine.so", {"precision_loss_allowed": "1"})]
    assert (facts["delegate"], facts["delegate.precision_loss_allowed"]) == ("libmine.so", "1")


def test_a_delegate_that_takes_nothing_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.install(monkeypatch, "litert:nnapi").takes_anything = False
    with pytest.raises(
        InputError, match=r"does not run on litert:nnapi: its delegate takes no operator"
    ):
        session("litert:nnapi", path)


def test_an_operator_without_an_input_that_it_needs_is_refused(path: Path) -> None:
    def without(index: int) -> Callable[[Any], object]:
        def edit(model: Any) -> None:
            [product] = nodes(model, "FULLY_CONNECTED")
            product.inputs = [*product.inputs, MISSING][:3]
            product.inputs[index] = MISSING

        return edit

    in_model(without(2))(path)  # its bias
    np.testing.assert_allclose(
        session("litert:cpu", path)({"x": X})["y"], np.maximum(X @ WEIGHTS, 0), 1e-5
    )
    in_model(without(1))(path)
    with pytest.raises(InputError, match="operator 0, FULLY_CONNECTED, has no input 1"):
        session("litert:cpu", path)
