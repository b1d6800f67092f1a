"""Damage to an exported LiteRT file, through the objects of LiteRT's schema."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.saved.tflite.schema import OPERATORS, TYPES

Edit = Callable[[Any], object]
_NUMBERS = {name: number for number, (name, _) in TYPES.items()}
FLOAT32, FLOAT16, INT32, BOOL, FLOAT64 = (
    _NUMBERS[name] for name in ("float32", "float16", "int32", "bool", "float64")
)


def schema() -> Any:
    """LiteRT's schema, imported late so that the catalogue can be read without LiteRT."""
    return import_module("ai_edge_litert.schema_py_generated")


def in_model(edit: Edit) -> Callable[[Path], None]:
    """Damage to the model of a file."""

    def damage(path: Path) -> None:
        model = schema().ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        edit(model)
        builder = import_module("flatbuffers").Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        path.write_bytes(bytes(builder.Output()))

    return damage


def graph(model: Any) -> Any:
    return model.subgraphs[0]


def nodes(model: Any, name: str) -> list[Any]:
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    wanted = OPERATORS.index(name)
    return [each for each in graph(model).operators if codes[each.opcodeIndex] == wanted]


def code(model: Any, name: str, version: int = 1) -> int:
    """Add a kind of operator; return its number."""
    added = schema().OperatorCodeT()
    added.builtinCode = OPERATORS.index(name)
    added.deprecatedBuiltinCode = min(added.builtinCode, 127)
    added.version = version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def tensor(model: Any, place: int) -> Any:
    return graph(model).tensors[place]


def added_tensor(model: Any, name: str, shape: Any, type: int, numbers: Any = None) -> int:
    """Add a tensor, constant if there are numbers; return its number."""
    added = schema().TensorT()
    added.name, added.type, added.buffer, added.hasRank = name.encode(), type, 0, True
    added.shape = np.array(shape, np.int32)
    if numbers is not None:
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(numbers).tobytes(), np.uint8)
        added.buffer = len(model.buffers)
        model.buffers.append(buffer)
    graph(model).tensors.append(added)
    return len(graph(model).tensors) - 1


def added_operator(model: Any, name: str, inputs: list[int], outputs: list[int], at: int) -> Any:
    """Insert an operator without options at a position in the order."""
    added = schema().OperatorT()
    added.opcodeIndex = code(model, name)
    added.inputs, added.outputs = (np.array(each, np.int32) for each in (inputs, outputs))
    graph(model).operators.insert(at, added)
    return added


def detour(model: Any, *steps: tuple[str, Any, int, list[int]], operator: str = "GELU") -> None:
    """Operators behind the first of a kind; each with its shape, type and further inputs.

    The last one gives what readers of the value read instead.
    """
    behind = nodes(model, operator)[0]
    at = graph(model).operators.index(behind) + 1
    value = int(behind.outputs[0])
    start = added_tensor(model, "before", tensor(model, value).shape, FLOAT32)
    behind.outputs = np.array([start], np.int32)
    for number, (name, shape, type, others) in enumerate(steps):
        is_last = number == len(steps) - 1
        end = value if is_last else added_tensor(model, f"detour.{number}", shape, type)
        added_operator(model, name, [start, *others], [end], at + number)
        start = end


def shape_of_first(model: Any, operator: str = "GELU") -> list[int]:
    return [int(size) for size in tensor(model, int(nodes(model, operator)[0].outputs[0])).shape]


def reshaped(model: Any, *shapes: list[int], operator: str = "GELU") -> None:
    """Insert reshapes to other shapes and back."""
    steps = []
    for shape in (*shapes, shape_of_first(model, operator)):
        pattern = added_tensor(model, "pattern", [len(shape)], INT32, np.array(shape, np.int32))
        steps.append(("RESHAPE", shape, FLOAT32, [pattern]))
    detour(model, *steps, operator=operator)


def foreign_domain(model: Any) -> None:
    gelu = nodes(model, "GELU")[0]
    gelu.opcodeIndex = code(model, "CUSTOM")
    model.operatorCodes[-1].customCode = b"Gelu"
    gelu.builtinOptionsType, gelu.builtinOptions = 0, None


