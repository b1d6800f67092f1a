"""Operators mean what their operator set says, from 7 to 24, as ONNX Runtime computes them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import parser

from slide_deploy.onnx_network.building import parts_of
from slide_deploy.onnx_network.reading import read_model

X = "float[2,4,6,5] x"
# First and last operator set of a form, and the graph between x and y.
FORMS = {
    "softmax, default axis": (7, 24, "y = Softmax(x)"),
    "softmax, axis 1": (7, 24, "y = Softmax<axis = 1>(x)"),
    "softmax, axis 2": (7, 24, "y = Softmax<axis = 2>(x)"),
    "softmax, last axis": (11, 24, "y = Softmax<axis = -1>(x)"),
    "log softmax": (7, 24, "y = LogSoftmax<axis = 1>(x)"),
    "pad, attributes": (7, 10, "y = Pad<pads = [0,0,1,2,0,0,3,0], value = 1.5>(x)"),
    "pad, inputs": (11, 24, "p = Constant<value_ints = [0,0,1,2,0,0,3,0]>()  y = Pad(x, p)"),
    "pad, a value": (
        *(12, 24),
        "p = Constant<value_ints = [0,0,1,2,0,0,3,0]>()  v = Constant<value_float = 1.5>()  "
        "y = Pad(x, p, v)",
    ),
    "pad, negative": (12, 24, "p = Constant<value_ints = [0,0,-1,2,0,0,3,-1]>()  y = Pad(x, p)"),
    "pad, reflected": (
        *(12, 24),
        'p = Constant<value_ints = [0,0,1,2,0,0,3,0]>()  y = Pad<mode = "reflect">(x, p)',
    ),
    "pad, axes": (
        *(18, 24),
        "p = Constant<value_ints = [1,2,3,0]>()  v = Constant<value_float = 1.5>()  "
        "a = Constant<value_ints = [-1,2]>()  y = Pad(x, p, v, a)",
    ),
    "clip, attributes": (7, 10, "y = Clip<min = -0.5, max = 0.25>(x)"),
    "clip, inputs": (
        *(12, 24),
        "l = Constant<value_float = -0.5>()  h = Constant<value_float = 0.25>()  y = Clip(x, l, h)",
    ),
    "clip, no minimum": (12, 24, 'h = Constant<value_float = 0.25>()  y = Clip(x, "", h)'),
    "clip, nothing": (12, 24, "y = Clip(x)"),
    "dropout, an attribute": (7, 11, "y = Dropout<ratio = 0.5>(x)"),
    "dropout, inputs": (
        *(13, 24),
        "r = Constant<value_float = 0.5>()  y = Dropout(x, r)",
    ),
    "mean, axes as an attribute": (7, 17, "y = ReduceMean<axes = [1, 3], keepdims = 0>(x)"),
    "mean, negative axes": (11, 17, "y = ReduceMean<axes = [-1, -2]>(x)"),
    "mean, axes as an input": (
        *(18, 24),
        "a = Constant<value_ints = [-1, 1]>()  y = ReduceMean<keepdims = 0>(x, a)",
    ),
    "mean of all": (7, 24, "y = ReduceMean(x)"),
    "mean of nothing": (18, 24, "y = ReduceMean<noop_with_empty_axes = 1>(x)"),
    "sum, axes as an attribute": (7, 12, "y = ReduceSum<axes = [2]>(x)"),
    "sum, axes as an input": (13, 24, "a = Constant<value_ints = [2]>()  y = ReduceSum(x, a)"),
    "maximum": (7, 17, "y = ReduceMax<axes = [2], keepdims = 0>(x)"),
    "L2 norm": (7, 17, "y = ReduceL2<axes = [2], keepdims = 0>(x)"),
    "product": (7, 17, "y = ReduceProd<axes = [2, 0], keepdims = 0>(x)"),
    "reshape": (12, 24, "s = Constant<value_ints = [0, -1, 6]>()  y = Reshape(x, s)"),
    "reshape, zeros are sizes": (
        *(14, 24),
        "s = Constant<value_ints = [2, 20, 6]>()  y = Reshape<allowzero = 1>(x, s)",
    ),
    "flatten": (7, 24, "y = Flatten<axis = 2>(x)"),
    "flatten from the end": (11, 24, "y = Flatten<axis = -1>(x)"),
    "squeeze, an attribute": (
        *(7, 12),
        "u = Unsqueeze<axes = [0, 3]>(x)  y = Squeeze<axes = [3]>(u)",
    ),
    "squeeze, an input": (
        *(13, 24),
        "a = Constant<value_ints = [0, -2]>()  u = Unsqueeze(x, a)  "
        "b = Constant<value_ints = [-2]>()  y = Squeeze(u, b)",
    ),
    "squeeze all": (
        *(13, 24),
        "a = Constant<value_ints = [0, -2]>()  u = Unsqueeze(x, a)  y = Squeeze(u)",
    ),
    "split, an attribute": (
        *(7, 12),
        "a, b = Split<axis = 1, split = [1, 3]>(x)  y = Concat<axis = 1>(b, a)",
    ),
    "split, an input": (
        *(13, 24),
        "s = Constant<value_ints = [1, 3]>()  a, b = Split<axis = 1>(x, s)  "
        "y = Concat<axis = -3>(b, a)",
    ),
    "split in equal parts": (7, 17, "a, b = Split<axis = 1>(x)  y = Concat<axis = 1>(b, a)"),
    "split in a number of parts": (
        *(18, 24),
        "a, b, c = Split<axis = 3, num_outputs = 3>(x)  y = Concat<axis = 3>(c, b, a)",
    ),
    "slice, attributes": (7, 9, "y = Slice<starts = [1, -2], ends = [9, 99], axes = [2, 3]>(x)"),
    "slice, inputs": (
        *(12, 24),
        "s = Constant<value_ints = [1, -2]>()  e = Constant<value_ints = [9, 99]>()  "
        "a = Constant<value_ints = [2, -1]>()  y = Slice(x, s, e, a)",
    ),
    "slice, steps": (
        *(12, 24),
        "s = Constant<value_ints = [0, -1]>()  e = Constant<value_ints = [6, -99]>()  "
        "a = Constant<value_ints = [2, 3]>()  t = Constant<value_ints = [2, -2]>()  "
        "y = Slice(x, s, e, a, t)",
    ),
    "slice, backwards between": (
        *(12, 24),
        "s = Constant<value_ints = [4, 3]>()  e = Constant<value_ints = [0, 1]>()  "
        "a = Constant<value_ints = [2, 3]>()  t = Constant<value_ints = [-3, -1]>()  "
        "y = Slice(x, s, e, a, t)",
    ),
    "pooling, same upper": (
        *(7, 24),
        'y = MaxPool<kernel_shape = [2, 3], strides = [2, 2], auto_pad = "SAME_UPPER">(x)',
    ),
    "pooling, same lower": (
        *(7, 24),
        'y = AveragePool<kernel_shape = [2, 2], auto_pad = "SAME_LOWER">(x)',
    ),
    "pooling, rounded up": (
        *(10, 24),
        "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(x)",
    ),
    "pooling, dilated": (10, 24, "y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x)"),
    "pooling, uneven": (
        *(7, 24),
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 0, 0, 2]>(x)",
    ),
    "pooling, uneven zeros count": (
        *(7, 24),
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 0, 0, 2], count_include_pad = 1>(x)",
    ),
    "pooling, zeros do not count": (
        *(7, 24),
        "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)",
    ),
    "pooling of everything": (7, 24, "y = GlobalAveragePool(x)"),
    "argmax": (7, 24, "y = ArgMax<axis = 1, keepdims = 0>(x)"),
    "argmin of the last axis": (11, 24, "y = ArgMin<axis = -1>(x)"),
    "gather": (
        *(12, 24),
        "i = Constant<value_ints = [-1, 0, 1]>()  y = Gather<axis = 2>(x, i)",
    ),
    "gather, a row from the end": (
        *(12, 24),
        "i = Constant<value_ints = [-3, -2]>()  y = Gather<axis = 2>(x, i)",
    ),
    "depth to space": (7, 24, "y = DepthToSpace<blocksize = 2>(x)"),
    "depth to space, columns first": (11, 24, 'y = DepthToSpace<blocksize = 2, mode = "CRD">(x)'),
    "division of integers": (
        *(12, 24),
        "i = Constant<value_ints = [-7, 7, -2, 9, 4]>()  f = Constant<value_float = 5.0>()  "
        "m = Mul(x, f)  c = Cast<to = 7>(m)  n = Constant<value_int = 2>()  d = Div(c, n)  "
        "e = Div(i, n)  s = Add(d, e)  y = Cast<to = 1>(s)",
    ),
    "remainders": (
        *(12, 24),
        "t = Constant<value_float = 0.3>()  a = Mod<fmod = 1>(x, t)  f = Constant<value_float = "
        "5.0>()  m = Mul(x, f)  c = Cast<to = 7>(m)  n = Constant<value_int = 3>()  d = Mod(c, n)  "
        "e = Cast<to = 1>(d)  y = Add(a, e)",
    ),
    "sizes": (
        *(14, 24),
        "s = Shape(x)  i = Constant<value_int = 1>()  c = Gather(s, i)  a = Constant<value_ints = "
        "[0]>()  u = Unsqueeze(c, a)  m = Constant<value_ints = [-1]>()  t = Concat<axis = 0>(m, u)"
        "  y = Reshape(x, t)",
    ),
    "sizes, the last two": (15, 24, "s = Shape<start = -2>(x)  y = Cast<to = 1>(s)"),
    "resize by two": (
        *(11, 24),
        "r = Constant<value_floats = [1.0]>()  s = Constant<value_floats = [1.0,1.0,2.0,3.0]>()  "
        'y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", '
        'nearest_mode = "floor">(x, r, s)',
    ),
    "resize to a size": (
        *(13, 24),
        "n = Constant<value_ints = [2, 4, 3, 9]>()  "
        'y = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(x, "", "", n)',
    ),
    "resize, corners aligned": (
        *(13, 24),
        "n = Constant<value_ints = [2, 4, 7, 9]>()  "
        'y = Resize<mode = "cubic", coordinate_transformation_mode = "align_corners">'
        '(x, "", "", n)',
    ),
    "batch normalisation": (
        *(9, 24),
        "s = ReduceMax<axes = [0, 2, 3], keepdims = 0>(x)  y = BatchNormalization<epsilon = 0.01>"
        "(x, s, s, s, s)",
    ),
    "SELU": (7, 24, "y = Selu<alpha = 2.0, gamma = 3.0>(x)"),
    "a power": (12, 24, "e = Constant<value_float = 2.0>()  y = Pow(x, e)"),
    "where": (
        *(12, 24),
        "z = Constant<value_float = 0.0>()  c = Greater(x, z)  y = Where(c, x, z)",
    ),
    "expand": (
        *(12, 24),
        "s = Constant<value_ints = [3, 1, 4, 1, 5]>()  y = Expand(x, s)",
    ),
    "tile": (12, 24, "r = Constant<value_ints = [1, 2, 1, 3]>()  y = Tile(x, r)"),
    "constants of a shape": (
        *(12, 24),
        "s = Shape(x)  c = ConstantOfShape(s)  y = Add(c, x)",
    ),
    "a trilinear form": (12, 24, 'y = Einsum<equation = "bchw,bdhw->bcd">(x, x)'),
    "RMS normalisation": (
        23,
        24,
        "s = Constant<value_floats = [1.0,2.0,3.0,4.0,5.0]>()  y = RMSNormalization(x, s)",
    ),
    "layer normalisation": (
        *(17, 24),
        "s = Constant<value_floats = [1.0,2.0,3.0,4.0,5.0]>()  y = LayerNormalization(x, s)",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_means_what_its_operator_set_says(form: str, tmp_path: Path) -> None:
    first, last, body = FORMS[form]
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype(np.float32)
    if form == "batch normalisation":
        last = 17  # its axes are an attribute
    kind = "int64" if form.startswith("arg") else "float"
    path = tmp_path / "model.onnx"
    for opset in range(first, last + 1):
        text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({X}) => ({kind}[] y) {{ {body} }}'
        model = parser.parse_model(text)
        path.write_bytes(model.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        (expected,) = session.run(None, {"x": x})
        module = parts_of(read_model(path)).module().eval()
        with torch.no_grad():
            (found,) = module.run({"x": torch.from_numpy(x)})
        assert found.shape == expected.shape, opset
        np.testing.assert_allclose(found.numpy(), expected, 1e-5, 1e-5, err_msg=f"opset {opset}")
