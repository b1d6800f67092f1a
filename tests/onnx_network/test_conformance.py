"""Operators compute what the standard's tests expect, or are refused for a known reason."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from slide_deploy.onnx_network.module import FUNCTIONS
from tests.onnx_network.conformance import Case, cases, outcome

_NARROW = ("float4e2m1", "float8*", "int2", "int4", "uint2", "uint4")
# Why cases are refused, and their names without "test_". An operator that begins to refuse, or
# ceases to, changes this table.
REFUSED = {
    "is of type": (
        *("*_uint16*", "*_uint32*", "*_uint64*"),
        *("cast*_FLOAT[48]*_to_*", "cast*_INT[24]_to_*", "cast*_UINT[24]_to_*"),
        *("castlike_*_to_FLOAT[48]*", "castlike_*_to_INT[24]*", "castlike_*_to_UINT[24]*"),
        *("equal_string*", "identity_opt", "identity_sequence"),
    ),
    "it casts to": ("cast_*_to_FLOAT[48]*", "cast_*_to_INT[24]", "cast_*_to_UINT[24]"),
    "it resizes by": (
        *("resize_*_exclude_outside", "resize_*_antialias", "resize_*_half_pixel_symmetric"),
        *("resize_tf_crop_and_resize*", "resize_*_axes_*", "resize_*_not_*"),
        "resize_upsample_scales_cubic_asymmetric",
        "resize_upsample_sizes_nearest_floor_align_corners",
        "resize_upsample_sizes_nearest_round_prefer_ceil_asymmetric",
        "resize_upsample_sizes_nearest_ceil_half_pixel",
    ),
    "not a whole number": (
        *("resize_downsample_scales_nearest", "resize_downsample_scales_linear"),
        *("resize_downsample_scales_cubic", "resize_downsample_scales_*_align_corners"),
    ),
    "by a broken factor": ("resize_upsample_sizes_nearest", "resize_downsample_sizes_nearest"),
    "to a single value": ("resize_downsample_sizes_linear_pytorch_half_pixel",),
    "pooling is dilated": ("averagepool_*_dilations*",),
    "training mode": ("batchnorm_*_training_mode", "training_dropout*"),
    "where rows are cut off": ("convtranspose_output_shape",),
    "each sample of a batch": ("gathernd_example_int32_batch_dim1",),
    "no operator computes it": ("maxpool_with_argmax_*",),
    "non-zero size": ("reduce_m??_empty_set*",),
}


def reason_in_table(case: Case) -> str:
    name = case.name.removeprefix("test_")
    found = [
        reason
        for reason, patterns in REFUSED.items()
        if any(fnmatch(name, pattern) for pattern in patterns)
    ]
    return found[0] if found else ""


def check(chosen: list[Case], folder: Path) -> None:
    assert chosen
    unexpected = {}
    for case in chosen:
        found, reason = outcome(case, folder), reason_in_table(case)
        expected = found == "right" if not reason else found.startswith("refused: ")
        if not expected or reason not in found:
            unexpected[case.name] = found
    assert unexpected == {}


@pytest.mark.parametrize("operator", sorted(FUNCTIONS))
def test_an_operator_computes_what_the_standard_says(operator: str, tmp_path: Path) -> None:
    check([case for case in cases() if case.operators == {operator}], tmp_path)


@pytest.mark.full
def test_functions_of_the_standard_compute_what_their_operators_do(tmp_path: Path) -> None:
    chosen = [case for case in cases() if case.can_be_read and len(case.operators) > 1]
    assert len(chosen) > 300
    check(chosen, tmp_path)


def test_the_table_names_cases_that_exist() -> None:
    names = [case.name.removeprefix("test_") for case in cases() if case.can_be_read]
    unused = [
        pattern
        for patterns in REFUSED.values()
        for pattern in patterns
        if not any(fnmatch(name, pattern) for name in names)
    ]
    assert unused == []
