"""LiteRT's files as the common graph: layouts, names, attributes, and bytes that contradict."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file, inspect, read_graph, read_sized
from slide_deploy.graph_checks.convolutions import convolutions
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.normalisations import normalisations
from slide_deploy.saved import flatbuffer
from slide_deploy.saved.tflite.schema import OPERATORS
from tests.graph_checks.small_models import declared_request, exported_litert, smallest
from tests.mutants.litert_damage import Edit, added_tensor, graph, in_model, nodes
from tests.support import copied


@pytest.fixture(scope="module")
def file() -> Path:
    return exported_litert()


@pytest.fixture(scope="module")
def read(file: Path) -> Graph:
    return read_graph(file)


@pytest.fixture
def edited(file: Path, tmp_path: Path) -> Callable[[Edit], Path]:
    """A copy whose model was changed."""

    def edit(change: Edit) -> Path:
        path = copied(file, tmp_path)
        in_model(change)(path)
        return path

    return edit


def refused(path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_graph(path)
    assert str(caught.value).startswith(f"{path} is damaged")


def test_inputs_and_outputs_have_the_names_that_the_network_calls_them(read: Graph) -> None:
    assert [(value.name, value.shape) for value in read.inputs] == [("image", (1, 3, 16, 16))]
    assert [value.name for value in read.outputs] == ["logits"]
    assert read.metadata["slide_deploy.precision"] == "float32"


def test_a_file_passes_the_policy(file: Path) -> None:
    assert check_file(file).violations == ()


def test_it_counts_what_the_program_computes(read: Graph) -> None:
    """Products by the program's own shapes; flat writes a convolution as a product."""
    program = declared_request(smallest(), (3, 16, 16), format="litert").single
    wanted = 0
    for node in program.graph.nodes:
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        if name in ("conv2d", "linear", "matmul"):
            result, weight = node.meta["val"], node.args[1].meta["val"]
            taps = weight.shape[-2] if name == "matmul" else weight[0].numel()
            wanted += result.numel() * taps
        assert name not in ("bmm", "addmm", "scaled_dot_product_attention", "einsum")
    assert inspect(read).macs == wanted


def test_depthwise_weights_are_read_as_groups(read: Graph) -> None:
    grouped = [each for each in convolutions(read) if each.groups > 1]
    assert grouped
    for each in grouped:
        assert each.node.operator in ("DEPTHWISE_CONV_2D", "CONV_2D")
        channels = (read.shape(each.node.inputs[0]) or ())[-1]
        assert each.groups * each.inputs_per_group == channels
        assert each.outputs == (read.shape(each.node.outputs[0]) or ())[-1]


def test_a_convolution_has_steps_padding_and_kernel_in_the_common_order(read: Graph) -> None:
    patches = next(each for each in convolutions(read) if each.strides == (4, 4))
    assert (patches.kernel, patches.inputs_per_group, patches.groups) == ((4, 4), 3, 1)
    assert patches.pads == ((0, 0), (0, 0))
    assert patches.spatial((16, 16)) == (4, 4)


def test_normalisations_are_found_where_they_are_written_out(read: Graph) -> None:
    found = [each.epsilon for each in normalisations(read)]
    assert len(found) == 7
    np.testing.assert_allclose(found, 1e-5)


def test_every_weight_is_stored_once_and_aligned(file: Path, read: Graph) -> None:
    sources = {each.source: each.digest for each in read.constants.values()}
    assert len(set(sources.values())) == len(sources)
    assert all(int(source.split(":")[0]) % 16 == 0 for source in sources)


def test_sizes_that_are_open_are_read_and_set(edited: Callable[[Edit], Path]) -> None:
    def open_batch(model: Any) -> None:
        image = graph(model).tensors[graph(model).inputs[0]]
        image.shapeSignature = np.array([-1, 3, 16, 16], np.int32)

    path = edited(open_batch)
    assert read_graph(path).inputs[0].shape == (None, 3, 16, 16)
    assert read_sized(path, {"image": (2, 3, 16, 16)}).inputs[0].shape == (2, 3, 16, 16)


def test_tensors_of_one_name_get_unique_names(edited: Callable[[Edit], Path]) -> None:
    def rename(model: Any) -> None:
        for tensor in graph(model).tensors:
            tensor.name = b"image"

    found = read_graph(edited(rename))
    assert [value.name for value in found.inputs] == ["image"]
    assert len(found.values) + len(found.constants) > 100


def test_a_kind_of_operator_from_the_future_has_its_number(edited: Callable[[Edit], Path]) -> None:
    def future(model: Any) -> None:
        code = model.operatorCodes[nodes(model, "GELU")[0].opcodeIndex]
        code.builtinCode = len(OPERATORS) + 3

    operators = {node.operator for node in read_graph(edited(future)).nodes}
    assert f"OPERATOR_{len(OPERATORS) + 3}" in operators


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: graph(model).tensors[3].__setattr__("buffer", 10**6), "no buffer 1000000"),
        (lambda model: setattr(model, "subgraphs", []), "holds no network"),
        (lambda model: graph(model).__setattr__("inputs", np.array([-3])), "no tensor -3"),
        (lambda model: nodes(model, "GELU")[0].__setattr__("opcodeIndex", 99), "operator code 99"),
        (lambda model: added_tensor(model, "x", [2**20] * 3, 0, np.ones(3)), "absurd shape"),
        (lambda model: model.metadata[0].__setattr__("buffer", 10**6), "no buffer 1000000"),
    ],
)
def test_numbers_that_lead_nowhere(
    edited: Callable[[Edit], Path], change: Edit, reason: str
) -> None:
    refused(edited(change), reason)


def test_bytes_that_are_no_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    for content in (b"", b"TFL3", b"this is not a model\n" * 100):
        path.write_bytes(content)
        refused(path, "does not begin")
    path.write_bytes(b"\xff\xff\xff\xffTFL3")
    refused(path, "points to byte 4294967299")


def test_one_table_named_a_million_times(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file that says the same again and again costs no more than a large one."""
    monkeypatch.setattr(flatbuffer, "MAX_ITEMS", 5_000)
    path = copied(file, tmp_path)
    refused(path, "longer lists than any network")


def test_weights_that_nothing_reads_are_left_over(file: Path, tmp_path: Path) -> None:
    path = copied(file, tmp_path)
    path.write_bytes(path.read_bytes() + bytes(range(200)))
    (found,) = read_graph(path).left_over
    assert found.size == 200
