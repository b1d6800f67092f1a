"""The dialect of LiteRT's ``.tflite`` files."""

import re

from slide_deploy.graph_checks.dialect import Dialect, Kind, PadWords, kinds
from slide_deploy.graph_checks.expansion import dequantize

DIALECT = Dialect(
    format="litert",
    domain="tflite",
    kinds=kinds(
        {
            Kind.CONVOLUTION: "CONV_2D CONV_3D DEPTHWISE_CONV_2D",
            Kind.MATMUL: "BATCH_MATMUL",
            Kind.LINEAR: "FULLY_CONNECTED",
            Kind.SOFTMAX: "LOG_SOFTMAX SOFTMAX",
            Kind.ADD: "ADD ADD_N",
            Kind.MULTIPLY: "MUL",
            Kind.BROADCAST: "DIV EQUAL FLOOR_DIV FLOOR_MOD GREATER LESS MAXIMUM MINIMUM POW "
            "SELECT_V2 SQUARED_DIFFERENCE SUB",
            Kind.SAME_SHAPE: "ABS CEIL COS ELU EXP FLOOR GELU HARD_SWISH L2_NORMALIZATION "
            "LEAKY_RELU LOG LOGISTIC NEG PRELU RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT "
            "SIGN SIN SQRT SQUARE TANH",
            Kind.CAST: "CAST DEQUANTIZE FAKE_QUANT QUANTIZE",
            Kind.RESHAPE: "EXPAND_DIMS RESHAPE SQUEEZE",
            Kind.TRANSPOSE: "TRANSPOSE",
            Kind.CONCAT: "CONCATENATION",
            Kind.EXPAND: "BROADCAST_TO",
            Kind.GATHER: "GATHER GATHER_ND",
            Kind.CONTROL_FLOW: "CALL CALL_ONCE IF STABLEHLO_CASE STABLEHLO_COMPOSITE "
            "STABLEHLO_WHILE WHILE",
        }
    ),
    groups="groups",
    channels_last=frozenset({"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}),
    weight_axes={
        "CONV_2D": "ohwi",
        "CONV_3D": "dhwio",
        "DEPTHWISE_CONV_2D": "ihwo",
        "TRANSPOSE_CONV": "ohwi",
    },
    transposed_convolutions=frozenset({"TRANSPOSE_CONV"}),
    padding=PadWords(("pad", "padv2"), inputs=(1,), by_axis=True, value=2),
    pad_mode="padding",
    transposed=("adj_x", "adj_y"),
    linear_transposed=(False, True),
    keeps_axes="keep_num_dims",
    gather="GATHER",
    # DEQUANTIZE also widens float16 weights; the type of its input tells the two apart.
    quantising=re.compile(r"^QUANTIZE$|^FAKE_QUANT$|^DENSIFY$"),
    expand={"DEQUANTIZE": dequantize},
    rounding=frozenset({"DEQUANTIZE", "QUANTIZE"}),
    optional_inputs=True,
)
