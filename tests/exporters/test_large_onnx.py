"""Weights that one ONNX file cannot hold go to a second file, which every command knows."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import nn

from exporters import jobs
from exporters.base import exporter_for
from exporters.outcome import ExportOptions, ExportResult
from exporters.pipeline import export
from slide_deploy.backends import open_file, values_of
from slide_deploy.backends.onnxruntime.half_arithmetic import file_in_float32
from slide_deploy.backends.onnxruntime.large_models import openable
from slide_deploy.backends.opening import open_exactly
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.files.companions import files_of
from slide_deploy.files.hashing import sha256
from slide_deploy.lowerings import lower
from tests.large_onnx import lowered, outside
from tests.onnx_network.optimisers import with_constant_nodes
from tests.support import Golden, image_network, randomise
from tests.written_elsewhere import Branched

Run = Callable[..., tuple[int, str, str]]

PAIR = ["test.onnx", "test.onnx.data"]
REFERENCE = "test.onnx.reference.safetensors"


@pytest.fixture
def small_limit() -> Iterator[None]:
    with lowered():
        yield


@pytest.fixture(scope="module")
def network() -> Deployable:
    """The network "test", with a slide attention and a Linear of 64 kB."""
    model = Branched()
    model.head = nn.Sequential(nn.Linear(8, 128), nn.GELU(), nn.Linear(128, 128))
    return image_network(randomise(model), (3, 16, 16))


def exported(network: Deployable, out: Path, **options: object) -> ExportResult:
    return export(network, ExportOptions(("onnx",), out, **options))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def noise(size: int) -> np.ndarray:
    """Forty pictures."""
    return np.random.default_rng(0).standard_normal((40, 3, size, size), np.float32)


def outputs(path: Path) -> np.ndarray:
    (found,) = open_file(path)({"image": noise(16)[:1]}).values()
    return found


def test_large_weights_have_a_file_of_their_own(
    network: Deployable, tmp_path: Path, small_limit: None
) -> None:
    result = exported(network, tmp_path)
    (file,) = result.files
    assert file.passed and [each.name for each in file.paths] == PAIR
    assert names(tmp_path) == ["manifest.json", *PAIR, REFERENCE]
    assert "test.onnx.data holds the weights of test.onnx: keep the two" in str(result)
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert entry["sha256"] == {name: sha256(tmp_path / name) for name in PAIR}
    assert entry["bytes"] == sum((tmp_path / name).stat().st_size for name in PAIR)
    assert len(outside(tmp_path / "test.onnx")) > 3
    assert (tmp_path / "test.onnx").stat().st_mode == (tmp_path / "test.onnx.data").stat().st_mode
    assert list(files_of(tmp_path / "test.onnx")) == PAIR


@pytest.mark.slow
def test_both_files_are_the_same_each_time_and_compute_what_one_file_does(
    network: Deployable, tmp_path: Path
) -> None:
    exported(network, tmp_path / "whole")
    with lowered():
        for folder in ("one", "two"):
            exported(network, tmp_path / folder)
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    whole, apart = (tmp_path / folder / "test.onnx" for folder in ("whole", "one"))
    assert np.array_equal(outputs(whole), outputs(apart))
    with lowered():
        inside = [values_of(path, {"image": noise(16)[:1]}) for path in (whole, apart)]
    assert len(inside[0]) > 20 and inside[0].keys() == inside[1].keys()
    assert all(np.array_equal(value, inside[1][name]) for name, value in inside[0].items())
    assert not outside(whole) and len(outside(apart)) > 3


@pytest.mark.slow
def test_the_second_file_goes_when_a_new_export_needs_none(
    network: Deployable, tmp_path: Path
) -> None:
    exported(network, tmp_path / "apart")
    with lowered():
        exported(network, tmp_path / "out")
    exported(network, tmp_path / "out", force=True)
    assert names(tmp_path / "out") == ["manifest.json", "test.onnx", REFERENCE]
    for name in names(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "apart" / name).read_bytes()


def test_an_old_pair_is_replaced_with_force_alone(
    network: Deployable, tmp_path: Path, small_limit: None
) -> None:
    (tmp_path / PAIR[1]).write_text("precious")
    with pytest.raises(InputError, match=r"test\.onnx\.data exists: give --force"):
        exported(network, tmp_path)
    assert names(tmp_path) == [PAIR[1]] and (tmp_path / PAIR[1]).read_text() == "precious"
    assert exported(network, tmp_path, force=True).passed
    assert names(tmp_path) == ["manifest.json", *PAIR, REFERENCE]


def test_a_file_that_disagrees_leaves_neither(
    network: Deployable, tmp_path: Path, small_limit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(network, tmp_path)

    def damaged(*arguments: object, **options: object) -> nn.Module:
        model = lower(*arguments, **options)
        model.head[2].bias.data.add_(1)
        return model

    monkeypatch.setattr(jobs, "lower", damaged)
    result = exported(network, tmp_path, force=True)
    assert not result.passed and result.files[0].paths == ()
    assert "holds the weights" not in str(result)
    assert names(tmp_path) == ["manifest.json"]


def both(network: Deployable, folder: Path, limit: int, **options: object) -> tuple[Path, Path]:
    """The model file of a network as one file, and with another limit."""
    options |= {"keep_failed": True}  # networks with random weights lose much to 8 bits
    exported(network, folder / "whole", **options)
    with lowered(limit):
        exported(network, folder / "apart", **options)
    name = f"{network.origin.stem}.onnx"
    return folder / "whole" / name, folder / "apart" / name


def test_float16_is_made_of_a_large_file_and_run_as_one(
    network: Deployable, tmp_path: Path
) -> None:
    """In float32, the numbers of a float16 file take twice the bytes."""
    whole, apart = both(network, tmp_path, 1000, precision="float16")
    assert len(outside(apart)) > 2
    image = noise(16)[:1]
    with lowered():
        # As it is, with the rounding to float16 written out, and in float32 as a reference.
        for runtime in (open_file, partial(open_file, precision="float16"), open_exactly):
            one, other = (runtime(path)({"image": image}) for path in (whole, apart))
            assert np.array_equal(one["logits"], other["logits"])
        one, other = (values_of(path, {"image": image}) for path in (whole, apart))
    assert len(one) > 20 and one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_float16_weights_in_nodes_are_widened_into_a_second_file(
    network: Deployable, tmp_path: Path
) -> None:
    """The weights take 35 kB in float16 and 70 kB in float32."""
    exported(network, tmp_path, precision="float16")
    nodes = tmp_path / "nodes.onnx"
    with_constant_nodes(tmp_path / "test.onnx", nodes)
    data = tmp_path / "data.onnx"
    onnx.save(onnx.load(nodes), data, save_as_external_data=True, convert_attribute=True)
    image = {"image": noise(16)[:1]}
    runs = (open_exactly(nodes), partial(values_of, nodes), open_file(nodes, precision="float16"))
    expected = [run(image) for run in runs]
    for path, limit in ((nodes, 50_000), (data, 1000)):
        with lowered(limit):
            model = file_in_float32(path)
            with openable(model, path.parent, onnxruntime.SessionOptions()) as content:
                assert isinstance(content, Path) and len(outside(content)) > 2
                assert content.stat().st_size < 50_000
            found = (
                open_exactly(path)(image),
                values_of(path, image),
                open_file(path, precision="float16")(image),
            )
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in other)


def test_only_the_weights_apart_may_be_missing(tmp_path: Path) -> None:
    written = {name: exporter_for(name).written(tmp_path / "a") for name in ("onnx", "openvino")}
    assert [path.name for path in written["onnx"]] == ["a.onnx"]
    assert [path.name for path in written["openvino"]] == ["a.xml", "a.bin"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "limit"),
    [
        pytest.param("float16", 250_000, marks=pytest.mark.full),
        pytest.param("int8-weights", 1000, marks=pytest.mark.full),
        ("int8", 1000),
    ],
)
def test_every_precision_is_made_of_a_large_file(
    nano: Golden, tmp_path: Path, precision: str, limit: int
) -> None:
    """The float32 file has 381 kB of weights, so that 250 kB hold those of float16 alone."""
    np.savez(tmp_path / "examples.npz", image=noise(64))
    options = {"calibration": tmp_path / "examples.npz"} if precision == "int8" else {}
    network = deployable_checkpoint(nano.load())
    whole, apart = both(network, tmp_path, limit, precision=precision, **options)
    is_pair = limit == 1000
    assert apart.with_name(f"{apart.name}.data").exists() == is_pair
    assert len(outside(apart)) > 10 if is_pair else sha256(whole) == sha256(apart)
    image = noise(64)[:1]
    one, other = (open_file(path)({"image": image})["logits"] for path in (whole, apart))
    assert np.array_equal(one, other)
