"""Convolutions, matmuls and shapes of the common graph agree with torch and numpy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slide_deploy.graph_checks import Graph
from slide_deploy.graph_checks.convolutions import Convolution, convolution
from slide_deploy.graph_checks.graph import Attribute, Constant, Node, Value
from slide_deploy.graph_checks.inspect import depth, inspect
from slide_deploy.graph_checks.matmuls import broadcast, matmul
from slide_deploy.graph_checks.readers import mlpackage_dialect, onnx_dialect, openvino_dialect
from slide_deploy.graph_checks.shapes import at_batch_one
from slide_deploy.graph_checks.stored_weights import bits_as_weight

DIALECTS = {
    "onnx": onnx_dialect.DIALECT,
    "openvino": openvino_dialect.DIALECT,
    "coreml": mlpackage_dialect.DIALECT,
}


def constant(name: str, *shape: int, dtype: str = "float32") -> Constant:
    array = np.zeros(shape, dtype)
    return Constant(name, dtype, shape, array.nbytes, name, lambda: array.view(np.uint8).ravel())


def graph(format: str, *nodes: Node, **shapes: tuple[int | str | None, ...]) -> Graph:
    """A graph of these nodes; an upper-case name is a constant, ``x`` the input."""
    values = {name: Value(name, "float32", shape) for name, shape in shapes.items()}
    return Graph(
        dialect=DIALECTS[format],
        path=Path("graph"),
        files=(),
        ir_version=10,
        opsets={},
        inputs=(values["x"],),
        outputs=(),
        nodes=nodes,
        constants={
            name: constant(name, *(size for size in value.shape or () if isinstance(size, int)))
            for name, value in values.items()
            if name.isupper()
        },
        values=values,
        metadata={},
    )


def understood(
    format: str, operator: str, weight: tuple[int, ...], **attributes: Attribute
) -> Convolution:
    node = Node("conv", operator, "", ("x", "W"), ("y",), attributes)
    found = convolution(graph(format, node, x=(1, 6, 9, 8), W=weight), node)
    assert found is not None
    return found


def test_a_convolution_is_the_same_in_every_format() -> None:
    steps = {"strides": (2, 1), "dilations": (1, 1)}
    found = (
        understood("onnx", "Conv", (18, 1, 3, 3), group=6, pads=(1, 0, 2, 1), **steps),
        understood(
            "openvino",
            "GroupConvolution",
            (6, 3, 1, 3, 3),
            pads_begin=(1, 0),
            pads_end=(2, 1),
            **steps,
        ),
        understood(
            "coreml", "conv", (18, 1, 3, 3), groups=6, pad_type="custom", pad=(1, 2, 0, 1), **steps
        ),
    )
    for held in found:
        assert (held.groups, held.outputs_per_group, held.kernel, held.taps) == (6, 3, (3, 3), 9)
        assert held.pads == ((1, 2), (0, 1))
        assert held.spatial((9, 8)) == (5, 7)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_sizes_of_a_convolution_are_those_of_torch(
    stride: int, dilation: int, padding: int
) -> None:
    found = understood(
        "onnx",
        "Conv",
        (4, 6, 3, 3),
        strides=(stride,) * 2,
        dilations=(dilation,) * 2,
        pads=(padding,) * 4,
    )
    image, weight = torch.zeros(1, 6, 9, 8), torch.zeros(4, 6, 3, 3)
    expected = torch.conv2d(image, weight, None, stride, padding, dilation).shape
    assert found.spatial((9, 8)) == tuple(expected[2:])


@pytest.mark.parametrize(
    ("format", "operator", "attributes"),
    [
        ("onnx", "Conv", {"auto_pad": "SAME_UPPER"}),
        ("openvino", "Convolution", {"auto_pad": "same_upper"}),
        ("coreml", "conv", {"pad_type": "same"}),
    ],
)
def test_padding_by_name_keeps_the_size(
    format: str, operator: str, attributes: dict[str, Attribute]
) -> None:
    found = understood(format, operator, (4, 6, 4, 3), **attributes)
    assert found.pads == ((1, 2), (1, 1))
    assert found.spatial((9, 8)) == (9, 8)
    strided = understood(format, operator, (4, 6, 4, 3), strides=(2, 2), **attributes)
    assert strided.pads is None
    assert strided.spatial((9, 8)) == (5, 4)


@pytest.mark.parametrize(
    "attributes",
    [{"group": 0}, {"group": 5}, {"strides": (0, 1)}, {"strides": (1,)}, {"pads": (1, 1)}],
)
def test_an_invalid_convolution_is_none(attributes: dict[str, Attribute]) -> None:
    node = Node("conv", "Conv", "", ("x", "W"), ("y",), attributes)
    assert convolution(graph("onnx", node, x=(1, 6, 9, 8), W=(18, 1, 3, 3)), node) is None


@pytest.mark.parametrize(
    ("format", "operator", "attributes", "left", "right"),
    [
        ("onnx", "MatMul", {}, (2, 1, 4, 3), (5, 3, 6)),
        ("onnx", "Gemm", {"transA": 1, "transB": 1}, (3, 4), (6, 3)),
        ("openvino", "MatMul", {"transpose_a": True, "transpose_b": False}, (2, 3, 4), (3, 6)),
        ("coreml", "matmul", {"transpose_y": True}, (2, 4, 3), (2, 6, 3)),
        ("coreml", "linear", {}, (2, 4, 3), (6, 3)),
    ],
)
def test_matmuls_sum_over_the_common_axis(
    format: str,
    operator: str,
    attributes: dict[str, Attribute],
    left: tuple[int, ...],
    right: tuple[int, ...],
) -> None:
    node = Node("product", operator, "", ("x", "W"), ("y",), attributes)
    found = matmul(graph(format, node, x=left, W=right), node, left, right)
    assert found == ((*np.broadcast_shapes(left[:-2], right[:-2]), 4, 6), 3)


def test_matmuls_that_do_not_fit_are_none() -> None:
    node = Node("product", "MatMul", "", ("x", "W"), ("y",))
    assert matmul(graph("onnx", node, x=(2, 3)), node, (2, 3), (4, 5)) is None


@pytest.mark.parametrize("shapes", [((2, 1, 3), (4, 1)), ((), (2, 3)), ((1,), (1, 1)), ((0, 1),)])
def test_broadcasting_is_numpys(shapes: tuple[tuple[int, ...], ...]) -> None:
    assert broadcast(shapes) == np.broadcast_shapes(*shapes)
    assert broadcast(((2, 3), (2, 4))) is None


def test_an_open_batch_is_resolved_through_the_graph() -> None:
    nodes = (
        Node("turn", "transpose", "mil", ("x",), ("a",), {"perm": (0, 2, 1)}),
        Node("cut", "reshape", "mil", ("a",), ("b",), {"shape": (-1, 4, 5)}),
        Node("weigh", "linear", "mil", ("b", "W"), ("c",)),
        Node("halve", "split", "mil", ("c",), ("d", "e"), {"axis": 2}),
    )
    found = at_batch_one(
        graph(
            "coreml",
            *nodes,
            x=(None, 5, 8),
            W=(6, 5),
            a=(None, 8, 5),
            b=(None, 4, 5),
            c=(None, 4, 6),
            d=(None, 4, 3),
            e=(None, 4, 3),
        )
    )
    assert found["a"] == (1, 8, 5)
    assert found["b"] == (2, 4, 5)  # the batch has merged with something
    assert found["c"] == (2, 4, 6)
    assert found["d"] == found["e"] == (2, 4, 3)


def test_depth_is_the_longest_path_even_with_a_cycle() -> None:
    line = [
        Node(f"n{index}", "Relu", "", (source,), (f"n{index}",))
        for index, source in enumerate(("x", "n0", "n1"))
    ]
    short_cut = Node("sum", "Add", "", ("n2", "x"), ("y",))
    assert depth(graph("onnx", *line, short_cut, x=(1,))) == 4
    circle = (
        Node("a", "Add", "", ("x", "q"), ("p",)),
        Node("b", "Relu", "", ("p",), ("q",)),
    )
    assert depth(graph("onnx", *circle, x=(1,))) == 0


def test_operators_that_cannot_be_counted_are_named() -> None:
    node = Node("product", "MatMul", "", ("x", "W"), ("y",))
    inspection = inspect(graph("onnx", node, x=("batch", "length", 3), W=(3, 4)))
    assert (inspection.macs, inspection.counted_macs) == (None, 0)
    assert inspection.uncounted == ("product",)
    assert (inspection.largest, inspection.unsized) == (None, ("y",))


def test_an_incomplete_figure_is_unknown_and_its_known_part_is_kept() -> None:
    nodes = (
        Node("open", "MatMul", "", ("x", "W"), ("y",)),
        Node("known", "MatMul", "", ("Z", "W"), ("t",)),
    )
    shapes = {"x": ("batch", "length", 3), "Z": (5, 3), "t": (5, 4), "W": (3, 4)}
    inspection = inspect(graph("onnx", *nodes, **shapes))
    assert (inspection.macs, inspection.counted_macs) == (None, 5 * 3 * 4)
    assert inspection.largest is None
    assert inspection.largest_known is not None
    assert inspection.largest_known.shape == (5, 4)


def test_the_same_bytes_as_two_types_are_two_constants() -> None:
    """Otherwise an alias in another type would hide a weight from the rules and the counts."""
    whole = graph("onnx", x=(1,), W=(3, 4))
    weight = whole.constants["W"]
    others = {"TWIN": weight, "ALIAS": replace(constant("ALIAS", 3, 4, dtype="int32"), source="W")}
    aliased = replace(whole, constants={"W": weight, **others})
    assert [each.dtype for each in aliased.stored] == ["float32", "int32"]
    assert inspect(aliased).parameters == 12


def test_a_bool_is_no_narrow_weight() -> None:
    assert [bits_as_weight(each) for each in ("bool", "int8", "uint4", "float16")] == [32, 8, 4, 16]
