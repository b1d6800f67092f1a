"""Programs altered field by field end in an error of ours or in a result."""

import shutil

import numpy as np
import pytest

from slide_deploy.backends.mil_interpreter import MilProgram
from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage.protobuf import parse_model

MODEL = "Data/com.apple.CoreML/model.mlmodel"
SIZES = (0, 1, -1, 2, 3, 100, 65536, 2**30, 2**31 - 1, -(2**31))
NUMBERS = (0.0, -1.0, 1e30, float("nan"), float("inf"))
WORDS = ("same", "custom", "reflect", "EXACT", "fp16", "int32", "")
TYPES = (1, 2, 10, 11, 13, 21, 23, 32)
ROUNDS = 100
X = np.ones((1, 4, 6, 5), np.float32)


@pytest.fixture(scope="module")
def package(convert):
    """One operator of every family."""

    def build(mb, variables):
        x = variables["x"]
        weight = np.ones((8, 2, 3, 3), np.float32)
        y = mb.conv(x=x, weight=weight, groups=2, pad_type="custom", pad=[1, 1, 1, 1])
        y = mb.pad(x=y, pad=[1, 2, 0, 1], mode="reflect")
        y = mb.avg_pool(x=y, kernel_sizes=[2, 2], strides=[1, 2], pad_type="valid")
        y = mb.upsample_nearest_neighbor(x=y, scale_factor_height=2, scale_factor_width=2)
        y = mb.slice_by_index(x=y, begin=[0, 0, 1, 0], end=[1, 8, 9, 6], stride=[1, 1, 2, 1])
        y = mb.layer_norm(x=mb.gelu(x=y, mode="EXACT"), axes=[1])
        a, b = mb.split(x=mb.transpose(x=y, perm=[0, 2, 3, 1]), num_splits=2, axis=3)
        y = mb.softmax(x=mb.matmul(x=a, y=b, transpose_y=True), axis=-1)
        y = mb.concat(
            values=[mb.gather(x=y, indices=[2, 0], axis=1), mb.tile(x=y, reps=[1] * 4)], axis=1
        )
        y = mb.scatter(
            data=y, indices=[1], updates=np.ones((1, 1, *y.shape[2:]), np.float32), axis=1
        )
        y = mb.cumsum(x=y, axis=1)
        y = mb.topk(x=y, k=6, axis=2)[0]
        y = mb.reduce_mean(x=mb.reshape(x=y, shape=[1, -1, 6]), axes=[1], keep_dims=True)
        yield mb.cast(x=mb.cast(x=y, dtype="fp16"), dtype="fp32", name="out")

    return convert({"x": X}, build)


def alter_constant(operations, random):
    """Another value of a parameter."""
    constants = [
        op
        for op in operations
        if op.type == "const" and op.attributes["val"].HasField("immediateValue")
    ]
    tensor = constants[random.integers(len(constants))].attributes["val"].immediateValue.tensor
    field = tensor.WhichOneof("value")
    choices = {"ints": SIZES, "floats": NUMBERS, "strings": WORDS, "bools": (False, True)}
    if field in choices:
        values = getattr(tensor, field).values
        place = random.integers(len(values))
        values[place] = choices[field][random.integers(len(choices[field]))]


def alter_reference(operations, random):
    """Another operand: of another type or shape, of later, or the operation's own."""
    users = [op for op in operations if op.inputs]
    user = users[random.integers(len(users))]
    key = sorted(user.inputs)[random.integers(len(user.inputs))]
    other = operations[random.integers(len(operations))]
    user.inputs[key].arguments[0].name = other.outputs[0].name


def alter_type(operations, random):
    """Another declared type or size."""
    tensor = operations[random.integers(len(operations))].outputs[0].type.tensorType
    if random.random() < 0.5 or not tensor.dimensions:
        tensor.dataType = TYPES[random.integers(len(TYPES))]
    else:
        dimension = tensor.dimensions[random.integers(len(tensor.dimensions))]
        dimension.constant.size = abs(SIZES[random.integers(len(SIZES))])


def alter_operator(operations, random):
    """Another operator with the same operands."""
    users = [op for op in operations if op.type != "const"]
    a, b = (users[random.integers(len(users))] for _ in range(2))
    a.type = b.type


def drop_parameter(operations, random):
    """A parameter left out."""
    users = [op for op in operations if op.inputs]
    user = users[random.integers(len(users))]
    del user.inputs[sorted(user.inputs)[random.integers(len(user.inputs))]]


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    "alter", [alter_constant, alter_reference, alter_type, alter_operator, drop_parameter]
)
def test_an_altered_program_ends_in_an_error_or_a_result(alter, package, tmp_path):
    copy = tmp_path / "altered.mlpackage"
    shutil.copytree(package, copy)
    original, random = (package / MODEL).read_bytes(), np.random.default_rng(14)
    refused = 0
    for _ in range(ROUNDS):
        spec = parse_model(original)
        function = spec.mlProgram.functions["main"]
        alter(function.block_specializations[function.opset].operations, random)
        (copy / MODEL).write_bytes(spec.SerializeToString())
        try:
            results = MilProgram.load(copy).run({"x": X})
            assert set(results) == {"out"}
        except InputError as error:
            assert str(copy) in str(error)
            refused += 1
    assert refused > 0
