"""The dialect of Core ML's MIL."""

import re

from slide_deploy.graph_checks.dialect import Dialect, Kind, PadWords, kinds
from slide_deploy.graph_checks.expansion import affine, blockwise, palette

DIALECT = Dialect(
    format="coreml",
    domain="mil",
    unread_input="identity",
    # Inputs and outputs have no smaller integers and no booleans.
    interface_types={
        "bool": "int32 float32",
        "int8": "int32",
        "int16": "int32",
        "uint8": "int32",
        "uint16": "int32",
    },
    kinds=kinds(
        {
            Kind.CONVOLUTION: "conv",
            Kind.MATMUL: "matmul",
            Kind.LINEAR: "linear",
            Kind.ATTENTION: "scaled_dot_product_attention",
            Kind.SOFTMAX: "softmax",
            Kind.ADD: "add",
            Kind.MULTIPLY: "mul",
            Kind.BROADCAST: "equal floor_div greater less maximum minimum mod pow real_div select "
            "sub",
            Kind.SAME_SHAPE: "abs batch_norm clip erf exp gelu identity instance_norm inverse "
            "layer_norm leaky_relu log relu rsqrt sigmoid sigmoid_hard silu sqrt square tanh",
            Kind.CAST: "cast constexpr_affine_dequantize constexpr_blockwise_shift_scale "
            "dequantize quantize",
            Kind.RESHAPE: "expand_dims flatten2d reshape squeeze",
            Kind.TRANSPOSE: "transpose",
            Kind.CONCAT: "concat",
            Kind.GATHER: "gather gather_along_axis gather_nd",
            Kind.UNFOLD: "sliding_windows",
            Kind.CONTROL_FLOW: "cond while_loop",
        }
    ),
    groups="groups",
    transposed_convolutions=frozenset({"conv_transpose"}),
    padding=PadWords(attribute="pad", value="constant_val"),
    affine_norm="batch_norm",
    pad_mode="pad_type",
    pads=("pad",),
    pads_by_axis=True,
    transposed=("transpose_x", "transpose_y"),
    linear_transposed=(False, True),
    permutation="perm",
    pattern="shape",
    gather="gather",
    epsilons=dict.fromkeys(("batch_norm", "instance_norm", "layer_norm"), "epsilon"),
    quantising=re.compile(r"^(de)?quantize$|^conv_quantized$|^constexpr_.*(quantize|lut|scale)"),
    expand={
        "constexpr_affine_dequantize": affine,
        "constexpr_blockwise_shift_scale": blockwise,
        "constexpr_lut_to_dense": palette,
    },
    palettes=frozenset({"constexpr_lut_to_dense"}),
    rounding=frozenset({"quantize", "dequantize"}),
)
