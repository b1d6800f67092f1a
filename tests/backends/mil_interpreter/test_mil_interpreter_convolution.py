"""Convolutions, pools and upsampling match torch, on odd sizes and with uneven padding."""

import math

import pytest
import torch
from torch.nn import functional

CONVS = (functional.conv1d, functional.conv2d, functional.conv3d)
TRANSPOSED = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def padded(x, pad, value=0.0):
    """Padding as Core ML lists it: before and after the first spatial axis, then the next."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    return functional.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=value)


def same(x, kernel, strides, dilations, lower=False):
    """The padding of ``same``, worked out from its definition: ceil(size / stride) outputs."""
    pad = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size)
        small, large = total // 2, total - total // 2
        pad += [large, small] if lower else [small, large]
    return padded(x, pad)


def conv(x, weight, bias=True, prepare=lambda x: x, strides=None, dilations=None, groups=1, **mil):
    """A case of ``conv`` whose reference pads by hand."""
    rank = len(x) - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    return {
        "inputs": {"x": x},
        "weights": {"weight": weight} | ({"bias": (weight[0],)} if bias else {}),
        "mil": lambda mb, v: mb.conv(
            **v, strides=strides, dilations=dilations, groups=groups, **mil
        ),
        "torch": lambda v: CONVS[rank - 1](
            prepare(v["x"]), v["weight"], v.get("bias"), strides, 0, dilations, groups
        ),
    }


def transposed(x, weight, prepare, strides, dilations=None, groups=1, **mil):
    """A case of ``conv_transpose`` whose reference cuts by hand."""
    rank = len(x) - 2
    dilations = dilations or [1] * rank
    return {
        "inputs": {"x": x},
        "weights": {"weight": weight, "bias": (weight[1] * groups,)},
        "mil": lambda mb, v: mb.conv_transpose(
            **v, strides=strides, dilations=dilations, groups=groups, **mil
        ),
        "torch": lambda v: (
            prepare(
                TRANSPOSED[rank - 1](v["x"], v["weight"], None, strides, 0, 0, groups, dilations)
            )
            + v["bias"].reshape(-1, *[1] * rank)
        ),
    }


def pool(name, x, kernel, strides, reference, **mil):
    """A case of a pool."""
    return {
        "inputs": {"x": x},
        "mil": lambda mb, v: getattr(mb, name)(
            x=v["x"], kernel_sizes=kernel, strides=strides, **mil
        ),
        "torch": lambda v: reference(v["x"]),
    }


def excluding(x, pad, kernel, strides):
    """Sums of windows, each divided by the number of its elements that lie on the map."""
    area = math.prod(kernel)
    sums = functional.avg_pool2d(padded(x, pad), kernel, strides) * area
    counts = functional.avg_pool2d(padded(torch.ones_like(x), pad), kernel, strides) * area
    return sums / counts


CASES = {
    "conv_1d": conv((2, 3, 11), (4, 3, 3), strides=[2], pad_type="valid"),
    "conv_2d": conv((2, 3, 9, 7), (5, 3, 3, 2), pad_type="valid"),
    "conv_3d": conv((1, 2, 5, 4, 6), (3, 2, 2, 3, 2), bias=False, pad_type="valid"),
    "conv_custom": conv(
        (1, 3, 6, 7),
        (4, 3, 3, 3),
        prepare=lambda x: padded(x, [0, 1, 2, 3]),
        strides=[2, 1],
        pad_type="custom",
        pad=[0, 1, 2, 3],
    ),
    "conv_grouped": conv((2, 6, 5, 7), (4, 3, 3, 1), groups=2, pad_type="valid"),
    "conv_depthwise": conv(
        (1, 4, 5, 6),
        (36, 1, 3, 3),
        prepare=lambda x: padded(x, [1, 1, 1, 1]),
        groups=4,
        pad_type="custom",
        pad=[1, 1, 1, 1],
    ),
    "conv_dilated": conv(
        (1, 2, 11, 12),
        (3, 2, 3, 2),
        prepare=lambda x: padded(x, [2, 1, 0, 3]),
        dilations=[2, 3],
        pad_type="custom",
        pad=[2, 1, 0, 3],
    ),
    "conv_same": conv(
        (1, 2, 7, 8),
        (3, 2, 2, 4),
        prepare=lambda x: same(x, (2, 4), (1, 3), (1, 1)),
        strides=[1, 3],
        pad_type="same",
    ),
    "conv_same_strided": conv(
        (1, 2, 8, 6),
        (3, 2, 3, 3),
        prepare=lambda x: same(x, (3, 3), (2, 2), (1, 1)),
        strides=[2, 2],
        pad_type="same",
    ),
    "conv_same_lower": conv(
        (1, 2, 7, 8),
        (3, 2, 2, 4),
        prepare=lambda x: same(x, (2, 4), (1, 3), (1, 1), lower=True),
        strides=[1, 3],
        pad_type="same_lower",
    ),
    "conv_same_dilated": conv(
        (1, 2, 9, 8),
        (3, 2, 2, 3),
        prepare=lambda x: same(x, (2, 3), (1, 1), (3, 2)),
        dilations=[3, 2],
        pad_type="same",
    ),
    "conv_computed_weight": {
        "inputs": {"x": (1, 3, 5, 6), "w": (4, 3, 2, 3)},
        "mil": lambda mb, v: mb.conv(x=v["x"], weight=mb.relu(x=v["w"]), pad_type="valid"),
        "torch": lambda v: functional.conv2d(v["x"], v["w"].relu()),
    },
    "transposed_1d": transposed((2, 3, 5), (3, 4, 3), lambda y: y, [2], pad_type="valid"),
    "transposed_3d": transposed(
        (1, 2, 3, 2, 4), (2, 3, 2, 3, 2), lambda y: y, [1, 2, 1], pad_type="valid"
    ),
    "transposed_custom": transposed(
        (1, 4, 5, 6),
        (4, 3, 3, 4),
        lambda y: y[:, :, 1:, 2:-1],
        [2, 3],
        groups=2,
        pad_type="custom",
        pad=[1, 0, 2, 1],
    ),
    "transposed_dilated": transposed(
        (1, 2, 4, 5), (2, 3, 3, 2), lambda y: y, [1, 2], dilations=[2, 3], pad_type="valid"
    ),
    # 5 rows of 2 cover 11 and 10 are kept; 6 columns of 3 cover 19 and 18 are kept.
    "transposed_same": transposed(
        (1, 2, 5, 6), (2, 3, 3, 4), lambda y: y[:, :, :-1, :-1], [2, 3], pad_type="same"
    ),
    # Steps of 3 with a kernel of 2 leave the last row and column empty.
    "transposed_same_gaps": transposed(
        (1, 2, 4, 4),
        (2, 3, 2, 2),
        lambda y: functional.pad(y, (0, 1, 0, 1)),
        [3, 3],
        pad_type="same",
    ),
    "transposed_output_shape": transposed(
        (1, 2, 4, 5),
        (2, 3, 3, 3),
        lambda y: y[:, :, 1:-1, 1:-1],
        [2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
        output_shape=[1, 3, 7, 9],
    ),
    "avg_pool_1d": pool(
        "avg_pool", (2, 3, 9), [3], [2], lambda x: functional.avg_pool1d(x, 3, 2), pad_type="valid"
    ),
    "avg_pool_3d": pool(
        "avg_pool",
        (1, 2, 5, 4, 6),
        [2, 3, 2],
        [1, 1, 2],
        lambda x: functional.avg_pool3d(x, (2, 3, 2), (1, 1, 2)),
        pad_type="valid",
    ),
    "avg_pool_custom": pool(
        "avg_pool",
        (1, 2, 7, 6),
        [3, 2],
        [2, 1],
        lambda x: functional.avg_pool2d(padded(x, [1, 2, 0, 1]), (3, 2), (2, 1)),
        pad_type="custom",
        pad=[1, 2, 0, 1],
    ),
    "avg_pool_excluding": pool(
        "avg_pool",
        (1, 2, 7, 6),
        [3, 2],
        [2, 1],
        lambda x: excluding(x, [1, 2, 0, 1], (3, 2), (2, 1)),
        pad_type="custom",
        pad=[1, 2, 0, 1],
        exclude_padding_from_average=True,
    ),
    "avg_pool_same_excluding": pool(
        "avg_pool",
        (1, 2, 5, 8),
        [2, 3],
        [1, 2],
        lambda x: excluding(x, [0, 1, 0, 1], (2, 3), (1, 2)),
        pad_type="same",
        exclude_padding_from_average=True,
    ),
    "avg_pool_ceil": pool(
        "avg_pool",
        (1, 2, 8, 7),
        [3, 3],
        [2, 3],
        lambda x: functional.avg_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
        pad_type="custom",
        pad=[1, 1, 1, 1],
        ceil_mode=True,
    ),
    "max_pool": pool(
        "max_pool",
        (2, 3, 7, 8),
        [3, 2],
        [2, 2],
        lambda x: functional.max_pool2d(x, (3, 2), 2),
        pad_type="valid",
    ),
    "max_pool_1d": pool(
        "max_pool", (2, 3, 7), [2], [3], lambda x: functional.max_pool1d(x, 2, 3), pad_type="valid"
    ),
    "max_pool_custom": pool(
        "max_pool",
        (1, 2, 6, 5),
        [3, 3],
        [1, 2],
        lambda x: functional.max_pool2d(padded(x, [2, 0, 1, 1], -math.inf), 3, (1, 2)),
        pad_type="custom",
        pad=[2, 0, 1, 1],
    ),
    "max_pool_same_lower": pool(
        "max_pool",
        (1, 2, 6, 5),
        [2, 2],
        [1, 1],
        lambda x: functional.max_pool2d(padded(x, [1, 0, 1, 0], -math.inf), 2, 1),
        pad_type="same_lower",
    ),
    "max_pool_ceil": pool(
        "max_pool",
        (1, 2, 8, 7),
        [3, 3],
        [2, 3],
        lambda x: functional.max_pool2d(x, 3, (2, 3), 1, ceil_mode=True),
        pad_type="custom",
        pad=[1, 1, 1, 1],
        ceil_mode=True,
    ),
    "upsample_nearest": {
        "inputs": {"x": (2, 3, 3, 5)},
        "mil": lambda mb, v: mb.upsample_nearest_neighbor(
            x=v["x"], scale_factor_height=2, scale_factor_width=3
        ),
        "torch": lambda v: functional.interpolate(v["x"], scale_factor=(2, 3), mode="nearest"),
    },
    "upsample_bilinear": {
        "inputs": {"x": (2, 3, 3, 5)},
        "mil": lambda mb, v: (
            mb.upsample_bilinear(
                x=v["x"], scale_factor_height=2, scale_factor_width=3, align_corners=True
            ),
            mb.upsample_bilinear(
                x=v["x"], scale_factor_height=2.5, scale_factor_width=1.5, align_corners=False
            ),
            mb.upsample_bilinear(
                x=v["x"],
                scale_factor_height=1,
                scale_factor_width=2,
                align_corners=False,
                half_pixel_centers=True,
            ),
        ),
        "torch": lambda v: (
            functional.interpolate(v["x"], (6, 15), mode="bilinear", align_corners=True),
            functional.interpolate(v["x"], (7, 7), mode="bilinear", align_corners=False),
            functional.interpolate(v["x"], (3, 10), mode="bilinear", align_corners=False),
        ),
    },
}


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def family(request, run_family):
    return run_family(CASES, request.param)


@pytest.mark.parametrize("name", CASES)
def test_operator_matches_torch(name, family):
    family.check(name)
