"""Damage to a written Core ML package: to the program, to what describes it, to its weights."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.saved.mlpackage import PackageConstant, open_package
from slide_deploy.saved.mlpackage.dtypes import BY_PROTO
from slide_deploy.saved.mlpackage.protobuf import model_messages

_CODES = {dtype.name: dtype.proto for dtype in BY_PROTO.values()}
_FIELDS = {"float32": "floats", "int32": "ints", "bool": "bools", "string": "strings"}
NamedType = tuple[str, str, tuple[int, ...]]
"""Name, element type and shape of a value."""
_FEATURE_DOUBLE = 65600  # ArrayFeatureType.DOUBLE


@dataclass(eq=False)
class Program:
    """The message of a package, and its main function."""

    spec: Any

    @property
    def main(self) -> Any:
        return self.spec.mlProgram.functions["main"]

    @property
    def operations(self) -> Any:
        return self.main.block_specializations[self.main.opset].operations

    @property
    def outputs(self) -> Any:
        return self.main.block_specializations[self.main.opset].outputs

    def named(self, output: str) -> Any:
        """The operation that computes a value."""
        return next(
            held for held in self.operations if output in [value.name for value in held.outputs]
        )

    def find(self, kind: str, index: int = 0) -> Any:
        return [held for held in self.operations if held.type == kind][index]

    def literal(self, operation: Any, parameter: str) -> Any:
        """The immediate tensor behind a parameter."""
        name = operation.inputs[parameter].arguments[0].name
        return self.named(name).attributes["val"].immediateValue.tensor

    def replace(self, operations: list[Any]) -> None:
        kept = [copy.deepcopy(held) for held in operations]
        del self.operations[:]
        self.operations.extend(kept)

    def insert(self, behind: Any, added: list[Any]) -> None:
        operations = list(self.operations)
        at = next(place for place, held in enumerate(operations) if held is behind) + 1
        self.replace([*operations[:at], *added, *operations[at:]])


def in_program(edit: Callable[[Program], object]) -> Callable[[Path], None]:
    """Damage to the message of a package."""

    def damage(path: Path) -> None:
        file = next(path.rglob("*.mlmodel"))
        program = Program(model_messages().Model.FromString(file.read_bytes()))
        edit(program)
        file.write_bytes(program.spec.SerializeToString())

    return damage


# Building operations.


def set_type(value_type: Any, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = value_type.tensorType
    tensor.Clear()
    tensor.dataType = _CODES[dtype]
    tensor.rank = len(shape)
    for size in shape:
        tensor.dimensions.add().constant.size = size


def make(like: Any, kind: str, output: NamedType, inputs: Mapping[str, str]) -> Any:
    """An operation; ``like`` is any operation of the program."""
    made = type(like)(type=kind)
    name, dtype, shape = output
    set_type(made.outputs.add(name=name).type, dtype, shape)
    for parameter, value in inputs.items():
        made.inputs[parameter].arguments.add(name=value)
    return made


def make_constant(like: Any, name: str, values: Any) -> Any:
    """A constant whose numbers stand in the program."""
    array = np.asarray(values)
    dtype = "string" if array.dtype.kind == "U" else array.dtype.name
    made = make(like, "const", (name, dtype, array.shape), {})
    held = made.attributes["val"]
    set_type(held.type, dtype, array.shape)
    getattr(held.immediateValue.tensor, _FIELDS[dtype]).values.extend(array.ravel().tolist())
    return made


@dataclass(eq=False)
class Detour:
    """Operations that what an operation computes passes through, from its old name to it."""

    program: Program
    behind: Any

    def __post_init__(self) -> None:
        self.name = self.behind.outputs[0].name
        self.value = f"{self.name}_step_0"
        self.behind.outputs[0].name = self.value
        self.shape = tuple(
            size.constant.size for size in self.behind.outputs[0].type.tensorType.dimensions
        )
        self.added: list[Any] = []

    def constant(self, values: Any) -> str:
        name = f"{self.name}_constant_{len(self.added)}"
        self.added.append(make_constant(self.behind, name, values))
        return name

    def step(
        self,
        kind: str,
        inputs: Mapping[str, str],
        shape: tuple[int, ...] | None = None,
        dtype: str = "float32",
    ) -> None:
        output = (f"{self.name}_step_{len(self.added) + 1}", dtype, shape or self.shape)
        self.added.append(make(self.behind, kind, output, {"x": self.value, **inputs}))
        self.value = output[0]

    def reshape(self, *shape: int) -> None:
        self.step("reshape", {"shape": self.constant(np.array(shape, np.int32))}, shape)

    def done(self) -> None:
        self.added[-1].outputs[0].name = self.name
        self.program.insert(self.behind, self.added)


# Operators, versions, types, ranks.


def foreign_operator(program: Program) -> None:
    program.find("gelu").type = "custom_gelu"


def unlisted_operator(program: Program) -> None:
    gelu = program.find("gelu")
    mode = program.named(gelu.inputs["mode"].arguments[0].name)
    gelu.type = "sinh"
    del gelu.inputs["mode"]
    program.replace([held for held in program.operations if held is not mode])


def opset_of_the_future(program: Program) -> None:
    block = program.main.block_specializations[program.main.opset]
    program.main.block_specializations["CoreML99"].CopyFrom(block)
    program.main.opset = "CoreML99"


def format_of_the_future(program: Program) -> None:
    program.spec.specificationVersion = 99


def rank_6(program: Program) -> None:
    detour = Detour(program, program.find("gelu"))
    detour.reshape(1, 1, 2, 2, 256, 32)
    detour.reshape(1, 1024, 32)
    detour.done()


def grouped(program: Program, index: int) -> Any:
    return [
        held
        for held in program.operations
        if held.type == "conv" and program.literal(held, "groups").ints.values[0] > 1
    ][index]


def rank_5_in_slide_attention(program: Program) -> None:
    detour = Detour(program, grouped(program, 2))
    detour.reshape(1, 16, 9, 16, 16)
    detour.reshape(1, 144, 16, 16)
    detour.done()


def through(dtype: str, word: str) -> Callable[[Program], None]:
    """A detour through another type, which ``cast`` calls by a word of its own."""

    def edit(program: Program) -> None:
        detour = Detour(program, program.find("gelu"))
        detour.step("cast", {"dtype": detour.constant(word)}, dtype=dtype)
        detour.step("cast", {"dtype": detour.constant("fp32")})
        detour.done()

    return edit


def clipped(program: Program) -> None:
    detour = Detour(program, program.find("gelu"))
    bounds = {"alpha": detour.constant(np.float32(-3)), "beta": detour.constant(np.float32(3))}
    detour.step("clip", bounds)
    detour.done()


# The interface.


def renamed_input(program: Program) -> None:
    program.spec.description.input[0].name = "picture"
    program.main.inputs[0].name = "picture"
    for held in program.operations:
        for argument in held.inputs.values():
            for reference in argument.arguments:
                if reference.name == "image":
                    reference.name = "picture"


def renamed_output(program: Program) -> None:
    program.spec.description.output[0].name = "scores"
    program.named("logits").outputs[0].name = "scores"
    program.outputs[0] = "scores"


def renamed_input_in_the_description(program: Program) -> None:
    program.spec.description.input[0].name = "picture"


def doubles_in_the_description(program: Program) -> None:
    program.spec.description.input[0].type.multiArrayType.dataType = _FEATURE_DOUBLE


def open_height(program: Program) -> None:
    array = program.spec.description.input[0].type.multiArrayType
    for size in array.shape:
        array.shapeRange.sizeRanges.add(lowerBound=size, upperBound=size)
    array.shapeRange.sizeRanges[2].lowerBound = 32
    program.main.inputs[0].type.tensorType.dimensions[2].unknown.variadic = False


def smaller_image(program: Program) -> None:
    program.spec.description.input[0].type.multiArrayType.shape[2:] = [64, 64]
    for axis in (2, 3):
        program.main.inputs[0].type.tensorType.dimensions[axis].constant.size = 64


def fewer_channels(program: Program) -> None:
    program.spec.description.input[0].type.multiArrayType.shape[1] = 1
    program.main.inputs[0].type.tensorType.dimensions[1].constant.size = 1


def input_of_doubles(program: Program) -> None:
    program.spec.description.input[0].type.multiArrayType.dataType = _FEATURE_DOUBLE
    program.main.inputs[0].type.tensorType.dataType = _CODES["float64"]


def batch_fixed_inside(program: Program) -> None:
    """The last reshape that starts with an open batch gets a batch of one."""
    for held in reversed([held for held in program.operations if held.type == "reshape"]):
        sizes = program.literal(held, "shape").ints.values
        if sizes[0] == -1:
            sizes[0] = 1
            return
    raise AssertionError("no reshape keeps the batch open")


def output_removed(program: Program) -> None:
    del program.outputs[:]
    del program.spec.description.output[:]


def second_input(program: Program) -> None:
    feature = program.spec.description.input.add(name="mask")
    feature.type.multiArrayType.CopyFrom(program.spec.description.input[0].type.multiArrayType)
    feature.type.multiArrayType.shape[:] = [1, 1]
    set_type(program.main.inputs.add(name="mask").type, "float32", (1, 1))


def second_output(program: Program) -> None:
    program.outputs.append(program.find("softmax").outputs[0].name)


# What is stored.


def stale_constant(program: Program) -> None:
    like = program.operations[0]
    program.insert(like, [make_constant(like, "stale", np.ones(3, np.float32))])


def no_metadata(program: Program) -> None:
    program.spec.description.metadata.userDefined.clear()


def declared(key: str, change: Callable[[str], str]) -> Callable[[Program], None]:
    """Another text in what the exporter stored."""

    def edit(program: Program) -> None:
        held = program.spec.description.metadata.userDefined
        held[key] = change(held[key])

    return edit


half_precision_claimed = declared(PRECISION_KEY, lambda text: "float16")


def blobs(program: Program) -> Iterator[Any]:
    """The constants that stand in the weight file."""
    for held in program.operations:
        if held.type == "const" and held.attributes["val"].WhichOneof("value") == "blobFileValue":
            yield held


def weights_outside(program: Program) -> None:
    held = next(blobs(program))
    held.attributes["val"].blobFileValue.fileName = "@model_path/../../../../weights.bin"


def bias_before_gelu(program: Program, index: int) -> str:
    """Name of the bias of the wide layer of a block."""
    linear = program.named(program.find("gelu", index).inputs["x"].arguments[0].name)
    name: str = linear.inputs["bias"].arguments[0].name
    return name


def weights_of_another_type(program: Program) -> None:
    held = program.named(bias_before_gelu(program, 1))
    held.attributes["val"].type.tensorType.dataType = _CODES["int32"]
    held.outputs[0].type.tensorType.dataType = _CODES["int32"]


def declared_shape_wrong(program: Program) -> None:
    program.find("gelu").outputs[0].type.tensorType.dimensions[2].constant.size = 31


# Wiring and attributes.


def control_flow(program: Program) -> None:
    gelu = program.find("gelu")
    detour = Detour(program, gelu)
    always = detour.constant(np.array(True))
    chosen = make(gelu, "cond", ("chosen", "float32", detour.shape), {"pred": always})
    for branch in ("then", "else"):
        block, output = chosen.blocks.add(), (f"{branch}_value", "float32", detour.shape)
        block.operations.append(make(gelu, "identity", output, {"x": detour.value}))
        block.outputs.append(output[0])
    detour.added.append(chosen)
    detour.done()


def gather_with_a_table(program: Program) -> None:
    detour = Detour(program, program.find("gelu"))
    table = detour.constant(np.arange(1024, dtype=np.int32).reshape(32, 32))
    axis = detour.constant(np.int32(1))
    detour.step("gather", {"indices": table, "axis": axis}, (1, 32, 32, 32))
    detour.reshape(1, 1024, 32)
    detour.done()


def neighbours_gathered(program: Program) -> None:
    """Nine neighbours of every position, of which only the one in the middle is used."""
    neighbours = np.clip(np.arange(1024)[:, None] + np.arange(-4, 5), 0, 1023)
    detour = Detour(program, program.find("gelu"))
    table = detour.constant(neighbours.reshape(-1).astype(np.int32))
    axis = detour.constant(np.int32(1))
    detour.step("gather", {"indices": table, "axis": axis}, (1, 9216, 32))
    detour.reshape(1, 1024, 9, 32)
    begin = detour.constant(np.array([0, 0, 4, 0], np.int32))
    size = detour.constant(np.array([1, 1024, 1, 32], np.int32))
    detour.step("slice_by_size", {"begin": begin, "size": size}, (1, 1024, 1, 32))
    detour.reshape(1, 1024, 32)
    detour.done()


def wrong_groups(program: Program) -> None:
    program.literal(grouped(program, 2), "groups").ints.values[0] = 1


def pads_on_one_side(program: Program) -> None:
    program.literal(grouped(program, 2), "pad").ints.values[:] = [2, 0, 2, 0]


def dilated(program: Program) -> None:
    convolution = grouped(program, 2)
    program.literal(convolution, "dilations").ints.values[:] = [2, 2]
    program.literal(convolution, "pad").ints.values[:] = [2, 2, 2, 2]


def softmax_over_positions(program: Program) -> None:
    program.literal(program.find("softmax", 1), "axis").ints.values[0] = 3


def window_softmax_over_queries(program: Program) -> None:
    program.literal(program.find("softmax", 3), "axis").ints.values[0] = 2


def epsilon(value: float, *indices: int) -> Callable[[Program], None]:
    """Another epsilon in some normalisations, or in all."""

    def edit(program: Program) -> None:
        norms = [held for held in program.operations if held.type == "layer_norm"]
        for index in indices or range(len(norms)):
            program.literal(norms[index], "epsilon").floats.values[0] = value

    return edit


def tanh_gelu(program: Program) -> None:
    for held in program.operations:
        if held.type == "gelu":
            program.literal(held, "mode").strings.values[0] = "TANH_APPROXIMATION"


def residual_subtracted(program: Program) -> None:
    program.find("add", 1).type = "sub"


def values_read_the_keys(program: Program) -> None:
    keys, values = grouped(program, 2), grouped(program, 3)
    values.inputs["x"].arguments[0].name = keys.inputs["x"].arguments[0].name


def nodes_reversed(program: Program) -> None:
    program.replace(list(program.operations)[::-1])


def reads_what_nothing_computes(program: Program) -> None:
    program.find("gelu").inputs["x"].arguments[0].name = "nowhere"


# In both files.


def duplicated_constant(path: Path) -> None:
    """The bias of a wide layer is stored twice; the difference of the two is added."""

    def edit(program: Program) -> None:
        original = bias_before_gelu(program, 4)
        stored = next(
            held for held in open_package(path).main.block.operations if held.name == original
        ).attributes["val"]
        assert isinstance(stored, PackageConstant)
        detour = Detour(program, program.find("gelu", 4))
        twin = detour.constant(stored.numpy())
        nothing = ("nothing", "float32", stored.shape)
        detour.added.append(make(detour.behind, "sub", nothing, {"x": original, "y": twin}))
        detour.step("add", {"y": "nothing"})
        detour.done()

    in_program(edit)(path)