def unlisted_operator(model: Any) -> None:
    gelu = nodes(model, "GELU")[0]
    gelu.opcodeIndex = code(model, "STABLEHLO_COSINE")
    gelu.builtinOptionsType, gelu.builtinOptions = 0, None


def opset_of_the_future(model: Any) -> None:
    model.operatorCodes[nodes(model, "GELU")[0].opcodeIndex].version = 99


def format_of_the_future(model: Any) -> None:
    model.version = 99


def rank_6(model: Any) -> None:
    batch, positions, channels = shape_of_first(model)
    reshaped(model, [batch, 2, positions // 2, 4, 2, channels // 8])


def rank_5_in_slide_attention(model: Any) -> None:
    batch, height, width, channels = shape_of_first(model, "DEPTHWISE_CONV_2D")
    reshaped(model, [batch, height, width, channels // 9, 9], operator="DEPTHWISE_CONV_2D")


def through(type: int) -> Edit:
    """A detour through another type."""

    def edit(model: Any) -> None:
        shape = shape_of_first(model)
        detour(model, ("CAST", shape, type, []), ("CAST", shape, FLOAT32, []))

    return edit


def clipped(model: Any) -> None:
    bound = added_tensor(model, "three", [], FLOAT32, np.float32(3))
    detour(model, ("MINIMUM", shape_of_first(model), FLOAT32, [bound]))


def gather_with_a_table(model: Any) -> None:
    batch, positions, channels = shape_of_first(model)
    assert batch == 1
    places = np.arange(positions, dtype=np.int32).reshape(1, positions)
    table = added_tensor(model, "table", [1, positions], INT32, places)
    detour(model, ("GATHER", [1, positions, channels], FLOAT32, [table]))
    gathered = nodes(model, "GATHER")[0]
    gathered.builtinOptionsType = schema().BuiltinOptions.GatherOptions
    gathered.builtinOptions = schema().GatherOptionsT()
    gathered.builtinOptions.axis = 1
    gathered.builtinOptions.batchDims = 0
    before = tensor(model, int(gathered.inputs[0]))
    flat = added_tensor(model, "flat", [positions, channels], FLOAT32)
    pattern = np.array([positions, channels], np.int32)
    sizes = added_tensor(model, "pattern", [2], INT32, pattern)
    at = graph(model).operators.index(gathered)
    assert len(before.shape) == 3
    added_operator(model, "RESHAPE", [int(gathered.inputs[0]), sizes], [flat], at)
    gathered.inputs = np.array([flat, table], np.int32)
    gathered.builtinOptions.axis = 0


def control_flow(model: Any) -> None:
    """The first GELU runs in a body that is called."""
    gelu = nodes(model, "GELU")[0]
    body = schema().SubGraphT()
    body.name = b"body"
    body.tensors = []
    for place in (int(gelu.inputs[0]), int(gelu.outputs[0])):
        copy = schema().TensorT()
        held = tensor(model, place)
        copy.name, copy.type, copy.buffer, copy.hasRank = b"inside", held.type, 0, True
        copy.shape = held.shape
        body.tensors.append(copy)
    inner = schema().OperatorT()
    inner.opcodeIndex = gelu.opcodeIndex
    inner.builtinOptionsType, inner.builtinOptions = gelu.builtinOptionsType, gelu.builtinOptions
    inner.inputs, inner.outputs = np.array([0], np.int32), np.array([1], np.int32)
    body.inputs, body.outputs = np.array([0], np.int32), np.array([1], np.int32)
    body.operators = [inner]
    model.subgraphs.append(body)
    always = added_tensor(model, "always", [1], BOOL, np.array([True]))
    gelu.opcodeIndex = code(model, "IF")
    gelu.inputs = np.array([always, int(gelu.inputs[0])], np.int32)
    gelu.builtinOptionsType = schema().BuiltinOptions.IfOptions
    gelu.builtinOptions = schema().IfOptionsT()
    gelu.builtinOptions.thenSubgraphIndex = gelu.builtinOptions.elseSubgraphIndex = 1


def renamed(side: str, name: str) -> Edit:
    """Another name for the input or the output, in the signature."""

    def edit(model: Any) -> None:
        getattr(model.signatureDefs[0], side)[0].name = name.encode()

    return edit


def signature_lost(model: Any) -> None:
    """The names that callers ask by are gone, and tensors are called as the converter does."""
    model.signatureDefs = []
    for place, name in ((graph(model).inputs[0], "args_0"), (graph(model).outputs[0], "output_0")):
        tensor(model, place).name = f"serving_default_{name}:0".encode()


def second_input(model: Any) -> None:
    mask = added_tensor(model, "mask", [1, 1], FLOAT32)
    graph(model).inputs = np.append(graph(model).inputs, np.int32(mask))


def image_shape(axis: int, size: int) -> Edit:
    """Another size of the image."""

    def edit(model: Any) -> None:
        image = tensor(model, graph(model).inputs[0])
        image.shape = np.array(image.shape)
        if size == -1:
            image.shapeSignature = np.array(image.shape)
            image.shapeSignature[axis] = -1
        else:
            image.shape[axis] = size

    return edit


def input_of_doubles(model: Any) -> None:
    tensor(model, graph(model).inputs[0]).type = FLOAT64


def output_removed(model: Any) -> None:
    graph(model).outputs = np.array([], np.int32)
    model.signatureDefs[0].outputs = []


def second_output(model: Any) -> None:
    inner = int(nodes(model, "SOFTMAX")[0].outputs[0])
    graph(model).outputs = np.append(graph(model).outputs, np.int32(inner))


def no_metadata(model: Any) -> None:
    model.metadata = [each for each in model.metadata if not each.name.startswith(b"slide_deploy")]


def declared(key: str, change: Callable[[str], str]) -> Edit:
    """Another text in what the exporter stored."""

    def edit(model: Any) -> None:
        (entry,) = (each for each in model.metadata if each.name.decode() == key)
        buffer = model.buffers[entry.buffer]
        buffer.data = np.frombuffer(change(bytes(buffer.data).decode()).encode(), np.uint8)

    return edit


half_precision_claimed = declared(PRECISION_KEY, lambda text: "float16")


def stale_constant(model: Any) -> None:
    added_tensor(model, "stale", [3], FLOAT32, np.ones(3, np.float32))


def stale_buffer(model: Any) -> None:
    stale_constant(model)
    graph(model).tensors.pop()


def duplicated_constant(model: Any) -> None:
    """The weight of the last projection is stored twice, and every second reader has its own."""
    last = nodes(model, "FULLY_CONNECTED")[-2]
    held = tensor(model, int(last.inputs[1]))
    numbers = bytes(model.buffers[held.buffer].data)
    twin = added_tensor(model, "twin", held.shape, FLOAT32, np.frombuffer(numbers, np.uint8))
    difference = added_tensor(model, "nothing", held.shape, FLOAT32)
    total = added_tensor(model, "weight", held.shape, FLOAT32)
    at = graph(model).operators.index(last)
    added_operator(model, "SUB", [int(last.inputs[1]), twin], [difference], at)
    added_operator(model, "ADD", [int(last.inputs[1]), difference], [total], at + 1)
    last.inputs = np.array([int(last.inputs[0]), total, *last.inputs[2:]], np.int32)


def weights_outside(model: Any) -> None:
    """A tensor names a buffer that the file does not have."""
    tensor(model, int(nodes(model, "CONV_2D")[0].inputs[1])).buffer = len(model.buffers) + 7


def weights_of_another_type(model: Any) -> None:
    tensor(model, int(nodes(model, "FULLY_CONNECTED")[2].inputs[2])).type = INT32


def weights_cut(model: Any) -> None:
    held = tensor(model, int(nodes(model, "FULLY_CONNECTED")[2].inputs[1]))
    model.buffers[held.buffer].data = model.buffers[held.buffer].data[:-16]


def declared_shape_wrong(model: Any) -> None:
    value = tensor(model, int(nodes(model, "GELU")[0].outputs[0]))
    value.shape = np.array(value.shape)
    value.shape[-1] -= 1


def slide(model: Any, index: int) -> Any:
    return nodes(model, "DEPTHWISE_CONV_2D")[index]


def weights_in_another_order(model: Any) -> None:
    """A depthwise convolution is written as one with groups, whose weights stand as they stood."""
    found = slide(model, 2)
    held = tensor(model, int(found.inputs[1]))
    _, height, width, outputs = (int(size) for size in held.shape)
    found.opcodeIndex = code(model, "CONV_2D")
    options = schema().Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.padding = found.builtinOptions.padding
    found.builtinOptionsType = schema().BuiltinOptions.Conv2DOptions
    found.builtinOptions = options
    held.shape = np.array([outputs, height, width, 1], np.int32)


def padding_lost(model: Any) -> None:
    slide(model, 2).builtinOptions.padding = schema().Padding.VALID


def dilated(model: Any) -> None:
    options = slide(model, 2).builtinOptions
    options.dilationHFactor = options.dilationWFactor = 2


def epsilon(value: float, *indices: int) -> Edit:
    """Another epsilon in some normalisations, or in all."""

    def edit(model: Any) -> None:
        roots = nodes(model, "RSQRT")
        givers = {int(each.outputs[0]): each for each in graph(model).operators}
        held = added_tensor(model, "epsilon", [], FLOAT32, np.float32(value))
        for index in indices or range(len(roots)):
            found = givers[int(roots[index].inputs[0])]
            while len(found.inputs) < 2 or found in nodes(model, "RESHAPE"):
                found = givers[int(found.inputs[0])]
            constant = next(
                place
                for place in (0, 1)
                if tensor(model, int(found.inputs[place])).buffer
                and model.buffers[tensor(model, int(found.inputs[place])).buffer].data is not None
            )
            found.inputs = np.array(found.inputs)
            found.inputs[constant] = held

    return edit


def tanh_gelu(model: Any) -> None:
    for found in nodes(model, "GELU"):
        found.builtinOptions.approximate = True


def softmax_over_positions(model: Any) -> None:
    """The largest value, and the sum, of another axis: exponentials are divided by a wrong sum."""
    total = nodes(model, "SUM")[1]
    axes = added_tensor(model, "axes", [1], INT32, np.array([3], np.int32))
    total.inputs = np.array([int(total.inputs[0]), axes], np.int32)


def residual_subtracted(model: Any) -> None:
    """In the sum behind the first MLP; sums of a bias have one input that is stored."""
    sums = [
        found
        for found in nodes(model, "ADD")
        if not any(tensor(model, int(place)).buffer for place in found.inputs)
    ]
    sums[1].opcodeIndex = code(model, "SUB")
    sums[1].builtinOptionsType = schema().BuiltinOptions.SubOptions
    sums[1].builtinOptions = schema().SubOptionsT()


def values_read_the_keys(model: Any) -> None:
    slide(model, 3).inputs = np.array(slide(model, 3).inputs)
    slide(model, 3).inputs[0] = slide(model, 2).inputs[0]


def nodes_reversed(model: Any) -> None:
    graph(model).operators.reverse()


def reads_what_nothing_computes(model: Any) -> None:
    gelu = nodes(model, "GELU")[0]
    nowhere = added_tensor(model, "nowhere", tensor(model, int(gelu.inputs[0])).shape, FLOAT32)
    gelu.inputs = np.array([nowhere], np.int32)


def reads_past_the_tensors(model: Any) -> None:
    nodes(model, "GELU")[0].inputs = np.array([len(graph(model).tensors) + 5], np.int32)


def activation_added(model: Any) -> None:
    """A convolution cuts off what is negative."""
    relu = schema().ActivationFunctionType.RELU
    nodes(model, "CONV_2D")[1].builtinOptions.fusedActivationFunction = relu


def product_transposed(model: Any) -> None:
    """The first product of a window attention reads its keys the other way round."""
    options = nodes(model, "BATCH_MATMUL")[0].builtinOptions
    options.adjY = not options.adjY
