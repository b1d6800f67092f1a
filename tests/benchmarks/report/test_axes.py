"""Labels of logarithmic axes."""

import math

import pytest

from benchmarks.report.figures import figures
from benchmarks.report.figures.figure import log_axis
from benchmarks.report.summary import summarise
from tests.benchmarks import synthetic


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.4, 25, ["0.5", "1", "2", "5", "10", "20"]),
        (0.9, 4.1, ["1", "1.5", "2", "3"]),
        (0.02, 900, ["0.1", "1", "10", "100"]),
        (0.5, 500, ["1", "3", "10", "30", "100", "300"]),
        (900, 120_000, ["1,000", "2,000", "5,000", "10,000", "20,000", "50,000", "100,000"]),
    ],
)
def test_ticks_are_whole_numbers(low: float, high: float, labels: list[str]) -> None:
    axis = log_axis(low, high, 0.0)
    assert axis["ticktext"] == labels
    assert [float(text.replace(",", "")) for text in labels] == axis["tickvals"]


@pytest.mark.parametrize("exponent", range(-9, 9))
@pytest.mark.parametrize("span", [4, 12, 99, 1e3, 1e5, 1e9])
def test_any_range_has_some_ticks_within_it_and_not_too_many(exponent: int, span: float) -> None:
    low = 3.3 * 10.0**exponent
    axis = log_axis(low, low * span, 0.03)
    assert 2 <= len(axis["tickvals"]) <= 7
    first, last = axis["range"]
    assert all(first <= math.log10(value) <= last for value in axis["tickvals"])


def test_every_logarithmic_axis_of_the_page_has_its_own_labels() -> None:
    quick, slow = (
        synthetic.measurement(f"{each}.onnx", milliseconds=each, rounds=synthetic.rounds(each))
        for each in (0.6, 31)
    )
    (section,) = summarise([synthetic.run([quick, slow])])
    axes = {
        figure.title: axis
        for figure in figures(section.views[0])
        for name, axis in figure.spec["layout"].items()
        if name.startswith(("xaxis", "yaxis")) and axis.get("type") == "log"
    }
    assert axes["Latency on onnxruntime:cpu"]["ticktext"] == ["1", "2", "5", "10", "20"]
    assert axes["Compared with the first candidate"]["ticktext"] == [
        "1",
        "2",
        "5",
        "10",
        "20",
        "50",
    ]
