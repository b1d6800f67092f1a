"""The plot of accuracy against latency: numbers, families as lines, published accuracies."""

from dataclasses import replace

import plotly.graph_objects

from benchmarks.record import Measurement
from benchmarks.report.figures import Figure, figures
from benchmarks.report.figures.accuracy import Lines
from benchmarks.report.html import render_html
from benchmarks.report.notes import settings
from benchmarks.report.palette import SURFACE
from benchmarks.report.summary import summarise
from tests.benchmarks import synthetic

RUNTIMES = ("onnxruntime:cpu", "openvino:cpu")
FAMILIES = (
    *(("Swin-T", "Swin", 30, 0.813), ("Swin-S", "Swin", 55, 0.830)),
    *(("Slide-Swin-T", "Slide-Swin", 29, 0.823), ("Slide-Swin-S", "Slide-Swin", 56, 0.837)),
    ("PVT-L", "PVT", 60, 0.817),
)


def member(name: str, line: str, milliseconds: float, share: float, target: str) -> Measurement:
    made = synthetic.measurement(f"{name} on {target}", target, milliseconds)
    assert made.artifact is not None
    return replace(
        made,
        candidate=replace(made.candidate, line=line),
        artifact=replace(made.artifact, published_accuracy=share),
    )


def plots(*measurements: Measurement) -> list[Figure]:
    view = summarise([synthetic.run(measurements)])[0].views[0]
    return [each for each in figures(view) if each.title.startswith("Accuracy")]


def families() -> list[Figure]:
    return plots(*(member(*each, target) for target in RUNTIMES for each in FAMILIES))


def test_families_are_lines_in_one_plot_per_target() -> None:
    found = families()
    assert [each.title for each in found] == [f"Accuracy against latency on {x}" for x in RUNTIMES]
    for plot in found:
        plotly.graph_objects.Figure(plot.spec)
        lines = {trace["name"]: trace for trace in plot.spec["data"] if trace["mode"] == "lines"}
        assert list(lines) == ["Swin", "Slide-Swin", "PVT"]
        assert lines["Slide-Swin"]["y"] == [0.823, 0.837]
        assert plot.spec["layout"]["showlegend"]


def test_marks_show_the_suffix_after_the_name_of_the_line() -> None:
    marks = [each for each in families()[0].spec["data"] if "marker" in each]
    assert sorted(each["text"][0] for each in marks) == ["L", "S", "S", "T", "T"]


def test_a_name_without_the_name_of_its_line_shows_a_number() -> None:
    odd = (("resnet", 3), ("Swin-", 4), ("Swin-T-distilled", 5), ("SwinV2", 6))
    made = [member(name, "Swin", time, 0.8, RUNTIMES[0]) for name, time in odd]
    (plot,) = plots(*made)
    texts = [each["text"][0] for each in plot.spec["data"] if "marker" in each]
    assert texts == ["1", "2", "3", "4"]


def test_a_variant_has_the_colour_of_its_host_and_the_host_is_hollow() -> None:
    lines = Lines(("Slide-Swin", "PVT", "Swin", "CSWin"))
    assert lines.colour("Slide-Swin") == lines.colour("Swin")
    assert len({lines.colour(each) for each in ("PVT", "Swin", "CSWin")}) == 3
    assert [lines.is_host(each) for each in lines.names] == [False, False, True, False]
    assert lines.fill("Swin") == SURFACE.light != lines.fill("Slide-Swin")


def test_lines_named_after_each_other_all_have_a_colour() -> None:
    lines = Lines(("a-b-c", "b-c", "c", "-c", "c-c"))
    assert len({lines.colour(each) for each in lines.names}) == 1


def test_published_and_measured_accuracies_are_distinguished() -> None:
    plot = families()[0]
    assert plot.spec["layout"]["yaxis"]["title"]["text"] == "accuracy, as published"
    assert "Accuracy is as published for the network, not measured with these files" in str(
        plot.caption
    )
    hovers = [each["hovertext"] for each in plot.spec["data"] if "marker" in each]
    assert all("%, as published" in each for each in hovers)


