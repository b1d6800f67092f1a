"""Damaged and hostile packages end in one sentence that names the file."""

import os
import shutil
import struct

import pytest

from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage import folder, open_package
from slide_deploy.saved.mlpackage.protobuf import parse_model

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def refused(path, message):
    """Opening is refused with this message, which names the package in one sentence."""
    with pytest.raises(InputError, match=message) as caught:
        open_package(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.endswith(".")
    assert "\n" not in text


def root_entry(manifest):
    return manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]


def block_of(spec):
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def constant(spec, name):
    operations = block_of(spec).operations
    return next(op for op in operations if op.outputs[0].name == name).attributes["val"]


def test_a_path_that_is_not_a_package_is_refused(tmp_path):
    refused(tmp_path / "absent.mlpackage", "does not exist")
    refused(tmp_path, "has no Manifest.json")
    file = tmp_path / "model.mlmodel"
    file.touch()
    refused(file, "is not a folder")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"rootModelIdentifier": []}']
)
def test_a_broken_manifest_is_refused(text, copy):
    (copy / "Manifest.json").write_bytes(text)
    refused(copy, "Manifest.json does not name the root model")


@pytest.mark.parametrize("path", [7, None, ["com.apple.CoreML/model.mlmodel"]])
def test_a_manifest_whose_path_is_not_text_is_refused(path, edit_manifest):
    refused(edit_manifest(lambda m: root_entry(m).update(path=path)), "does not name the root")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/passwd", "not a path inside the package"),
        ("../../outside", "leads out of the package"),
        ("..\\..\\outside", "not a path inside the package"),
        ("C:/outside", "not a path inside the package"),
        ("nothing.mlmodel", "is missing"),
        ("nul\0byte", "is missing"),
        ("x" * 5000, "is missing"),
        ("com.apple.CoreML", "is not a file"),
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(path, message, edit_manifest):
    copy = edit_manifest(lambda m: root_entry(m).update(path=path))
    (copy.parent / "outside").touch()
    refused(copy, message)


def test_an_endless_manifest_is_refused(copy):
    with (copy / "Manifest.json").open("ab") as stream:
        stream.truncate(folder.MAX_MANIFEST_BYTES + 1)
    refused(copy, "more than 1 MiB")


def test_a_model_too_large_to_parse_is_refused(copy):
    with (copy / MODEL).open("ab") as stream:
        stream.truncate(folder.MAX_MODEL_BYTES + 1)
    refused(copy, "more than 8 MiB")


@pytest.mark.parametrize("inside", ["Manifest.json", MODEL, WEIGHTS])
def test_a_link_that_leads_out_is_refused(inside, copy, tmp_path):
    target = tmp_path / "outside"
    shutil.move(copy / inside, target)
    (copy / inside).symlink_to(target)
    refused(copy, "leads out of the package")


def test_a_link_that_stays_inside_is_followed(copy):
    shutil.move(copy / WEIGHTS, copy / "Data/elsewhere.bin")
    (copy / WEIGHTS).symlink_to(copy / "Data/elsewhere.bin")
    assert open_package(copy).main.name == "main"


def test_a_loop_of_links_is_refused(copy):
    (copy / WEIGHTS).unlink()
    (copy / WEIGHTS).symlink_to(copy / WEIGHTS)
    refused(copy, "is missing")


def test_a_pipe_is_not_waited_for(copy):
    (copy / WEIGHTS).unlink()
    os.mkfifo(copy / WEIGHTS)
    refused(copy, "is not a file")


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_a_truncated_model_is_refused(keep, copy):
    content = (copy / MODEL).read_bytes()
    (copy / MODEL).write_bytes(content[: int(len(content) * keep) if keep < 1 else 1])
    refused(copy, "not a whole Core ML model|holds no model")


def test_a_neural_network_is_refused(edit_spec):
    refused(
        edit_spec(lambda spec: spec.neuralNetwork.SetInParent()), "holds a model of kind neural"
    )


def test_a_program_without_a_main_function_is_refused(edit_spec):
    refused(edit_spec(lambda spec: spec.mlProgram.functions.clear()), "has no main function")


def endless_operations(spec):
    block_of(spec).operations.extend([block_of(spec).operations[0]] * 500)


def endless_arguments(spec):
    argument = block_of(spec).operations[-1].inputs["x"]
    argument.arguments.extend([argument.arguments[0]] * 500)


def endless_outputs(spec):
    outputs = block_of(spec).operations[0].outputs
    outputs.extend([outputs[0]] * 500)


@pytest.mark.parametrize("change", [endless_operations, endless_arguments, endless_outputs])
def test_a_program_of_endless_parts_is_refused(change, edit_spec, monkeypatch):
    monkeypatch.setattr("slide_deploy.saved.mlpackage.decoding.MAX_PARTS", 500)
    refused(edit_spec(change), "its program has more than 500 parts")


def test_endless_inputs_are_refused(edit_spec):
    refused(
        edit_spec(lambda spec: spec.description.input.extend([spec.description.input[0]] * 1000)),
        "1000 inputs",
    )


