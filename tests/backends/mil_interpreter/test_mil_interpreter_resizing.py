"""Scaling and boxes, held against the numbers that coremltools documents or checks on a Mac."""

import numpy as np
import pytest

from slide_deploy.backends.mil_interpreter import MilProgram, UnsupportedOperator

# Where the elements lie between 0 and 1, the ends of a map of two elements: the sampling mode and
# the number of elements, as the description of ``resize_bilinear`` gives them.
EXAMPLES = {
    ("UNALIGN_CORNERS", 5): [0, 0.1, 0.5, 0.9, 1],
    ("STRICT_ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("DEFAULT", 5): [0, 0.4, 0.8, 1, 1],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0, 0, 1 / 3, 2 / 3, 1, 1],
    ("STRICT_ALIGN_CORNERS", 6): [0, 0.2, 0.4, 0.6, 0.8, 1],
    ("DEFAULT", 6): [0, 1 / 3, 2 / 3, 1, 1, 1],
    ("OFFSET_CORNERS", 6): [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12],
    ("STRICT_ALIGN_CORNERS", 1): [0],
    ("ALIGN_CORNERS", 1): [0.5],
    ("DEFAULT", 1): [0],
    ("OFFSET_CORNERS", 1): [0.5],
    ("UNALIGN_CORNERS", 1): [0.5],
}
LINE = np.array([0, 1], np.float32).reshape(1, 1, 1, 2)
BOARD = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
BOARDS = np.concatenate([BOARD, 100 + BOARD, 200 + BOARD])
# Box, size of the result, options, and the result. Aligned corners unless said otherwise.
BOXES = {
    "pixels": ([1, 1, 2, 2], 2, {}, [6, 7, 10, 11]),
    "middle": ([1, 1, 2, 2], 1, {}, [8.5]),
    "inverted": ([2, 2, 1, 1], 2, {}, [11, 10, 7, 6]),
    "normalized": ([0, 0, 1 / 3, 2 / 3], 2, {"normalized_coordinates": True}, [1, 3, 5, 7]),
    "width_first": ([1, 0, 3, 1], 2, {"box_coordinate_mode": "CORNERS_WIDTH_FIRST"}, [2, 4, 6, 8]),
    "centre": (
        [1.5, 2, 1, 2],
        2,
        {"box_coordinate_mode": "CENTER_SIZE_HEIGHT_FIRST"},
        [6, 8, 10, 12],
    ),
    "centre_width_first": (
        *([2, 1.5, 2, 1], 2),
        {"box_coordinate_mode": "CENTER_SIZE_WIDTH_FIRST"},
        [6, 8, 10, 12],
    ),
    "scaled": ([2, 2, 4, 4], 2, {"spatial_scale": 0.5}, [6, 7, 10, 11]),
    "beyond": ([2, 2, 4, 4], 2, {"pad_value": np.float32(-1)}, [11, -1, -1, -1]),
    "offset": ([0, 0, 2, 2], 2, {"sampling_mode": "OFFSET_CORNERS"}, [3.5, 4.5, 7.5, 8.5]),
    "default": ([0, 0, 2, 2], 2, {"sampling_mode": "DEFAULT"}, [1, 2.5, 7, 8.5]),
    "unaligned": ([1, 1, 2, 2], 1, {"sampling_mode": "UNALIGN_CORNERS"}, [8.5]),
}
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


def test_elements_are_at_the_points_of_the_examples(convert):
    def build(mb, variables):
        for mode, size in EXAMPLES:
            options = {"sampling_mode": mode, "name": f"{mode}_{size}"}
            yield mb.resize(x=variables["x"], shape=[1, size], resized_dims=np.uint32(2), **options)
            options["name"] += "_bilinear"
            sizes = {"target_size_height": 1, "target_size_width": size}
            yield mb.resize_bilinear(x=variables["x"], **sizes, **options)

    found = answers(convert({"x": LINE}, build), x=LINE)
    for (mode, size), expected in EXAMPLES.items():
        for suffix in ("", "_bilinear"):
            actual = found[f"{mode}_{size}{suffix}"].ravel()
            np.testing.assert_allclose(actual, expected, atol=1e-6, err_msg=mode + suffix)


def test_the_nearest_element_is_selected(convert):
    def build(mb, variables):
        options = {"interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": "DEFAULT"}
        yield mb.resize(
            x=variables["x"], shape=[2, 3], resized_dims=np.uint32(2), **options, name="y"
        )

    found = answers(convert({"x": LINE}, build), x=LINE)
    np.testing.assert_array_equal(found["y"].reshape(2, 3), [[0, 1, 1], [0, 1, 1]])


@pytest.mark.parametrize("factor", [1.3, 1.6, 2.6])
def test_an_ambiguous_factor_is_refused(convert, factor):
    x = np.zeros((1, 1, 1, 3), np.float32)

    def build(mb, variables):
        yield mb.upsample_nearest_neighbor(
            x=variables["x"], scale_factor_height=1.0, scale_factor_width=factor
        )

    with pytest.raises(UnsupportedOperator, match="the factor"):
        answers(convert({"x": x}, build), x=x)


def test_a_point_halfway_between_two_elements_is_refused(convert):
    def build(mb, variables):
        yield mb.resize(
            x=variables["x"],
            shape=[1, 4],
            resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="DEFAULT",
        )

    with pytest.raises(UnsupportedOperator, match="halfway between two elements"):
        answers(convert({"x": LINE}, build), x=LINE)


@pytest.mark.parametrize("opset", ["iOS16", "iOS17"])
def test_boxes_are_cropped_and_resized(convert, opset):
    def build(mb, variables):
        for name, (box, size, options, _) in BOXES.items():
            box = np.array(box, np.float32)
            place = (
                {"boxes": box.reshape(1, 4)}
                if opset == "iOS17"
                else {"roi": box.reshape(1, 1, 4, 1, 1)}
            )
            options = {"sampling_mode": "ALIGN_CORNERS", "name": name} | options
            sizes = {"target_height": size, "target_width": size}
            yield mb.crop_resize(x=variables["x"], **place, **sizes, **options)

    found = answers(convert({"x": BOARD}, build, opset), x=BOARD)
    for name, (_, size, _, expected) in BOXES.items():
        assert found[name].shape == ((1, 1) if opset == "iOS17" else (1, 1, 1)) + (size, size)
        np.testing.assert_allclose(found[name].ravel(), expected, rtol=1e-6, err_msg=name)


def test_a_box_belongs_to_its_image(convert):
    boxes = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.float32)

    def build(mb, variables):
        yield mb.crop_resize(
            x=variables["x"], boxes=boxes, box_indices=np.array([2, 1], np.int32), name="named"
        )
        yield mb.crop_resize(x=variables["x"], boxes=boxes, name="in_order")

    found = answers(convert({"x": BOARDS}, build), x=BOARDS)
    assert found["named"].ravel().tolist() == [201, 106]
    assert found["in_order"].ravel().tolist() == [1, 106]


def test_a_region_is_cropped_from_every_image(convert):
    region = np.array([1, 1, 1, 1], np.float32).reshape(1, 1, 4, 1, 1)

    def build(mb, variables):
        yield mb.crop_resize(x=variables["x"], roi=region, name="y")

    found = answers(convert({"x": BOARDS}, build, "iOS16"), x=BOARDS)
    assert found["y"].shape == (1, 3, 1, 1, 1)
    assert found["y"].ravel().tolist() == [6, 106, 206]


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
