"""The dialect of OpenVINO IR."""

import re

from slide_deploy.graph_checks.dialect import Dialect, Kind, PadWords, kinds
from slide_deploy.graph_checks.expansion import fake_quantize

DIALECT = Dialect(
    format="openvino",
    domain="opset",
    kinds=kinds(
        {
            Kind.CONVOLUTION: "Convolution GroupConvolution",
            Kind.MATMUL: "MatMul",
            Kind.ATTENTION: "ScaledDotProductAttention",
            Kind.SOFTMAX: "LogSoftmax SoftMax Softmax",
            Kind.ADD: "Add",
            Kind.MULTIPLY: "Multiply",
            Kind.BROADCAST: "Divide Equal Greater Less Maximum Minimum Mod Power Select "
            "SquaredDifference Subtract",
            Kind.SAME_SHAPE: "Abs Clamp Erf Exp Gelu HSigmoid HSwish Log MVN Negative PReLU RMS "
            "ReLU Sigmoid Sqrt Swish Tanh",
            Kind.CAST: "Convert FakeQuantize",
            Kind.RESHAPE: "Reshape Squeeze Unsqueeze",
            Kind.TRANSPOSE: "Transpose",
            Kind.CONCAT: "Concat",
            Kind.EXPAND: "Broadcast",
            Kind.GATHER: "Gather GatherElements GatherND",
            Kind.UNFOLD: "Col2Im ExtractImagePatches",
            Kind.CONTROL_FLOW: "If Loop TensorIterator",
        }
    ),
    grouped=frozenset({"GroupConvolution", "GroupConvolutionBackpropData"}),
    transposed_convolutions=frozenset({"ConvolutionBackpropData", "GroupConvolutionBackpropData"}),
    padding=PadWords(inputs=(1, 2), value=3),
    pad_mode="auto_pad",
    pads=("pads_begin", "pads_end"),
    transposed=("transpose_a", "transpose_b"),
    gather="Gather",
    epsilons={"BatchNormInference": "epsilon", "GroupNormalization": "epsilon", "MVN": "eps"},
    quantising=re.compile(r"^FakeConvert$|[Qq]uantize"),
    expand={"FakeQuantize": fake_quantize},
    ranges=frozenset({"FakeQuantize"}),
    rounding=frozenset({"FakeQuantize"}),
    in_order=False,
)
