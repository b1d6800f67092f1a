"""Files from strangers end in a sentence that names the file, never in a traceback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file, check_graph, read_graph, standard_ops
from slide_deploy.saved.pte import xnnpack
from tests.graph_checks.measure import command_line, on_linux
from tests.graph_checks.small_models import Files
from tests.mutants.editing import (
    Element,
    copied,
    edit_ir,
    edit_mlpackage,
    edit_onnx,
    layer,
    operation,
)


def refused(path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        check_file(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence


# Names.


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "absent.onnx", "does not exist")


def test_an_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    refused(tmp_path / "model.gguf", r"ends in one of \.onnx, \.xml, \.mlpackage, \.tflite")


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_folder_in_place_of_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.mkdir()
    refused(path, "is a folder: name the")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".mlpackage"])
def test_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.touch()
    with pytest.raises(InputError):
        check_file(path)


# ONNX: the protobuf.


def test_a_truncated_onnx_file(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["onnx"], tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    refused(path, "is damaged")


def test_text_in_place_of_onnx(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("this is not a model\n" * 100)
    refused(path, "damaged|no graph")


def varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes((*groups, number))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


GRAPH, NODE, ATTRIBUTE, SUBGRAPH, DIMS = 7, 1, 5, 6, 1


def test_millions_of_empty_nodes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(field(GRAPH, field(NODE, b"") * 1_100_000))
    refused(path, "more than 1,000,000 fields")


def test_more_operators_than_any_model_has(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(field(GRAPH, field(NODE, b"") * 200_000))
    refused(path, "more than 30,000 operators")


def test_millions_of_packed_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(field(GRAPH, field(5, field(DIMS, b"\1" * 3_000_000))))
    refused(path, "more than 1,000,000 fields")


def test_deeply_nested_graphs(tmp_path: Path) -> None:
    content = b""
    for _ in range(60):
        content = field(NODE, field(ATTRIBUTE, field(SUBGRAPH, content)))
    path = tmp_path / "model.onnx"
    path.write_bytes(field(GRAPH, content))
    refused(path, "nested deeper")


def test_megabytes_of_text(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(field(GRAPH, field(NODE, field(3, b"x" * (65 << 20)))))
    refused(path, "more than 64 MiB of text")


def test_a_length_that_reaches_beyond_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(varint(GRAPH << 3 | 2) + varint(1 << 40) + b"abc")
    refused(path, "longer than the file")


def test_a_number_without_end(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 100)
    refused(path, "no end")


def test_a_name_that_is_no_text(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["onnx"], tmp_path)
    content = path.read_bytes()
    assert content.count(b"node_gelu") >= 1
    path.write_bytes(content.replace(b"node_gelu", b"node_\xff\xfelu"))
    with pytest.raises(InputError, match="damaged"):
        check_file(path)


# ONNX: tensors.


@pytest.mark.parametrize("dims", [[2**40], [-1], [2**31, 2**31], [1] * 100])
def test_absurd_sizes_of_an_initialiser(exported: Files, tmp_path: Path, dims: list[int]) -> None:
    def enlarge(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = dims

    refused(edit_onnx(exported["onnx"], tmp_path, enlarge), "absurd shape")


@pytest.mark.parametrize("size", [2**40, 2**31])
def test_absurd_sizes_of_an_input(exported: Files, tmp_path: Path, size: int) -> None:
    def enlarge(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size

    refused(edit_onnx(exported["onnx"], tmp_path, enlarge), "absurd shape")


def test_an_initialiser_with_missing_bytes(exported: Files, tmp_path: Path) -> None:
    def shorten(model: onnx.ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        whole.append(len(tensor.raw_data))
        tensor.raw_data = tensor.raw_data[:-4]

    whole: list[int] = []
    path = edit_onnx(exported["onnx"], tmp_path, shorten)
    refused(path, f"needs {whole[0]} bytes and has {whole[0] - 4}")


def test_an_initialiser_of_an_unknown_type(exported: Files, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].data_type = 77

    refused(edit_onnx(exported["onnx"], tmp_path, change), "unknown type 77")


def test_two_initialisers_of_one_name(exported: Files, tmp_path: Path) -> None:
    def repeat(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(model.graph.initializer[0])

    refused(edit_onnx(exported["onnx"], tmp_path, repeat), "two initialisers")


def test_tensors_in_typed_fields_are_read_like_raw_ones(exported: Files, tmp_path: Path) -> None:
    def spell_out(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            values = array.ravel().tolist()
            tensor.CopyFrom(helper.make_tensor(tensor.name, tensor.data_type, array.shape, values))

    path = edit_onnx(exported["onnx"], tmp_path, spell_out)
    assert check_file(path).violations == ()
    ours, theirs = read_graph(path).constants, read_graph(exported["onnx"]).constants
    assert {name: held.digest for name, held in ours.items()} == {
        name: held.digest for name, held in theirs.items()
    }


# ONNX: external data.


def with_external_data(exported: Files, folder: Path, location: str = "weights.bin") -> Path:
    model = onnx.load(exported["onnx"])
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    path = folder / "model.onnx"
    onnx.save(model, path)
    if location != "weights.bin":
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(model.SerializeToString())
    return path


def test_external_data_beside_the_file_are_read(exported: Files, tmp_path: Path) -> None:
    path = with_external_data(exported, tmp_path)
    assert path.stat().st_size < 200_000
    assert check_file(path).violations == ()
    assert read_graph(path).files == (path, tmp_path / "weights.bin")


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../weights.bin", "../../../../etc/passwd", "C:\\data.bin", "..\\data.bin"],
)
def test_external_data_outside_the_folder(exported: Files, tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(b"secret")
    refused(with_external_data(exported, folder, location), "not inside the folder")


def test_external_data_behind_a_symbolic_link_out(exported: Files, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 20))
    path = with_external_data(exported, folder, "link.bin")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    refused(path, "not inside the folder")


@pytest.mark.parametrize("location", ["absent.bin", "", ".", "a\0b"])
def test_external_data_that_are_no_file(exported: Files, tmp_path: Path, location: str) -> None:
    refused(with_external_data(exported, tmp_path, location), "missing|not a file|cannot be found")


def test_external_data_that_are_too_short(exported: Files, tmp_path: Path) -> None:
    path = with_external_data(exported, tmp_path)
    os.truncate(tmp_path / "weights.bin", 1000)
    refused(path, "behind the end of weights.bin")


@pytest.mark.parametrize("offset", ["-8", "9" * 30, "many", ""])
def test_external_data_at_an_absurd_place(exported: Files, tmp_path: Path, offset: str) -> None:
    path = with_external_data(exported, tmp_path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[3].external_data:
        if entry.key == "offset":
            entry.value = offset
    path.write_bytes(model.SerializeToString())
    refused(path, "damaged")


def test_a_pipe_in_place_of_external_data(exported: Files, tmp_path: Path) -> None:
    path = with_external_data(exported, tmp_path, "pipe.bin")
    os.mkfifo(tmp_path / "pipe.bin")
    refused(path, "not a file")


# OpenVINO IR.

BOMB = """<?xml version="1.0"?>
<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<net version="11"><layers><layer id="0" name="&b;" type="Parameter"/></layers></net>"""

FOREIGN = """<?xml version="1.0"?>
<!DOCTYPE net [<!ENTITY secret SYSTEM "file:///etc/passwd">]>
<net version="11"><layers/><rt_info>&secret;</rt_info></net>"""


@pytest.mark.parametrize("text", [BOMB, FOREIGN])
def test_entities_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.xml"
    path.write_text(text)
    refused(path, "declares a document type")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<net version='11'><layers>", "not whole XML"),
        ("<html></html>", "outermost element is html, not net"),
        ("<net/>", "version of the net is empty"),
        ("<net version='11'>" + "<a>" * 100 + "</a>" * 100 + "</net>", "nests them more than 64"),
        ("<net version='11'>" + "<a/>" * 600_000 + "</net>", "more than 500,000 elements"),
        ("<net version='" + "9" * 5000 + "'/>", "version of the net is 999"),
    ],
)
def test_xml_that_is_no_model(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "model.xml"
    path.write_text(text)
    refused(path, reason)


@pytest.mark.slow
def test_an_endless_xml_file(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    with path.open("wb") as stream:
        stream.write(b"<net version='11'><!-- ")
        stream.write(b" " * (70 << 20))
    refused(path, "more than 6. MiB")


def test_an_ir_file_without_its_weights(exported: Files, tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    shutil.copy(exported["openvino"], path)
    refused(path, "data file .model.bin. is missing")


def test_ir_weights_behind_a_symbolic_link_out(exported: Files, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "model.xml"
    shutil.copy(exported["openvino"], path)
    path.with_suffix(".bin").symlink_to(exported["openvino"].with_suffix(".bin"))
    refused(path, "not inside the folder")


def test_ir_weights_that_are_too_short(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["openvino"], tmp_path)
    os.truncate(path.with_suffix(".bin"), 1000)
    refused(path, r"behind the end of the \.bin file")


def set_data(key: str, value: str) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        data = layer(root, "Const").find("data")
        assert data is not None
        data.set(key, value)

    return edit


def set_size(value: str) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        size = layer(root, "Add").find("output/port/dim")
        assert size is not None
        size.text = value

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (set_data("offset", "-4"), "behind the end"),
        (set_data("offset", "99999999999"), "behind the end"),
        (set_data("size", "4"), "needs 1536 bytes and has 4"),
        (set_data("size", "x"), "the data of .* is x"),
        (set_data("shape", "9999999, 9999999"), "absurd shape"),
        (set_data("shape", "1,-3"), "absurd shape"),
        (set_size("-5"), "absurd shape"),
        (set_size("many"), "a size of .* is many"),
        (set_size(str(2**40)), "absurd shape"),
    ],
)
def test_absurd_numbers_in_an_ir_file(
    exported: Files, tmp_path: Path, edit: Callable[[Element], None], reason: str
) -> None:
    refused(edit_ir(exported["openvino"], tmp_path, edit), reason)


# Core ML; more of it in tests/mlpackage.


def test_a_package_whose_program_is_truncated(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["coreml"], tmp_path)
    model = next(path.rglob("*.mlmodel"))
    os.truncate(model, model.stat().st_size - 500)
    refused(path, "damaged")


def test_a_package_of_millions_of_empty_operations(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["coreml"], tmp_path)
    program, function, block, operations = 502, 2, 3, 3
    empty = field(operations, b"") * 1_500_000
    content = field(program, field(function, field(2, field(block, field(2, empty)))))
    next(path.rglob("*.mlmodel")).write_bytes(content)
    refused(path, "fields")


def test_a_package_whose_weights_are_too_short(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["coreml"], tmp_path)
    weights = next(path.rglob("weight.bin"))
    os.truncate(weights, weights.stat().st_size // 2)
    refused(path, "damaged")


def test_an_operation_of_absurd_size(exported: Files, tmp_path: Path) -> None:
    def enlarge(model: object) -> None:
        shape = operation(model, "gelu").outputs[0].type.tensorType
        shape.dimensions[1].constant.size = 2**40

    refused(edit_mlpackage(exported["coreml"], tmp_path, enlarge), "absurd shape")


@on_linux
def test_memory_stays_bounded_on_a_file_made_to_exhaust_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(field(GRAPH, field(NODE, b"") * 50_000_000))
    measured = command_line("check", path)
    assert measured.status == 2
    assert "more than 1,000,000 fields" in measured.stderr
    assert measured.seconds < 10
    assert measured.kilobytes < 500_000  # the file alone has 100,000


_BOMBS = {
    "a range": "r = Range(zero, many, one)",
    "lists of lists": "a0 = Concat<axis=0>(ones, ones, ones, ones, ones, ones, ones, ones) "
    + " ".join(f"a{turn + 1} = Concat<axis=0>({', '.join([f'a{turn}'] * 8)})" for turn in range(10))
    + " r = Identity(a10)",
}
_BOMBS["lists of floats"] = "g = Cast<to=1>(ones) " + _BOMBS["lists of lists"].replace("ones", "g")
# Lengths that are known only where onnx follows the lists.
_BOMBS["lists of unknown length"] = (
    "k = Add(ones, ones) s = ConstantOfShape(k) q = Reshape(x, s) h = Shape(q) "
    + _BOMBS["lists of lists"].replace("ones", "h")
)


@pytest.mark.parametrize("inside", [False, True], ids=["graph", "branch"])
@pytest.mark.parametrize("bomb", _BOMBS)
def test_sizes_that_no_memory_holds_are_not_computed(
    bomb: str, inside: bool, tmp_path: Path
) -> None:
    """onnx computes lists of integers to infer shapes, whatever their length."""
    body = f"{_BOMBS[bomb]} f = Cast<to=1>(r)"
    if inside:
        branch = f"b () => (float[n] f) {{ {body} }}"
        body = f"f = If(yes) <then_branch = {branch}, else_branch = {branch}>"
    text = f"""<ir_version: 10, opset_import: ["" : 20]> agraph (float[1] x) => (float[n] y)
        <int64 zero = {{0}}, int64 many = {{50000000000}}, int64 one = {{1}}, bool yes = {{1}},
        int64[1] ones = {{1}}> {{ {body} y = Add(x, f) }}"""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    limit = 4 * 2**30
    script = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "from pathlib import Path\nfrom slide_deploy.errors import InputError\n"
        "from slide_deploy.graph_checks import read_graph\n"
        f"try:\n    read_graph(Path({str(path)!r}))\nexcept InputError as error:\n"
        "    assert 'absurd shape' in str(error)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_crafted_constant_is_not_expanded(tmp_path: Path) -> None:
    """A shape that only exists on paper costs no memory."""
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["logits"])]
    shape = numpy_helper.from_array(np.array([2**20, 2**20, 2**10]), "shape")
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [], [output], [shape])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    with pytest.raises(InputError, match="absurd shape"):
        check_file(path)


def test_weights_of_four_bits_in_a_part_for_xnnpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy has no type of four bits, and one byte of a file is enough to claim it."""
    floats = 1
    monkeypatch.setitem(xnnpack._DTYPES, floats, "int4")
    graph = read_graph(Path(__file__).parents[1] / "fuzz/corpus/executorch/seed.pte")
    narrow = [each for each in graph.constants.values() if each.dtype == "int4"]
    assert narrow
    assert all(each.size == (each.elements + 1) // 2 for each in narrow)
    assert {violation.rule for violation in check_graph(graph, standard_ops())} >= {"SD021"}
