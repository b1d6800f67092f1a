"""A negative size is an open one, as runtimes take it; given sizes settle what is open."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.record import Configuration
from slide_deploy.backends import open_file, open_image_file
from slide_deploy.backends.base import untimed
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file, inspect, read_graph, read_sized
from tests.backends.files import bound
from tests.support import answers

Sizes = Sequence[int | str | None]
GIVEN = {"image": (1, 3, 8, 12)}


def network(path: Path, sizes: Sizes, *, inner: bool = True) -> Path:
    """Convolution, pooling, convolution, concatenation, mean and product; no size is a constant."""

    def value(name: str, shape: Sizes) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    draw = np.random.default_rng(0).standard_normal
    weights = {"w": (4, 3, 3, 3), "v": (6, 4, 1, 1), "m": (10, 2)}
    batch = sizes[0]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], "first", pads=[1] * 4),
        helper.make_node("MaxPool", ["a"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "v"], ["c"], "second"),
        helper.make_node("Concat", ["p", "c"], ["t"], "concat", axis=1),
        helper.make_node("ReduceMean", ["t"], ["r"], "mean", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["r", "m"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", sizes)],
        [value("logits", (batch, 2))],
        [
            numpy_helper.from_array(draw(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
        value_info=[value("a", (batch, 4, *sizes[2:]))] if inner else [],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


# At 8x12: 4 of 3 channels with 9 taps, 6 of 4 channels on half the sides, 2 of 10.
MACS = 8 * 12 * 4 * 3 * 9 + 4 * 6 * 6 * 4 + 10 * 2


@pytest.mark.parametrize("size", [-1, -7])
def test_a_negative_size_is_open_without_a_name(tmp_path: Path, size: int) -> None:
    negative = read_graph(network(tmp_path / "n.onnx", (size, 3, size, size)))
    unnamed = read_graph(network(tmp_path / "u.onnx", (None, 3, None, None)))
    assert negative.values == unnamed.values
    assert negative.inputs[0].shape == (None, 3, None, None)
    assert negative.outputs[0].shape == (None, 2)
    # The same rules speak.
    said = [
        [asdict(each) for each in check_file(tmp_path / name).violations]
        for name in ("n.onnx", "u.onnx")
    ]
    assert said[0] == said[1]


def test_a_negative_size_in_the_body_of_an_operator_is_open(tmp_path: Path) -> None:
    inner = helper.make_tensor_value_info("y", TensorProto.FLOAT, (-1, 3))
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "body", [], [inner])
    twice = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    outer = helper.make_graph(
        [twice],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (-1, 3)),
            helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, (-1, 3))],
    )
    onnx.save(helper.make_model(outer, ir_version=9), tmp_path / "if.onnx")
    assert read_graph(tmp_path / "if.onnx").outputs[0].shape == (None, 3)


def test_runtimes_also_treat_a_negative_size_as_open(tmp_path: Path) -> None:
    path = network(tmp_path / "n.onnx", (-1, 3, -1, -1))
    assert open_file(path).inputs[0].shape == (None, 3, None, None)
    (logits,) = answers(path, np.zeros((5, 3, 8, 12), np.float32)).values()
    assert logits.shape == (5, 2)
    for target in ("onnxruntime:cpu", "openvino:cpu"):
        open_on = target_named(target).open
        configuration = Configuration(threads=1, batch=2)
        with pytest.raises(InputError, match="give --shape image=2x3x224x224"):
            open_on(path, configuration, untimed)
        given = replace(configuration, shapes={"image": (2, 3, 8, 12)})
        opened = open_on(path, given, untimed)
        assert opened.inputs[0].shape == (2, 3, 8, 12)
        bound(opened).run()


@pytest.mark.parametrize(
    "sizes", [(-1, 3, 8, 12), ("batch", 3, 8, 12), (None, 3, 8, 12), (1, 3, 8, 12)]
)
def test_costs_of_an_open_batch_are_those_of_one_image(tmp_path: Path, sizes: Sizes) -> None:
    found = inspect(read_sized(network(tmp_path / "b.onnx", sizes), {}))
    assert found.macs == MACS
    assert found.largest is not None
    assert (found.largest.name, found.largest.shape) == ("a", (1, 4, 8, 12))


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize(
    "sizes", [(-1, 3, -1, -1), ("n", 3, "h", "w"), (None, 3, None, None), (1, 3, -1, 12)]
)
def test_given_sizes_determine_every_figure(tmp_path: Path, sizes: Sizes, inner: bool) -> None:
    path = network(tmp_path / "o.onnx", sizes, inner=inner)
    whole = inspect(read_sized(path, GIVEN))
    fixed = inspect(read_graph(network(tmp_path / "f.onnx", GIVEN["image"])))
    assert replace(whole, file_bytes=0) == replace(fixed, file_bytes=0)
    assert whole.macs == MACS
    batch = inspect(read_sized(path, {"image": (1, 3, 16, 12)}))
    assert batch.largest is not None
    assert batch.largest.shape == (1, 4, 16, 12)


def test_sizes_that_do_not_fit_the_file_are_refused(tmp_path: Path) -> None:
    path = network(tmp_path / "o.onnx", (-1, 3, -1, 12))
    for given, said in (
        ({"picture": (1, 3, 8, 12)}, "has no input picture: name one of image"),
        ({"image": (1, 4, 8, 12)}, r"takes image as \?x3x\?x12, not 1x4x8x12: change --shape"),
        ({"image": (3, 8, 12)}, "not 3x8x12"),
        ({"image": (1, 3, 0, 12)}, "not 1x3x0x12"),
    ):
        with pytest.raises(InputError, match=said):
            read_sized(path, given)


def test_given_sizes_determine_what_can_be_inferred_in_an_ir_file(tmp_path: Path) -> None:
    import openvino

    path = network(tmp_path / "o.onnx", (-1, 3, -1, -1))
    openvino.save_model(openvino.convert_model(path), tmp_path / "o.xml", compress_to_fp16=False)
    without = inspect(read_sized(tmp_path / "o.xml", {}))
    assert (without.macs, without.largest) == (None, None)
    found = inspect(read_sized(tmp_path / "o.xml", GIVEN))
    assert found.counted_macs >= 8 * 12 * 4 * 3 * 9
    assert found.largest_known is not None
    assert found.largest_known.shape == (1, 4, 8, 12)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "slide_deploy", "inspect", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_prints_unknown_and_asks_for_a_shape(tmp_path: Path) -> None:
    path = network(tmp_path / "o.onnx", (-1, 3, -1, -1))
    (line,) = (each for each in command(path).stdout.splitlines() if "multiply-acc" in each)
    assert "unknown" in line
    assert "at least 20; 2 operators" in line
    assert "give --shape NAME=1x3x224x224" in command(path).stdout
    assert json.loads(command(path, "--json", "-").stdout)["macs"] is None
    out = command(path, "--shape", "image=1x3x8x12").stdout
    assert f"{MACS:,}" in out
    assert "at image=1x3x8x12" in out
    assert "note" not in out
    refused = command(path, "--shape", "image=8")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "change --shape image" in refused.stderr


@pytest.mark.parametrize("dims", [[-1, 3, 3, 3], [4, -1, 3, 3]])
def test_a_negative_size_of_a_weight_is_damage(tmp_path: Path, dims: list[int]) -> None:
    path = network(tmp_path / "w.onnx", (1, 3, 8, 12))
    model = onnx.load(path)
    model.graph.initializer[0].dims[:] = dims
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="is damaged: w has the absurd shape"):
        read_graph(path)


def test_a_size_of_zero_stays_fixed(tmp_path: Path) -> None:
    path = network(tmp_path / "z.onnx", (1, 3, 0, 12))
    assert read_graph(path).inputs[0].shape == (1, 3, 0, 12)
    with pytest.raises(InputError, match="takes an input of 1x3x0x12, no image"):
        open_image_file(path)
