"""Models that other tools write and no network of PyTorch's own exporters is."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

_HEAD = '<ir_version: 10, opset_import: ["" : 20, "own" : 1, "ai.onnx.ml" : 3]>\n'
# Every model has a softmax or a convolution, so that fold does not copy it unread.
_TEXTS = {
    "no inputs": """agraph () => (float[1,4] y) <float[1,4] w = {1,2,3,4}> { y = Softmax(w) }""",
    "no outputs": """agraph (float[1,4] x) => () { y = Softmax(x) }""",
    "a batch of -1": """agraph (float[-1,4] x) => (float[-1,4] y) { y = Softmax(x) }""",
    "a size of -1": """agraph (float[1,-1] x) => (float[1,-1] y) { y = Softmax(x) }""",
    "empty": """agraph (float[1,4] x) => (float[1,4] x) { }""",
    "an unknown rank": """agraph (float[] x) => (float[] y) { y = Softmax(x) }""",
    "a sequence": """agraph (seq(float[1,4]) x, int64 i) => (float[1,4] y)
        { e = SequenceAt(x, i)  y = Softmax(e) }""",
    "an optional": """agraph (optional(float[1,4]) x) => (float[1,4] y)
        { e = OptionalGetElement(x)  y = Softmax(e) }""",
    "texts": """agraph (string[1,4] t, float[1,4] x) => (float[1,4] y, string[1,4] u)
        { y = Softmax(x)  u = Identity(t) }""",
    "a custom domain": """agraph (float[1,4] x) => (float[1,4] y)
        { z = own.Twice(x)  y = Softmax(z) }""",
    "classical learning": """agraph (float[1,4] x) => (float[1,4] y)
        { z = ai.onnx.ml.Scaler(x)  y = Softmax(z) }""",
    "a branch": """agraph (bool b, float[1,4] x) => (float[1,4] y) {
        z = If (b) <
            then_branch = g1 () => (float[1,4] t) { t = Relu(x) },
            else_branch = g2 () => (float[1,4] e) { e = Neg(x) }
        >
        y = Softmax(z) }""",
    "a convolution in a branch": """agraph (bool b, float[1,2,5,5] x) => (float[1,2,3,3] y)
        <float[2,2,3,3] w = {1,2,3,4,5,6,7,8,9, 1,2,3,4,5,6,7,8,9,
        1,2,3,4,5,6,7,8,9, 1,2,3,4,5,6,7,8,9}>
        { y = If (b) <
            then_branch = g1 () => (float[1,2,3,3] t) { t = Conv(x, w) },
            else_branch = g2 () => (float[1,2,3,3] e) { e = Conv(x, w) }
        > }""",
    "a loop": """agraph (int64 n, bool c, float[1,4] x) => (float[1,4] y) {
        z = Loop (n, c, x) <
            body = g (int64 i, bool ci, float[1,4] a) => (bool co, float[1,4] r)
                { co = Identity(ci)  r = Relu(a) }
        >
        y = Softmax(z) }""",
    "eight bits": """agraph (float[1,4] x) => (float[1,4] y)
        <float s = {0.5}, uint8 z = {3}>
        { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Softmax(d) }""",
    "float64": """agraph (double[1,4] x) => (double[1,4] y) { y = Softmax(x) }""",
    "a size that does not fit": """agraph (float[1,4] x) => (float[1,3] y)
        <float[3] w = {1,2,3}> { z = Add(x, w)  y = Softmax(z) }""",
    "a value that nothing computes": """agraph (float[1,4] x) => (float[1,4] y)
        { z = Add(x, absent)  y = Softmax(z) }""",
    "a cycle": """agraph (float[1,4] x) => (float[1,4] y)
        { a = Add(x, b)  b = Relu(a)  y = Softmax(b) }""",
    "an attribute that is missing": """agraph (float[1,4] x) => (float[1,4] y)
        { z = Cast(x)  y = Softmax(z) }""",
    "random numbers": """agraph (float[1,4] x) => (float[1,4] y)
        { r = RandomNormalLike(x)  z = Add(r, x)  y = Softmax(z) }""",
    "results that decide on sizes": """agraph (float[1,4] x) => (float[N] y)
        { z = NonZero(x)  v = GatherND(x, z)  y = Softmax(v) }""",
    "far too large": """agraph (float[1,4] x) => (float y)
        <int64[2] s = {1000000,1000000}> { z = Expand(x, s)  w = ConstantOfShape(s)
        v = Add(z, w)  y = Softmax(v) }""",
    "a tile far too large": """agraph (float[1,4] x) => (float y)
        <int64[2] s = {100000,100000}> { z = Tile(x, s)  y = Softmax(z) }""",
    "a pad far too large": """agraph (float[1,4] x) => (float y)
        <int64[4] s = {100000,100000,0,0}> { z = Pad(x, s)  y = Softmax(z) }""",
    "a resize far too large": """agraph (float[1,1,4,4] x) => (float y)
        <int64[4] s = {1,1,400000,400000}> { z = Resize(x, , , s)  y = Softmax(z) }""",
    "a range far too large": """agraph (float[1,4] x) => (float y)
        <int64 a = {0}, int64 b = {50000000000}, int64 c = {1}>
        { r = Range(a, b, c)  f = Cast<to=1>(r)  z = Add(x, f)  y = Softmax(z) }""",
    "many constants": f"""agraph (float[1,4] x) => (float y) <int64[2] s = {{30000,5000}}>
        {{ {" ".join(f"c{each} = ConstantOfShape(s)" for each in range(40))}
        z = Sum(x, {", ".join(f"c{each}" for each in range(40))})  y = Softmax(z) }}""",
    "an input far too large": """agraph (float[1000000,1000000] x) => (float[1000000,1000000] y)
        { y = Softmax(x) }""",
}


def _function() -> onnx.ModelProto:
    return parser.parse_model(
        _HEAD
        + """agraph (float[1,4] x) => (float[1,4] y) { z = own.Twice(x)  y = Softmax(z) }
        <domain: "own", opset_import: ["" : 20]> Twice (a) => (b) { b = Add(a, a) }"""
    )


def _open_function() -> onnx.ModelProto:
    """A size is open, which is no matter to a file without anything to fold."""
    return parser.parse_model(
        _HEAD
        + """agraph (float[1,n] x) => (float[1,n] y) { y = own.Twice(x) }
        <domain: "own", opset_import: ["" : 20]> Twice (a) => (b) { b = Add(a, a) }"""
    )


def _recursive_function() -> onnx.ModelProto:
    return parser.parse_model(
        _HEAD
        + """agraph (float[1,4] x) => (float[1,4] y) { z = own.Twice(x)  y = Softmax(z) }
        <domain: "own", opset_import: ["" : 20, "own" : 1]> Twice (a) => (b) { b = own.Twice(a) }"""
    )


def _softmax() -> onnx.ModelProto:
    return parser.parse_model(_HEAD + "agraph (float[1,4] x) => (float[1,4] y) { y = Softmax(x) }")


def _training() -> onnx.ModelProto:
    model = _softmax()
    model.training_info.add().algorithm.CopyFrom(model.graph)
    return model


def _sparse() -> onnx.ModelProto:
    model = _softmax()
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([2])))
    sparse.dims.append(4)
    model.graph.node.insert(0, helper.make_node("Add", ["x", "w"], ["v"]))
    model.graph.node[1].input[0] = "v"
    return model


def _outside() -> onnx.ModelProto:
    model = _softmax()
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    model.graph.initializer.append(tensor)
    model.graph.node.insert(0, helper.make_node("Add", ["x", "w"], ["v"]))
    model.graph.node[1].input[0] = "v"
    return model


def _no_operators_imported() -> onnx.ModelProto:
    model = _softmax()
    del model.opset_import[:]
    return model


_BUILT: dict[str, Callable[[], onnx.ModelProto]] = {
    "a function": _function,
    "a function without anything to fold": _open_function,
    "a function that calls itself": _recursive_function,
    "a training graph": _training,
    "sparse weights": _sparse,
    "data outside its folder": _outside,
    "no operator set": _no_operators_imported,
}
NAMES = (*_TEXTS, *_BUILT, "no bytes", "a text", "half of a model")


def write(name: str, path: Path) -> None:
    """Write the model of that name."""
    whole = _softmax().SerializeToString()
    contents = {
        "no bytes": b"",
        "a text": b"weights\n",
        "half of a model": whole[: len(whole) // 2],
    }
    if name in contents:
        path.write_bytes(contents[name])
        return
    model = parser.parse_model(_HEAD + _TEXTS[name]) if name in _TEXTS else _BUILT[name]()
    path.write_bytes(model.SerializeToString())


# Operators that make a table of two lists, or of a list of rows.
OUTER = ("Add(column, row)", "MatMul(column, row)", "Gather(row, zeros)", "Max(column, row)")


def write_outer(node: str, path: Path) -> None:
    """Write a model that makes 90,000,000,000 numbers of constants."""
    many = 300_000
    constants = {
        "column": np.ones((many, 1), np.float32),
        "row": np.ones((1, many), np.float32),
        "zeros": np.zeros(many, np.int64),
    }
    write_constants(node, {name: each for name, each in constants.items() if name in node}, path)


def write_constants(node: str, constants: Mapping[str, npt.ArrayLike], path: Path) -> None:
    """Write a model whose output depends on an operator of constants alone."""
    text = f"""agraph (float[1,1] x) => (float y)
        {{ t = {node}  f = Cast<to=1>(t)  z = Add(x, f)  y = Softmax(z) }}"""
    model = parser.parse_model(_HEAD + text)
    stored = [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()]
    model.graph.initializer.extend(stored)
    path.write_bytes(model.SerializeToString())


def from_packages() -> Iterator[Path]:
    """The files that installed packages bring along."""
    site = Path(onnx.__file__).parents[1]
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    yield from sorted(data.glob("*/*/model.onnx"))
    yield from sorted(data.glob("light/*.onnx"))
    yield from sorted(site.glob("onnxruntime/datasets/*.onnx"))
