"""The schema of ``.tflite`` files, as far as the reader needs it: slots, types and operators.

Slots are the fields of a table by their order in LiteRT's ``schema.fbs``, which only grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

IDENTIFIER = b"TFL3"

# Element types by their number: ours, and bits. Texts, handles and the like have none.
TYPES: Mapping[int, tuple[str, int]] = {
    0: ("float32", 32),
    1: ("float16", 16),
    2: ("int32", 32),
    3: ("uint8", 8),
    4: ("int64", 64),
    6: ("bool", 8),
    7: ("int16", 16),
    8: ("complex64", 64),
    9: ("int8", 8),
    10: ("float64", 64),
    11: ("complex128", 128),
    12: ("uint64", 64),
    15: ("uint32", 32),
    16: ("uint16", 16),
    17: ("int4", 4),
    18: ("bfloat16", 16),
    19: ("int2", 2),
    20: ("uint4", 4),
    21: ("float8e4m3fn", 8),
    22: ("float8e5m2", 8),
}

_OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6
RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM
EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND
TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN
EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX
MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV
SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT
REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU
REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE
READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM
MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM
STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM
STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS
STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM
STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT
STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER
STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE
STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
"""
# By their number.
OPERATORS = tuple(_OPERATORS.split())
CUSTOM = OPERATORS.index("CUSTOM")

_PADDINGS = ("same_upper", "valid")


@dataclass(frozen=True)
class Option:
    """A parameter of an operator.

    Attributes:
        name: as a node's attributes have it.
        slot: in the table of the operator's options.
        kind: of the number, or "bool".
        default: what an absent field means.
        words: what the numbers stand for; empty for numbers that mean themselves.
        is_body: whether the number is that of a subgraph that the operator runs.
    """

    name: str
    slot: int
    kind: str = "int32"
    default: int = 0
    words: tuple[str, ...] = ()
    is_body: bool = False


def _window(height: int, width: int) -> tuple[Option, ...]:
    """Padding, and strides as two options that the reader joins."""
    padding = Option("padding", 0, "int8", words=_PADDINGS)
    return padding, Option("stride_h", height), Option("stride_w", width)


def _dilations(height: int, width: int) -> tuple[Option, ...]:
    return Option("dilation_h", height, default=1), Option("dilation_w", width, default=1)


# The parameters that the graph rules and shape inference depend on.
OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "BATCH_MATMUL": (Option("adj_x", 0, "bool"), Option("adj_y", 1, "bool")),
    "CALL": (Option("subgraph", 0, "uint32", is_body=True),),
    "CALL_ONCE": (Option("subgraph", 0, is_body=True),),
    "CONV_2D": (*_window(2, 1), *_dilations(5, 4)),
    "DEPTHWISE_CONV_2D": (*_window(2, 1), *_dilations(6, 5)),
    "FULLY_CONNECTED": (Option("keep_num_dims", 2, "bool"),),
    "IF": (Option("then", 0, is_body=True), Option("else", 1, is_body=True)),
    "STABLEHLO_COMPOSITE": (Option("body", 1, is_body=True),),
    "TRANSPOSE_CONV": _window(2, 1),
    "WHILE": (Option("condition", 0, is_body=True), Option("body", 1, is_body=True)),
}
# The index of a tensor that is left out.
MISSING = -1
# The input that may be left out, by operator.
BIASES: Mapping[str, int] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D"), 2),
    **dict.fromkeys(("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"), 3),
}
# Operators with many inputs that may be left out.
RECURRENT = frozenset(each for each in OPERATORS if each.endswith(("LSTM", "RNN", "SVDF")))
# Operators whose options stand in the second table of options.
SECOND = frozenset({"STABLEHLO_COMPOSITE"})
