"""What operators of the three formats are to the rules that reason about them.

An operator that no table names is ``Kind.OTHER``: rules then assume nothing about it.
"""

from collections.abc import Mapping
from enum import Enum, auto

from slide_deploy.graph_checks.graph import Format, Graph, Node


class Kind(Enum):
    """A common kind of operator."""

    CONVOLUTION = auto()
    PRODUCT = auto()  # of two activations or of an activation and a weight
    LINEAR = auto()  # x W^T + b as one operator
    ATTENTION = auto()  # softmax(q k^T) v as one operator
    SOFTMAX = auto()
    ADD = auto()
    MULTIPLY = auto()
    BROADCAST = auto()  # other elementwise operators of several inputs
    SAME_SHAPE = auto()  # one input matters, and the output has its shape
    CAST = auto()
    RESHAPE = auto()
    TRANSPOSE = auto()
    CONCAT = auto()
    GATHER = auto()
    UNFOLD = auto()
    CONTROL_FLOW = auto()
    OTHER = auto()


_ONNX: dict[Kind, str] = {
    Kind.CONVOLUTION: "Conv ConvInteger",
    Kind.PRODUCT: "MatMul MatMulInteger",
    Kind.LINEAR: "Gemm",
    Kind.ATTENTION: "Attention",
    Kind.SOFTMAX: "Softmax LogSoftmax",
    Kind.ADD: "Add Sum",
    Kind.MULTIPLY: "Mul",
    Kind.BROADCAST: "Div Equal Greater Less Max Min Pow Sub Where",
    Kind.SAME_SHAPE: "Abs BatchNormalization Clip Erf Exp Gelu GroupNormalization HardSigmoid "
    "HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Log Neg "
    "RMSNormalization Reciprocal Relu Sigmoid Sqrt Tanh",
    Kind.CAST: "Cast DequantizeLinear QuantizeLinear",
    Kind.RESHAPE: "Flatten Reshape Squeeze Unsqueeze",
    Kind.TRANSPOSE: "Transpose",
    Kind.CONCAT: "Concat",
    Kind.GATHER: "Gather GatherElements GatherND",
    Kind.UNFOLD: "Col2Im Im2Col",
    Kind.CONTROL_FLOW: "If Loop Scan SequenceMap",
}

_OPENVINO: dict[Kind, str] = {
    Kind.CONVOLUTION: "Convolution GroupConvolution",
    Kind.PRODUCT: "MatMul",
    Kind.ATTENTION: "ScaledDotProductAttention",
    Kind.SOFTMAX: "LogSoftmax SoftMax Softmax",
    Kind.ADD: "Add",
    Kind.MULTIPLY: "Multiply",
    Kind.BROADCAST: "Divide Equal Greater Less Maximum Minimum Mod Power Select "
    "SquaredDifference Subtract",
    Kind.SAME_SHAPE: "Abs Clamp Erf Exp Gelu HSigmoid HSwish Log MVN Negative PReLU RMS ReLU "
    "Sigmoid Sqrt Swish Tanh",
    Kind.CAST: "Convert FakeQuantize",
    Kind.RESHAPE: "Reshape Squeeze Unsqueeze",
    Kind.TRANSPOSE: "Transpose",
    Kind.CONCAT: "Concat",
    Kind.GATHER: "Gather GatherElements GatherND",
    Kind.UNFOLD: "Col2Im ExtractImagePatches",
    Kind.CONTROL_FLOW: "If Loop TensorIterator",
}

_COREML: dict[Kind, str] = {
    Kind.CONVOLUTION: "conv",
    Kind.PRODUCT: "matmul",
    Kind.LINEAR: "linear",
    Kind.ATTENTION: "scaled_dot_product_attention",
    Kind.SOFTMAX: "softmax",
    Kind.ADD: "add",
    Kind.MULTIPLY: "mul",
    Kind.BROADCAST: "equal floor_div greater less maximum minimum mod pow real_div select sub",
    Kind.SAME_SHAPE: "abs batch_norm clip erf exp gelu identity instance_norm inverse "
    "layer_norm leaky_relu log relu rsqrt sigmoid sigmoid_hard silu sqrt square tanh",
    Kind.CAST: "cast dequantize quantize",
    Kind.RESHAPE: "expand_dims flatten2d reshape squeeze",
    Kind.TRANSPOSE: "transpose",
    Kind.CONCAT: "concat",
    Kind.GATHER: "gather gather_along_axis gather_nd",
    Kind.UNFOLD: "sliding_windows",
    Kind.CONTROL_FLOW: "cond while_loop",
}


def _by_operator(table: dict[Kind, str]) -> dict[str, Kind]:
    return {operator: kind for kind, names in table.items() for operator in names.split()}


_KINDS: Mapping[Format, Mapping[str, Kind]] = {
    "onnx": _by_operator(_ONNX),
    "openvino": _by_operator(_OPENVINO),
    "coreml": _by_operator(_COREML),
}

# What passes numbers on and mixes no channels by weights: between two projections of an attention
# there is nothing else.
_CROSSING = frozenset(Kind) - {
    Kind.CONVOLUTION,
    Kind.PRODUCT,
    Kind.LINEAR,
    Kind.ATTENTION,
    Kind.CONTROL_FLOW,
}


def kind_of(graph: Graph, node: Node) -> Kind:
    """The kind of a node."""
    return _KINDS[graph.format].get(node.operator, Kind.OTHER)


def is_projection(graph: Graph, node: Node) -> bool:
    """Whether a node ends the inside of an attention: it mixes channels or may hide such a node."""
    return kind_of(graph, node) not in _CROSSING
