"""The dialect of ExecuTorch and XNNPACK.

Operators of ExecuTorch's own kernels keep their names, ``aten::bmm`` for example. Those inside a
delegate have XNNPACK's, without its prefix; three are named as rules know them: ``Pad``, ``Sqrt``
and ``Rsqrt``. A delegate that cannot be read is one operator, with the name of its library.
"""

from slide_deploy.graph_checks.dialect import Dialect, Kind, PadWords, kinds

# Operators that the rules expect under another name.
RENAMED = {"StaticConstantPad": "Pad", "SquareRoot": "Sqrt", "ReciprocalSquareRoot": "Rsqrt"}

DIALECT = Dialect(
    format="executorch",
    domain="executorch",
    kinds=kinds(
        {
            Kind.CONVOLUTION: "Conv2d DepthwiseConv2d aten::convolution",
            Kind.MATMUL: "BatchMatrixMultiply aten::bmm aten::mm",
            Kind.LINEAR: "FullyConnected aten::addmm aten::linear",
            Kind.ATTENTION: "ScaledDotProductAttention",
            Kind.SOFTMAX: "Softmax aten::_softmax aten::_log_softmax",
            Kind.ADD: "Add aten::add",
            Kind.MULTIPLY: "Multiply aten::mul",
            Kind.BROADCAST: "Div Maximum Minimum PReLU Subtract aten::div aten::maximum "
            "aten::minimum aten::sub",
            Kind.SAME_SHAPE: "Abs Ceiling Clamp Copy Cos ELU Exp Floor Gelu Hardswish LeakyReLU "
            "Log Negate Rsqrt Sigmoid Sin Sqrt Square Tanh aten::abs aten::clamp aten::clone "
            "aten::exp aten::gelu aten::neg aten::relu aten::rsqrt aten::sigmoid aten::sqrt "
            "aten::tanh",
            Kind.CAST: "Convert",
            Kind.RESHAPE: "StaticReshape aten::squeeze_copy aten::unsqueeze_copy aten::view_copy "
            "executorch_prim::et_view",
            Kind.TRANSPOSE: "StaticTranspose aten::permute_copy",
            Kind.CONCAT: "Concatenate2 Concatenate3 Concatenate4 Concatenate5 aten::cat",
            Kind.EXPAND: "aten::expand_copy",
            Kind.GATHER: "aten::embedding aten::gather aten::index aten::index_select",
            Kind.UNFOLD: "aten::col2im aten::im2col aten::unfold_copy",
            Kind.CONTROL_FLOW: "jump_false move",
        }
    ),
    groups="groups",
    transposed_convolutions=frozenset({"ConvTranspose2d", "aten::convolution_transposed"}),
    channels_last=frozenset({"Conv2d", "DepthwiseConv2d"}),
    padding=PadWords(attribute="amounts", value="value"),
    pads=("pads",),
    transposed=("transpose_left", "transpose_right"),
    permutation="perm",
    pattern="shape",
    gather="aten::index",
    epsilons={
        "aten::native_layer_norm": "eps",
        "aten::native_group_norm": "eps",
        "aten::_native_batch_norm_legit_no_training": "eps",
    },
)
