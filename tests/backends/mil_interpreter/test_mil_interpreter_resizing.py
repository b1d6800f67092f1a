"""Sampling and factors, held against the numbers that coremltools checks on a Mac."""

import numpy as np
import pytest

from slide_deploy.backends.mil_interpreter import MilProgram, UnsupportedOperator

CORNERS = np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2)
POINTS = np.array([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2], np.float32).reshape(1, 2, 2, 2)
# Padding, its value, range of the coordinates, sampling, aligned corners, and the result.
SAMPLES = (
    ("constant", 6.17, "normalized_minus_one_to_one", "bilinear", True, [8.585, 6.17, 27.5, 6.17]),
    ("border", -1.0, "unnormalized", "nearest", False, [11, 11, 11, 44]),
    ("reflection", -1.0, "normalized_zero_to_one", "bilinear", True, [22, 36.3, 11, 34.1]),
)


def answers(path, **inputs):
    return MilProgram.load(path).run(inputs)


@pytest.mark.parametrize("factor", [1.3, 1.6, 2.6])
def test_an_ambiguous_factor_is_refused(convert, factor):
    x = np.zeros((1, 1, 1, 3), np.float32)

    def build(mb, variables):
        yield mb.upsample_nearest_neighbor(
            x=variables["x"], scale_factor_height=1.0, scale_factor_width=factor
        )

    with pytest.raises(UnsupportedOperator, match="the factor"):
        answers(convert({"x": x}, build), x=x)


def test_points_outside_the_feature_map_sample_its_padding(convert):
    def build(mb, variables):
        for index, (padding, value, coordinates, sampling, aligned, _) in enumerate(SAMPLES):
            yield mb.resample(
                x=variables["x"],
                coordinates=variables["points"],
                sampling_mode=sampling,
                padding_mode=padding,
                padding_value=np.float32(value),
                coordinates_mode=coordinates,
                align_corners=aligned,
                name=f"sample_{index}",
            )

    inputs = {"x": CORNERS, "points": POINTS}
    found = answers(convert(inputs, build), **inputs)
    for index, (*_, expected) in enumerate(SAMPLES):
        np.testing.assert_allclose(found[f"sample_{index}"].ravel(), expected, rtol=1e-6)
