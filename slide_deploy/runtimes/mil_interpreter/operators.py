"""The operators that the interpreter knows, in one table: function and parameters.

A parameter that stands in no list is an option that is not known, and the program is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slide_deploy.runtimes.mil_interpreter.call import Call
from slide_deploy.runtimes.mil_interpreter.operators_convolution import conv, conv_transpose
from slide_deploy.runtimes.mil_interpreter.operators_elementwise import (
    binary,
    cast,
    clip,
    gelu,
    identity,
    inverse,
    leaky_relu,
    log,
    real_div,
    relu6,
    rsqrt,
    select,
    unary,
)
from slide_deploy.runtimes.mil_interpreter.operators_indexing import (
    gather,
    gather_along_axis,
    gather_nd,
    pad,
    slice_by_index,
    slice_by_size,
)
from slide_deploy.runtimes.mil_interpreter.operators_linear import (
    einsum,
    linear,
    matmul,
    scaled_dot_product_attention,
)
from slide_deploy.runtimes.mil_interpreter.operators_pooling import (
    avg_pool,
    max_pool,
    upsample_bilinear,
    upsample_nearest_neighbor,
)
from slide_deploy.runtimes.mil_interpreter.operators_reduction import (
    batch_norm,
    instance_norm,
    layer_norm,
    reduce_argmax,
    reduce_l2_norm,
    reduce_sum_square,
    reduction,
    softmax,
)
from slide_deploy.runtimes.mil_interpreter.operators_shape import (
    concat,
    expand_dims,
    fill,
    pixel_shuffle,
    reshape,
    shape,
    split,
    squeeze,
    stack,
    tile,
    transpose,
)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        run: computes the outputs, one tensor or one a declared output.
        required: parameters that must be given.
        optional: parameters that may be left out.
    """

    run: Callable[[Call], Tensor | Sequence[Tensor]]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return Operator(unary(function), ("x",))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return Operator(binary(function), ("x", "y"))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    return Operator(reduction(function), ("x",), ("axes", "keep_dims"))


_WINDOWS = ("strides", "pad_type", "pad")
_POOLING = (*_WINDOWS, "ceil_mode")

OPERATORS: Mapping[str, Operator] = {
    # one operand
    "abs": _unary(torch.abs),
    "ceil": _unary(torch.ceil),
    "cos": _unary(torch.cos),
    "erf": _unary(torch.erf),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "floor": _unary(torch.floor),
    "identity": _unary(identity),
    "logical_not": _unary(torch.logical_not),
    "relu": _unary(torch.relu),
    "relu6": _unary(relu6),
    "sigmoid": _unary(torch.sigmoid),
    "sign": _unary(torch.sign),
    "silu": _unary(torch.nn.functional.silu),
    "sin": _unary(torch.sin),
    "softplus": _unary(torch.nn.functional.softplus),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "tanh": _unary(torch.tanh),
    "cast": Operator(cast, ("x", "dtype")),
    "clip": Operator(clip, ("x", "alpha", "beta")),
    "gelu": Operator(gelu, ("x",), ("mode",)),
    "inverse": Operator(inverse, ("x",), ("epsilon",)),
    "leaky_relu": Operator(leaky_relu, ("x", "alpha")),
    "log": Operator(log, ("x",), ("epsilon",)),
    "rsqrt": Operator(rsqrt, ("x",), ("epsilon",)),
    # two operands
    "add": _binary(torch.add),
    "equal": _binary(torch.eq),
    "floor_div": _binary(torch.floor_divide),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "logical_and": _binary(torch.logical_and),
    "logical_or": _binary(torch.logical_or),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "real_div": Operator(real_div, ("x", "y")),
    "sub": _binary(torch.sub),
    "select": Operator(select, ("cond", "a", "b")),
    # convolutions, pools, upsampling
    "conv": Operator(conv, ("x", "weight"), (*_WINDOWS, "bias", "dilations", "groups")),
    "conv_transpose": Operator(
        conv_transpose,
        ("x", "weight"),
        (*_WINDOWS, "bias", "dilations", "groups", "output_shape"),
    ),
    "avg_pool": Operator(
        avg_pool, ("x", "kernel_sizes"), (*_POOLING, "exclude_padding_from_average")
    ),
    "max_pool": Operator(max_pool, ("x", "kernel_sizes"), _POOLING),
    "upsample_bilinear": Operator(
        upsample_bilinear,
        ("x",),
        ("scale_factor_height", "scale_factor_width", "align_corners", "half_pixel_centers"),
    ),
    "upsample_nearest_neighbor": Operator(
        upsample_nearest_neighbor, ("x",), ("scale_factor_height", "scale_factor_width")
    ),
    # products
    "einsum": Operator(einsum, ("values", "equation")),
    "linear": Operator(linear, ("x", "weight"), ("bias",)),
    "matmul": Operator(matmul, ("x", "y"), ("transpose_x", "transpose_y")),
    "scaled_dot_product_attention": Operator(
        scaled_dot_product_attention, ("query", "key", "value"), ("attn_mask",)
    ),
    # along axes
    "batch_norm": Operator(batch_norm, ("x", "mean", "variance"), ("gamma", "beta", "epsilon")),
    "instance_norm": Operator(instance_norm, ("x",), ("gamma", "beta", "epsilon")),
    "layer_norm": Operator(layer_norm, ("x",), ("axes", "gamma", "beta", "epsilon")),
    "reduce_argmax": Operator(reduce_argmax, ("x",), ("axis", "keep_dims", "output_dtype")),
    "reduce_l2_norm": _reduction(reduce_l2_norm),
    "reduce_max": _reduction(torch.amax),
    "reduce_mean": _reduction(torch.mean),
    "reduce_min": _reduction(torch.amin),
    "reduce_sum": _reduction(torch.sum),
    "reduce_sum_square": _reduction(reduce_sum_square),
    "softmax": Operator(softmax, ("x",), ("axis",)),
    # rearrangement
    "concat": Operator(concat, ("values", "axis"), ("interleave",)),
    "expand_dims": Operator(expand_dims, ("x", "axes")),
    "fill": Operator(fill, ("shape",), ("value",)),
    "pixel_shuffle": Operator(pixel_shuffle, ("x", "upscale_factor")),
    "reshape": Operator(reshape, ("x", "shape")),
    "shape": Operator(shape, ("x",)),
    "split": Operator(split, ("x", "axis"), ("num_splits", "split_sizes")),
    "squeeze": Operator(squeeze, ("x",), ("axes",)),
    "stack": Operator(stack, ("values", "axis")),
    "tile": Operator(tile, ("x", "reps")),
    "transpose": Operator(transpose, ("x", "perm")),
    # selection
    "gather": Operator(gather, ("x", "indices"), ("axis", "batch_dims", "validate_indices")),
    "gather_along_axis": Operator(
        gather_along_axis, ("x", "indices"), ("axis", "validate_indices")
    ),
    "gather_nd": Operator(gather_nd, ("x", "indices"), ("batch_dims", "validate_indices")),
    "pad": Operator(pad, ("x", "pad"), ("mode", "constant_val")),
    "slice_by_index": Operator(
        slice_by_index,
        ("x", "begin", "end"),
        ("stride", "begin_mask", "end_mask", "squeeze_mask"),
    ),
    "slice_by_size": Operator(slice_by_size, ("x", "begin", "size")),
}
