"""The share of the limit, compared with figures computed by hand."""

from dataclasses import replace

import pytest

from benchmarks.efficiency import share_of_limit, warning_of
from benchmarks.record import Artifact, Candidate, Configuration, Limits, Measurement, Round

# 10^9 multiply-accumulates at 10^11 per second take 10 ms;
# 4 * 10^7 bytes at 10^10 per second take 4 ms.
ARTIFACT = Artifact("m.onnx", "0", 1, macs=10**9, traffic=4 * 10**7)
LIMITS = Limits(threads=2, macs_per_second=(1e11, 9e11, 1e10), bytes_per_second=(1e10,))
# 20 ms at the median.
ROUNDS = (Round(0, 1, (20_000_000, 19_000_000)), Round(1, 1, (90_000_000,)))


def measurement(artifact: Artifact | None = ARTIFACT, **settings) -> Measurement:
    configuration = Configuration(**({"threads": 2} | settings))
    candidate = Candidate("a", "m.onnx", "onnxruntime:cpu", configuration)
    return Measurement(candidate, artifact, rounds=ROUNDS)


def share(measured: Measurement, limits: Limits | None = LIMITS) -> float | str:
    return share_of_limit(measured, limits, processor=True)


def test_the_limit_is_arithmetic_or_memory_whichever_takes_longer() -> None:
    assert share(measurement()) == pytest.approx(0.5)
    assert share(measurement(replace(ARTIFACT, macs=10**6))) == pytest.approx(0.2)


def test_bytes_that_stay_in_the_cache_are_not_counted() -> None:
    light = measurement(replace(ARTIFACT, macs=10**6))
    assert share(light, replace(LIMITS, cache=10**7)) == pytest.approx(0.15)
    assert share(light, replace(LIMITS, cache=10**9)) == pytest.approx(0.0005)


@pytest.mark.parametrize(("share", "shown"), [(1.006, "101%"), (2.72, "272%")])
def test_a_share_above_the_limit_has_a_warning(share: float, shown: str) -> None:
    warning = warning_of(share, replace(LIMITS, product="numpy, 512 x 512"))
    assert warning is not None and warning.startswith("the limit was measured too low")
    assert shown in warning and "numpy, 512 x 512" in warning


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 1.004])
def test_a_share_that_rounds_to_100_percent_has_no_warning(share: float) -> None:
    assert warning_of(share, LIMITS) is None


def test_all_concurrent_images_count() -> None:
    assert share(measurement(batch=2)) == pytest.approx(1.0)
    assert share(measurement(threads=1, streams=2)) == pytest.approx(1.0)
    # As a lower bound, the weights are moved once for all images.
    light = replace(ARTIFACT, macs=10**6)
    assert share(measurement(light, batch=2)) == pytest.approx(0.2)


def test_one_limit_is_enough() -> None:
    assert share(measurement(replace(ARTIFACT, traffic=None))) == pytest.approx(0.5)
    assert share(measurement(replace(ARTIFACT, macs=None))) == pytest.approx(0.2)
    assert share(measurement(), replace(LIMITS, macs_per_second=())) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("measured", "limits"),
    [
        (measurement(), None),
        (measurement(None), LIMITS),
        (measurement(replace(ARTIFACT, macs=None, traffic=None)), LIMITS),
        (replace(measurement(), rounds=()), LIMITS),
        (replace(measurement(), rounds=(Round(0, 0, (0, 0)),)), LIMITS),
        (measurement(), Limits(2, (), ())),
        (measurement(threads=1), LIMITS),
        (measurement(streams=2), LIMITS),
        (measurement(precision="bfloat16"), LIMITS),
        (measurement(precision="default"), LIMITS),
    ],
)
def test_an_unknown_share_has_a_reason(measured: Measurement, limits: Limits | None) -> None:
    assert isinstance(share(measured, limits), str)


def test_another_device_has_other_limits() -> None:
    assert share_of_limit(measurement(), LIMITS, processor=False) == (
        "the limits are those of the processor"
    )
