"""The dialect of ONNX."""

import re

from slide_deploy.graph_checks.dialect import Dialect, Kind, PadWords, kinds
from slide_deploy.graph_checks.expansion import dequantize_linear

DIALECT = Dialect(
    format="onnx",
    domain="ai.onnx",
    kinds=kinds(
        {
            Kind.CONVOLUTION: "Conv ConvInteger",
            Kind.MATMUL: "MatMul MatMulInteger",
            Kind.LINEAR: "Gemm",
            Kind.ATTENTION: "Attention",
            Kind.SOFTMAX: "Softmax LogSoftmax",
            Kind.ADD: "Add Sum",
            Kind.MULTIPLY: "Mul",
            Kind.BROADCAST: "Div Equal Greater Less Max Min Pow Sub Where",
            Kind.SAME_SHAPE: "Abs BatchNormalization Clip Erf Exp Gelu GroupNormalization "
            "HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu "
            "Log Neg RMSNormalization Reciprocal Relu Sigmoid Sqrt Tanh",
            Kind.CAST: "Cast DequantizeLinear QuantizeLinear",
            Kind.RESHAPE: "Flatten Reshape Squeeze Unsqueeze",
            Kind.TRANSPOSE: "Transpose",
            Kind.CONCAT: "Concat",
            Kind.EXPAND: "Expand",
            Kind.GATHER: "Gather GatherElements GatherND",
            Kind.UNFOLD: "Col2Im Im2Col",
            Kind.CONTROL_FLOW: "If Loop Scan SequenceMap",
        }
    ),
    groups="group",
    transposed_convolutions=frozenset({"ConvTranspose"}),
    padding=PadWords(inputs=(1,), axes=3, value=2),
    pad_mode="auto_pad",
    pads=("pads",),
    transposed=("transA", "transB"),
    permutation="perm",
    gather="Gather",
    epsilons=dict.fromkeys(
        (
            "BatchNormalization",
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "RMSNormalization",
        ),
        "epsilon",
    ),
    # The standard defines it for all five. If it is missing in another format, there is no number
    # to read: it may be computed, or stored in the weight file.
    default_epsilon=1e-5,
    # ONNX Runtime alone has forty such operators, whose names match these patterns.
    quantising=re.compile(
        r"[Qq]uantize|^QLinear|^QOrdered|^Q(Gemm|Attention|MoE)$|Integer(16|ToFloat)?$"
        r"|NBits|Bnb4$|Fp(Q)?4|Float8$|BFP$"
    ),
    expand={"DequantizeLinear": dequantize_linear},
    rounding=frozenset({"QuantizeLinear", "DequantizeLinear"}),
    optional_inputs=True,
)
