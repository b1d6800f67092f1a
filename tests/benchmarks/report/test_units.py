"""Figures as text."""

import pytest

from benchmarks.report.text import clean, clip
from benchmarks.report.units import byte_unit, percent_text, ratio_text, time_text, time_unit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0141, "14.1 ms"),
        (0.117, "117 ms"),
        (0.001, "1.00 ms"),
        (0.00094, "940 µs"),
        (2.5e-6, "2.50 µs"),
        (3e-8, "30.0 ns"),
        (1.0, "1.00 s"),
        (4000.0, "4,000 s"),
        (0.0, "0.00 s"),
    ],
)
def test_a_time_has_three_significant_digits(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_times_of_one_column_share_unit_and_decimals() -> None:
    unit = time_unit([0.0094, 0.117, 0.163])
    assert [unit.text(value) for value in (0.0094, 0.117)] == ["9.40 ms", "117.00 ms"]


def test_other_units() -> None:
    assert byte_unit([430e6]).text(430e6) == "430 MB"
    assert byte_unit([1.2e9]).text(1.2e9) == "1.2 GB"
    assert (ratio_text(1.0), ratio_text(0.813), ratio_text(12.34)) == ("1.00", "0.81", "12.3")
    assert ratio_text(0.0123) == "0.012"
    assert (percent_text(0.42), percent_text(0.042), percent_text(1.5)) == ("42%", "4.2%", "150%")


def test_texts_become_one_visible_line() -> None:
    assert clean("a\nb\x00\u202ec\x1b[0m\ud800") == "a b??c?[0m?"
    assert clip("slide_swin_tiny-depthwise.onnx", 13) == "slide_…e.onnx"
    assert clip("short", 13) == "short"
    assert len(clean("x" * 5000)) == 400
