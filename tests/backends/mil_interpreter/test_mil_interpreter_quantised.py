"""Quantisation against its formulas."""

import numpy as np
import pytest

from slide_deploy.backends.mil_interpreter import MilProgram

IMAGE = np.random.default_rng(12).uniform(-3, 3, (2, 3, 5)).astype(np.float32)
SCALES = np.array([0.01, 0.02, 0.05], np.float32)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_numbers_are_quantised_and_dequantised(convert, dtype):
    limits = np.iinfo(dtype)
    points = np.array([3, 0, 7], dtype)

    def build(mb, variables):
        x = variables["x"]
        each = mb.quantize(input=x, scale=SCALES, zero_point=points, axis=1, output_dtype=dtype)
        every = mb.quantize(input=x, scale=np.float32(0.02), output_dtype=dtype)
        yield mb.cast(x=each, dtype="int32", name="each")
        yield mb.cast(x=every, dtype="int32", name="every")
        yield mb.dequantize(input=each, scale=SCALES, zero_point=points, axis=1, name="back")
        yield mb.dequantize(input=every, scale=np.float32(0.02), name="back_every")

    answers = MilProgram.load(convert({"x": IMAGE}, build)).run({"x": IMAGE})
    scales, offsets = SCALES[:, None], points.astype(np.int32)[:, None]
    each = np.clip(np.rint(IMAGE / scales) + offsets, limits.min, limits.max)
    every = np.clip(np.rint(IMAGE / np.float32(0.02)), limits.min, limits.max)
    np.testing.assert_array_equal(answers["each"], each)
    np.testing.assert_array_equal(answers["every"], every)
    np.testing.assert_allclose(answers["back"], scales * (each - offsets), rtol=1e-6)
    np.testing.assert_allclose(answers["back_every"], np.float32(0.02) * every, rtol=1e-6)
    assert (each == limits.max).any()
