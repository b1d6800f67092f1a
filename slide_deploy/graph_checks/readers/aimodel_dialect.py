"""The dialect of Core AI's programs."""

import re

from slide_deploy.graph_checks.dialect import Dialect, Kind, PadWords, kinds

DIALECT = Dialect(
    format="coreai",
    domain="coreai",
    kinds=kinds(
        {
            Kind.CONVOLUTION: "conv2d conv3d",
            Kind.MATMUL: "batch_matmul",
            Kind.SOFTMAX: "softmax",
            Kind.ADD: "add",
            Kind.MULTIPLY: "mul",
            Kind.BROADCAST: "and bitwise_and bitwise_or bitwise_xor divide equal floor_divide "
            "greater maximum minimum modulo not_equal or pow sub where xor",
            Kind.SAME_SHAPE: "abs cos erf exp gelu log not relu round rsqrt sigmoid silu sin sqrt "
            "tanh",
            Kind.CAST: "cast dequantize quantize",
            Kind.RESHAPE: "expand_dims reshape shrink_dims",
            Kind.TRANSPOSE: "transpose",
            Kind.CONCAT: "concat",
            Kind.EXPAND: "broadcast_in_dims broadcast_to",
            Kind.GATHER: "gather_along_axis gather_nd",
            Kind.CONTROL_FLOW: "if while",
        }
    ),
    groups="groups",
    transposed_convolutions=frozenset({"conv_transpose2d", "conv_transpose3d"}),
    padding=PadWords(attribute="padding", value="value"),
    permutation="permutation",
    pattern="shape",
    gather="gather_nd",
    quantising=re.compile(r"quanti[sz]|^blockwise_shift_scale$|^lut_to_|sparse"),
    rounding=frozenset({"quantize", "dequantize"}),
    # The widest integers of the language.
    interface_types={"int64": "int32"},
)
