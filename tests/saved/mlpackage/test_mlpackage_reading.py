"""A saved package is read as it was written, without importing coremltools."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slide_deploy.errors import MissingExtra
from slide_deploy.saved.mlpackage import (
    PackageConstant,
    Range,
    ValueReference,
    open_package,
    protobuf,
)
from slide_deploy.saved.mlpackage.dtypes import BY_PROTO, decode, packed_bytes
from slide_deploy.saved.mlpackage.features import read_features
from slide_deploy.saved.mlpackage.weights import PackageWeights

ROOT = Path(__file__).parents[3]


def run(code):
    """Exit code of a fresh Python."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode


def test_description_and_metadata_are_read(package):
    opened = open_package(package)
    assert opened.path == package
    (image,) = opened.inputs
    assert (image.name, image.kind, image.dtype) == ("x", "array", "float32")
    assert image.shape == (1, 3, 6, 5)
    assert opened.outputs[0].name == "out"
    assert opened.user_metadata["slide_deploy.form"] == "depthwise"
    assert opened.main.name == "main"
    assert opened.main.opset_version == 7
    assert opened.main.block.outputs == ("out",)


def test_operations_keep_their_order_names_and_references(package):
    operations = {op.name: op for op in open_package(package).main.block.operations}
    assert [op.type for op in operations.values() if op.type != "const"] == [
        "conv", "cast", "conv", "cast", "add",
    ]  # fmt: skip
    out = operations["out"]
    assert out.outputs[0].type.shape == (1, 4, 4, 3)
    assert out.outputs[0].type.dtype.name == "float32"
    (x,) = out.inputs["x"]
    assert isinstance(x, ValueReference)
    assert x.name in operations


def test_constants_decode_to_what_was_written(package, arrays):
    constants = {
        op.outputs[0].name: op.attributes["val"]
        for op in open_package(package).main.block.operations
        if op.type == "const"
    }
    for name, expected in arrays.items():
        assert isinstance(constants[name], PackageConstant)
        assert constants[name].blob is not None
        actual = constants[name].numpy()
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
    word = next(value for name, value in constants.items() if "pad_type" in name)
    assert word.numpy().item() == "valid"
    numbers = next(value for name, value in constants.items() if "strides" in name)
    assert numbers.numpy().tolist() == [1, 1]
    assert numbers.blob is None


def test_weights_are_views_of_the_file(package):
    constants = [
        op.attributes["val"]
        for op in open_package(package).main.block.operations
        if op.type == "const" and op.attributes["val"].blob
    ]
    assert len(constants) == 2
    for constant in constants:
        assert not constant.numpy().flags.owndata
        assert not constant.numpy().flags.writeable


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """A weight file with one blob of every type that coremltools can write."""
    import coremltools  # noqa: F401  (the writer needs its package)
    from coremltools.libmilstoragepython import _BlobStorageWriter

    folder = tmp_path_factory.mktemp("blobs")
    (folder / "weights").mkdir()
    random = np.random.default_rng(12)
    writer = _BlobStorageWriter(str(folder / "weights/weight.bin"), True)
    written = {}
    for name, low, high in (
        ("uint1", 0, 2), ("uint2", 0, 4), ("uint3", 0, 8), ("uint4", 0, 16), ("uint6", 0, 64),
        ("int4", -8, 8), ("uint8", 0, 256), ("int8", -128, 128), ("int16", -(2**15), 2**15),
        ("uint16", 0, 2**16), ("int32", -(2**31), 2**31), ("uint32", 0, 2**32),
    ):  # fmt: skip
        narrow = {"int4": "int8", "uint1": "uint8", "uint2": "uint8"}
        narrow |= {"uint3": "uint8", "uint4": "uint8", "uint6": "uint8"}
        dtype = narrow.get(name, name)
        values = random.integers(low, high, 37, dtype=np.int64).astype(dtype)
        written[name] = (getattr(writer, f"write_{name}_data")(values), values)
    wide = random.standard_normal(37).astype(np.float32)
    written["float32"] = (writer.write_float_data(wide), wide)
    half = wide.astype(np.float16)
    written["float16"] = (writer.write_fp16_data(half.view(np.uint16)), half)
    del writer
    return folder, written


@pytest.mark.parametrize(
    "name", [dtype.name for dtype in BY_PROTO.values() if dtype.blob and dtype.storage]
)
def test_every_type_of_a_weight_file_is_read(name, blobs):
    folder, written = blobs
    dtype = next(dtype for dtype in BY_PROTO.values() if dtype.name == name)
    offset, expected = written[name]
    weights = PackageWeights(folder, Path("."))
    stored = weights.read("@model_path/weights/weight.bin", offset, dtype, expected.size)
    assert stored.size == packed_bytes(expected.size, dtype)
    actual = decode(stored, dtype, expected.size)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_opening_imports_neither_coremltools_nor_torch(package):
    assert not run(
        "import sys; from slide_deploy.saved.mlpackage import open_package;"
        f"open_package({str(package)!r});"
        "sys.exit(bool({'torch', 'coremltools'} & set(sys.modules)))"
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_messages_coexist_with_a_real_coremltools(first, package):
    ours = (
        f"from slide_deploy.saved.mlpackage import open_package; p = open_package({str(package)!r})"
    )
    theirs = "import coremltools"
    order = [ours, theirs] if first == "ours" else [theirs, ours]
    check = (
        "m = coremltools.proto.Model_pb2.Model.FromString(p.spec.SerializeToString());"
        "assert m == p.spec and m.mlProgram.functions['main'].opset == 'CoreML7'"
    )
    assert not run("\n".join([*order, check]))


def test_a_missing_coremltools_is_named_with_its_extra(package, monkeypatch):
    protobuf.model_messages.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"coremltools.*pip install 'slide-deploy\[coreml\]'"):
        open_package(package)


def test_features_of_every_kind_are_described():
    description = protobuf.model_messages().ModelDescription()
    ranged, listed, image, flexible, table = (description.input.add(name=n) for n in "abcde")
    for low, high in ((1, 1), (2, -1), (3, 9)):
        ranged.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    for shape in ((1, 4), (1, 8)):
        listed.type.multiArrayType.enumeratedShapes.shapes.add(shape=shape)
    image.type.imageType.width, image.type.imageType.height = 7, 5
    image.type.imageType.colorSpace = 20
    flexible.type.imageType.enumeratedSizes.sizes.add(width=2, height=3)
    flexible.type.imageType.enumeratedSizes.sizes.add(width=4, height=3)
    flexible.type.imageType.colorSpace = 10
    table.type.dictionaryType.stringKeyType.SetInParent()

    a, b, c, d, e = read_features(description.input)
    assert a.shape == (1, Range(2, None), Range(3, 9))
    assert 100 in Range(2, None) and 1 not in Range(2, None)
    assert b.shape == (1, Range(4, 8))
    assert b.choices == ((1, 4), (1, 8))
    assert (c.kind, c.dtype, c.shape) == ("image", "uint8", (3, 5, 7))
    assert d.shape == (1, 3, Range(2, 4))
    assert (e.kind, e.dtype, e.shape) == ("dictionary", "", ())
