"""The verdict of a comparison fails closed."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from slide_deploy.deployable.inputs import Input
from slide_deploy.verification.cases import Case, verification_cases
from slide_deploy.verification.parity import FLOAT32_LIMIT, Limit, NamedOutputs, compare, verify

REFERENCE = np.array([[1.0, -2.0, 0.5], [0.1, 0.3, 4.0]])


def passes(answer: np.ndarray, reference: np.ndarray = REFERENCE) -> bool:
    return compare(answer, reference).within(FLOAT32_LIMIT)


def test_equal_outputs_agree_completely() -> None:
    agreement = compare(REFERENCE.astype(np.float32), REFERENCE.astype(np.float32))
    assert (agreement.max_absolute, agreement.snr_db, agreement.top1) == (0.0, math.inf, 1.0)
    assert passes(REFERENCE * (1 + 1e-6))


def test_the_figures_follow_their_formulas() -> None:
    answer = REFERENCE.copy()
    answer[0, 0] += 3.0
    agreement = compare(answer, REFERENCE)
    assert agreement.max_absolute == 3.0
    assert agreement.max_relative == 0.75
    energy = (REFERENCE**2).sum()
    assert agreement.snr_db == pytest.approx(10 * math.log10(energy / 9.0))
    assert agreement.top1 == 1.0
    answer[0, 1] = 9.0
    assert compare(answer, REFERENCE).top1 == 0.5


@pytest.mark.parametrize(
    "answer",
    [
        REFERENCE * 1.001,
        REFERENCE * 0.999,
        -REFERENCE,
        REFERENCE + 1e-3,
        REFERENCE[::-1],
        np.zeros_like(REFERENCE),
        np.full_like(REFERENCE, np.nan),
        np.where(REFERENCE == 4.0, np.inf, REFERENCE),
        np.where(REFERENCE == 0.1, np.nan, REFERENCE),
        REFERENCE[:1],
        REFERENCE[:, :2],
        np.empty((0, 3)),
    ],
)
def test_wrong_outputs_fail(answer: np.ndarray) -> None:
    assert not passes(answer)


def test_a_scaled_small_output_fails() -> None:
    assert not passes(REFERENCE * 1e-6 * 1.001, REFERENCE * 1e-6)


def image_cases(shape: tuple[int, ...], dynamic_batch: bool = False) -> tuple[Case, ...]:
    image = Input("image", np.zeros((1, *shape), np.float32), {0: "batch"} if dynamic_batch else {})
    return verification_cases([image], {"batch": (3,)} if dynamic_batch else {})


def test_nothing_agrees_with_a_nan_reference() -> None:
    broken = np.full_like(REFERENCE, np.nan)
    assert not passes(REFERENCE, broken)
    assert not passes(broken, broken)
    assert not passes(np.ones_like(REFERENCE), np.zeros_like(REFERENCE))


def test_infinity_and_nan_pass_only_where_the_reference_has_them() -> None:
    masked = np.where(REFERENCE == 0.1, -np.inf, REFERENCE)
    assert passes(masked, masked)
    assert not passes(REFERENCE, masked)
    assert not passes(-masked, masked)
    assert not passes(np.where(np.isinf(masked), np.nan, masked), masked)
    assert not passes(masked * 1.001, masked)


def test_an_output_of_rounding_noise_is_measured_against_other_cases() -> None:
    rounding = 1e-16 * REFERENCE
    assert not compare(1e-6 * REFERENCE, rounding).within(FLOAT32_LIMIT)
    assert compare(1e-6 * REFERENCE, rounding, scale=4.0).within(FLOAT32_LIMIT)
    assert compare(1e-6 * REFERENCE, 0 * rounding, scale=4.0).within(FLOAT32_LIMIT)
    assert not compare(1e-3 * REFERENCE, rounding, scale=4.0).within(FLOAT32_LIMIT)
    # A small output is compared like any other.
    assert not compare(1.01e-6 * REFERENCE, 1e-6 * REFERENCE, scale=4.0).within(FLOAT32_LIMIT)


def test_no_cases_do_not_pass() -> None:
    assert not verify(lambda x: {}, (), (), runtime="none", version="0").passed


def test_one_bad_case_fails_the_file_and_is_named() -> None:
    cases = image_cases((3, 16, 16), dynamic_batch=True)
    references = [
        {"logits": case.inputs["image"].reshape(case.batch, -1).astype(np.float64)}
        for case in cases
    ]

    def predict(feeds: Mapping[str, np.ndarray]) -> NamedOutputs:
        images = feeds["image"]
        flat = images.reshape(len(images), -1)
        return {"logits": flat if len(images) == 1 else flat[::-1]}

    result = verify(predict, cases, references, runtime="fake", version="0")
    assert result.failures == ("batch of 3",)
    assert not result.passed
    assert result.worst.snr_db < 3
    one = verify(predict, cases[:-1], references[:-1], runtime="fake", version="0")
    assert one.passed


def test_nan_in_one_case_appears_in_the_worst_figures() -> None:
    cases = image_cases((3, 16, 16))[:2]
    references = [{"logits": np.ones((1, 3))}] * 2
    answers = iter([{"logits": np.full((1, 3), np.nan)}, {"logits": np.ones((1, 3))}])
    result = verify(lambda _: next(answers), cases, references, runtime="fake", version="0")
    assert math.isnan(result.worst.max_relative)
    assert not result.passed


def test_cases_cover_borders_batches_and_low_contrast() -> None:
    cases = {case.name: case.inputs["image"] for case in image_cases((3, 32, 24), True)}
    assert {case.shape[0] for case in cases.values()} == {1, 3}
    border = cases["border"][0]
    assert (border[:, 4:-4, 4:-4] == 0).all()
    assert (border[:, 0] != 0).all()
    assert cases["zeros"].any() == False  # noqa: E712
    assert cases["faint"].std() < 0.02
    assert all(images.dtype == np.float32 for images in cases.values())


def test_limits_are_written_so_that_nan_fails() -> None:
    everything = Limit(relative=math.inf, snr_db=-math.inf)
    assert not compare(np.full((1, 2), np.nan), np.ones((1, 2))).within(everything)


def test_every_output_is_compared_and_a_missing_one_fails() -> None:
    cases = image_cases((3, 16, 16))[:1]
    small, large = np.ones((1, 2, 4, 4)), 1e4 * np.ones((1, 4, 2, 2))
    reference = {"stage0": small, "stage1": large}
    # An error that is small beside the large feature map still counts for the small output.
    answer = {"stage0": small + 1e-2, "stage1": large + 1e-2}
    result = verify(lambda _: answer, cases, [reference], runtime="fake", version="0")
    assert [case.output for case in result.cases] == ["stage0", "stage1"]
    assert result.failures == ("noise at stage0",)
    assert result.worst.max_relative == pytest.approx(1e-2)
    assert result.worst.top1 is None
    missing = verify(lambda _: {"stage0": small}, cases, [reference], runtime="f", version="0")
    assert missing.failures == ("noise at stage1",)