def test_a_function_without_its_operator_set_is_refused(edit_spec):
    def change(spec):
        spec.mlProgram.functions["main"].opset = "CoreML5"

    refused(edit_spec(change), "has no body for operator set 'CoreML5'")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "not a path inside the package"),
        ("weights/weight.bin", "not a path inside the package"),
        ("@model_path//etc/passwd", "is missing"),
        ("@model_path/../../../outside", "leads out of the package"),
        ("@model_path/weights/other.bin", "is missing"),
        ("@model_path/weights", "is not a file"),
        ("", "not a path inside the package"),
    ],
)
def test_a_weight_file_elsewhere_is_refused(name, message, edit_spec, tmp_path):
    (tmp_path / "outside").touch()

    def change(spec):
        constant(spec, "wide").blobFileValue.fileName = name

    refused(edit_spec(change), message)


@pytest.mark.parametrize("offset", [0, 1, 65, 1 << 20, 2**63, 2**64 - 64])
def test_a_blob_outside_its_file_is_refused(offset, edit_spec):
    def change(spec):
        constant(spec, "wide").blobFileValue.offset = offset

    refused(edit_spec(change), "is not aligned or is outside|has no blob header")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, 0xDEADBEEE, "has no blob header"),
        (1, 1, "does not hold float32"),
        (1, 99, "does not hold float32"),
        (2, 0, "holds 0 bytes"),
        (2, 2**40, "ends after the end"),
        (2, 428, "holds 428 bytes"),
        (3, 2**64 - 1, "ends after the end"),
        (3, 1 << 20, "ends after the end"),
    ],
)
def test_a_broken_blob_header_is_refused(field, value, message, copy):
    spec = parse_model((copy / MODEL).read_bytes())
    offset = constant(spec, "wide").blobFileValue.offset
    content = bytearray((copy / WEIGHTS).read_bytes())
    fields = list(struct.unpack_from("<IIQQ", content, offset))
    fields[field] = value
    struct.pack_into("<IIQQ", content, offset, *fields)
    (copy / WEIGHTS).write_bytes(content)
    refused(copy, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "too short"), (bytes(63), "too short"), (bytes(64), "storage header")],
)
def test_a_weight_file_without_its_header_is_refused(content, message, copy):
    (copy / WEIGHTS).write_bytes(content)
    refused(copy, message)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 3, 3, 4), "holds 432 bytes where the program needs 144 elements"),
        ((0, 3, 3, 3), "where the program needs 0 elements"),
        ((2**62, 2**62, 4, 3), "absurd shape"),
        ((2**32, 1, 1, 1), "absurd shape"),
    ],
)
def test_absurd_dimensions_are_refused(sizes, message, edit_spec):
    def change(spec):
        dimensions = constant(spec, "wide").type.tensorType.dimensions
        for dimension, size in zip(dimensions, sizes, strict=True):
            dimension.constant.size = size

    refused(edit_spec(change), message)


@pytest.mark.parametrize(("rank", "message"), [(3, "4 dimensions"), (400, "4 dimensions")])
def test_a_rank_that_is_not_the_number_of_dimensions_is_refused(rank, message, edit_spec):
    def change(spec):
        constant(spec, "wide").type.tensorType.rank = rank

    refused(edit_spec(change), message)


def strides_of(spec):
    """A constant that stands in the program itself."""
    operations = block_of(spec).operations
    return next(op for op in operations if "strides" in op.outputs[0].name).attributes["val"]


def clear_type(value):
    value.type.Clear()


def list_type(value):
    value.type.listType.type.tensorType.dataType = 23


def unknown_type(value):
    value.type.tensorType.dataType = 3


def unknown_size(value):
    value.type.tensorType.dimensions[0].unknown.variadic = False


def unknown_rank(value):
    value.type.tensorType.rank = -1


def too_few(value):
    value.immediateValue.tensor.ints.values.pop()


def other_field(value):
    value.immediateValue.tensor.floats.values[:] = [1.0, 1.0]


def no_field(value):
    value.immediateValue.tensor.Clear()


def no_value(value):
    value.immediateValue.Clear()


def nothing(value):
    value.ClearField("immediateValue")


def packed_wrongly(value):
    value.type.tensorType.dataType = 10
    value.immediateValue.tensor.bytes.values = b"123"


def out_of_range(value):
    value.type.tensorType.dataType = 22
    value.immediateValue.tensor.ints.values[0] = 1 << 20


def unreadable(value):
    value.type.tensorType.dataType = 13


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (clear_type, "a value has no type"),
        (list_type, "of type list holds a tensor"),
        (unknown_type, "3 is not a known element type"),
        (unknown_size, "unknown shape"),
        (unknown_rank, "no known rank"),
        (too_few, r"int32 constant of shape \(2,\) has another number of elements"),
        (other_field, "int32 constant is stored as floats"),
        (no_field, "int32 constant is stored as None"),
        (no_value, "has no value"),
        (nothing, "has no value"),
        (packed_wrongly, "float16 constant of shape"),
        (out_of_range, "int16 constant is out of range"),
        (unreadable, "of type bfloat16, which slide-deploy cannot read"),
    ],
)
def test_a_damaged_constant_is_refused(change, message, edit_spec):
    refused(edit_spec(lambda spec: change(strides_of(spec))), message)