def test_a_mixed_plot_names_the_published_accuracies() -> None:
    own = synthetic.measurement("own", milliseconds=20, accuracy=0.79)
    (plot,) = plots(own, member("Swin-T", "", 30, 0.813, RUNTIMES[0]))
    assert plot.title == "Accuracy against latency"
    assert plot.spec["layout"]["yaxis"]["title"]["text"] == "accuracy"
    assert "Accuracy of 2 is as published" in str(plot.caption)
    assert "as published" not in str(plots(own, own)[0].caption)


def test_a_single_accuracy_gives_no_plot() -> None:
    assert not plots(member("Swin-T", "Swin", 30, 0.813, RUNTIMES[0]))
    one_each = [member("Swin-T", "Swin", 30, 0.813, target) for target in RUNTIMES]
    assert not plots(*one_each)


def test_the_settings_of_a_candidate_name_a_published_accuracy() -> None:
    run = synthetic.run([member("Swin-T", "Swin", 30, 0.813, RUNTIMES[0])])
    (row,) = summarise([run])[0].views[0].rows
    assert ("accuracy, as published", "81.3%") in list(settings(row))
    assert "<dt>accuracy, as published</dt><dd>81.3%</dd>" in render_html([run])


def test_an_untrusted_line_name_is_shortened_text() -> None:
    made = [member(f"x-{i}", "<b>" + "y" * 300, 5 + i, 0.5, RUNTIMES[0]) for i in range(2)]
    names = [each["name"] for each in plots(*made)[0].spec["data"] if each["mode"] == "lines"]
    assert names[0].startswith("&lt;b&gt;") and len(names[0]) < 40


def file(name: str, size: int, share: float, interval: tuple[float, float] | None) -> Measurement:
    made = synthetic.measurement(name, milliseconds=20, accuracy=share)
    assert made.artifact is not None
    artifact = replace(made.artifact, name=name, size=size, accuracy_interval=interval)
    return replace(made, artifact=artifact)


def test_intervals_are_bars_and_within_the_plot() -> None:
    by_latency, by_size = plots(
        file("float.onnx", 4_000_000, 0.9, (0.85, 0.94)), file("int8.onnx", 1_000_000, 0.8, None)
    )
    assert by_size.title == "Accuracy against file size"
    for plot in (by_latency, by_size):
        plotly.graph_objects.Figure(plot.spec)
        first, second = (each for each in plot.spec["data"] if "marker" in each)
        barred, plain = (first, second) if first["y"] == [0.9] else (second, first)
        assert "error_y" not in plain
        bar = barred["error_y"]
        assert [round(bar[end][0], 9) for end in ("array", "arrayminus")] == [0.04, 0.05]
        low, high = plot.spec["layout"]["yaxis"]["range"]
        assert low < 0.8 and high > 0.94
        assert "85.0% to 94.0%" in barred["hovertext"]
        assert "Bars are 95 % intervals" in str(plot.caption)
    marks = [each for each in by_size.spec["data"] if "marker" in each]
    assert [each["x"] for each in marks] == [[1.0], [4.0]]
    assert by_size.spec["layout"]["xaxis"]["title"]["text"] == "MB on disk"
    assert "smaller and more accurate" in str(by_size.caption)


def test_a_file_on_two_targets_has_one_size() -> None:
    made = file("a.onnx", 1_000_000, 0.9, None)
    other = replace(made, candidate=replace(made.candidate, name="a on cuda"))
    assert [each.title for each in plots(made, other)] == ["Accuracy against latency"]


def test_published_accuracies_are_not_plotted_by_file_size() -> None:
    titles = [each.title for each in families()]
    assert "Accuracy against file size" not in titles


def test_the_settings_of_a_candidate_have_the_interval() -> None:
    run = synthetic.run([file("a.onnx", 1_000_000, 0.9, (0.85, 0.94))])
    (row,) = summarise([run])[0].views[0].rows
    assert ("accuracy", "90.00% (95 %: 85.00% to 94.00%)") in list(settings(row))
