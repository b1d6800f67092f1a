"""Compressed weights are what coremltools itself decompresses them to."""

import logging

import numpy as np
import pytest

from slide_deploy.backends.mil_interpreter import MilProgram
from slide_deploy.saved.mlpackage import open_package
from slide_deploy.saved.mlpackage.decompression import (
    lut_to_dense,
    packed_lut_to_dense,
)

WEIGHT = np.random.default_rng(5).standard_normal((6, 8, 3, 3)).astype(np.float32)
IMAGE = np.random.default_rng(6).standard_normal((1, 8, 5, 7)).astype(np.float32)


def palettes(bits, **options):
    """Palettes of ``bits``, clustered by values that are evenly spread, which needs no k-means."""

    def compress(model, optimize):
        config = optimize.OpPalettizerConfig(
            mode="uniform", nbits=bits, weight_threshold=0, **options
        )
        return optimize.palettize_weights(model, optimize.OptimizationConfig(config))

    return compress


def linear(**options):
    """Linear quantisation."""

    def compress(model, optimize):
        config = optimize.OpLinearQuantizerConfig(weight_threshold=0, **options)
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(config))

    return compress


COMPRESSIONS = {
    "palette_1": ("iOS16", "constexpr_lut_to_dense", palettes(1)),
    "palette_2": ("iOS16", "constexpr_lut_to_dense", palettes(2)),
    "palette_4": ("iOS16", "constexpr_lut_to_dense", palettes(4)),
    "palette_6": ("iOS16", "constexpr_lut_to_dense", palettes(6)),
    "palette_8": ("iOS16", "constexpr_lut_to_dense", palettes(8)),
    "int8": ("iOS16", "constexpr_affine_dequantize", linear(mode="linear_symmetric")),
    "uint8": ("iOS16", "constexpr_affine_dequantize", linear(mode="linear", dtype="uint8")),
    "palette_1_new": ("iOS18", "constexpr_lut_to_dense", palettes(1)),
    "palette_3_new": ("iOS18", "constexpr_lut_to_dense", palettes(3)),
    "palette_6_new": ("iOS18", "constexpr_lut_to_dense", palettes(6)),
    "palette_grouped": (
        "iOS18",
        "constexpr_lut_to_dense",
        palettes(4, granularity="per_grouped_channel", group_size=2),
    ),
    "int4_blocks": (
        "iOS18",
        "constexpr_blockwise_shift_scale",
        linear(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=4),
    ),
    "uint4": ("iOS18", "constexpr_blockwise_shift_scale", linear(mode="linear", dtype="uint4")),
    "int8_new": ("iOS18", "constexpr_blockwise_shift_scale", linear(mode="linear", dtype="int8")),
}


def reload(path):
    """The saved package as coremltools reads it, without the runtime that is only on a Mac."""
    import coremltools as ct

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return ct.models.MLModel(str(path), skip_model_load=True)


@pytest.fixture(scope="module")
def plain(convert):
    """A convolution, in float32 and in float16, for either operator set."""

    def build(mb, variables):
        (x,) = variables.values()
        half = next(iter(variables)) == "half"
        weight = WEIGHT.astype(np.float16) if half else WEIGHT
        yield mb.conv(x=x, weight=weight, pad_type="valid", name="out")

    def save(opset, dtype):
        return convert({"half" if dtype == "float16" else "x": IMAGE.astype(dtype)}, build, opset)

    packages = {
        (opset, dtype): save(opset, dtype)
        for opset in ("iOS16", "iOS18")
        for dtype in ("float32", "float16")
    }
    return {key: (path, reload(path)) for key, path in packages.items()}


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_weight_is_what_coremltools_decompresses(name, dtype, plain, tmp_path):
    import coremltools.optimize.coreml as optimize

    opset, operator, compress = COMPRESSIONS[name]
    compressed = compress(plain[opset, dtype][1], optimize)
    compressed.save(str(tmp_path / "compressed.mlpackage"))
    dense = optimize.decompress_weights(compressed)
    dense.save(str(tmp_path / "dense.mlpackage"))
    types = {
        operation.type
        for operation in open_package(tmp_path / "compressed.mlpackage").main.block.operations
    }
    assert operator in types

    ours = MilProgram.load(tmp_path / "compressed.mlpackage")
    theirs = MilProgram.load(tmp_path / "dense.mlpackage")
    (port,) = ours.inputs
    weight = weight_name(tmp_path / "compressed.mlpackage", operator)
    actual = ours.run({port: IMAGE.astype(dtype)}, keep=(weight,))
    expected = theirs.run({port: IMAGE.astype(dtype)}, keep=(weight,))
    np.testing.assert_array_equal(actual[weight], expected[weight])
    np.testing.assert_array_equal(actual["out"], expected["out"])
    assert np.abs(actual[weight].astype(np.float32) - WEIGHT).max() > 1e-4


def weight_name(path, operator):
    """The value that the convolution uses as its weight."""
    operations = open_package(path).main.block.operations
    return next(op.outputs[0].name for op in operations if op.type == operator)


def test_vectors_of_a_palette_are_along_their_axis():
    indices = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], np.uint8)
    lut = np.array([[1.0, 2, 3], [4, 5, 6]], np.float32).reshape(1, 1, 1, 2, 3)
    along_rows = lut_to_dense(indices, lut, np.array(1))
    assert along_rows.shape == (2, 6, 2)
    np.testing.assert_array_equal(along_rows[0, :, 0], [1, 2, 3, 4, 5, 6])
    along_columns = lut_to_dense(indices, lut, np.array(-1))
    assert along_columns.shape == (2, 2, 6)
    np.testing.assert_array_equal(along_columns[0, 1], [4, 5, 6, 1, 2, 3])


def test_packed_indices_begin_at_the_lowest_bits():
    # Five indices of two bits: 0, 3, 2, 1 in the first byte from its low end, 3 in the second.
    packed = np.array([0b01_10_11_00, 0b11], np.uint8)
    lut = np.array([10.0, 11, 12, 13], np.float32)
    dense = packed_lut_to_dense(packed, lut, np.array([5], np.uint32))
    np.testing.assert_array_equal(dense, [10, 13, 12, 11, 13])
