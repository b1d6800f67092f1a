"""Runs as rows, in which unknown figures have a reason."""

from dataclasses import replace

import pytest

from benchmarks.record import Artifact, Configuration, Limits, OperatorTime, Round
from benchmarks.report.headline import headlines
from benchmarks.report.html import render_html
from benchmarks.report.markdown import render_markdown
from benchmarks.report.notes import settings
from benchmarks.report.series import MOST_KINDS, operator_bars, sustained
from benchmarks.report.summary import Missing, RunView, summarise
from benchmarks.report.table import ABSENT, absences, columns
from benchmarks.report.text import Name
from benchmarks.statistics import Estimate
from tests.benchmarks import synthetic


def view_of(run) -> RunView:
    return summarise([run])[0].views[0]


def text_of(sentence) -> str:
    return "".join(part.text if isinstance(part, Name) else part for part in sentence)


def outcomes(run) -> list[str]:
    return [text_of(sentence) for _, sentence in headlines(view_of(run))]


def steady(milliseconds: float, count: int = 8) -> tuple[Round, ...]:
    samples = tuple(int(milliseconds * 1e6 * (1 + index / 1000)) for index in range(40))
    return tuple(Round(float(index), sum(samples) / 1e9, samples) for index in range(count))


def test_runs_are_grouped_by_machine_in_their_order() -> None:
    sections = summarise([synthetic.laptop(), synthetic.server(), synthetic.laptop()])
    assert [section.title for section in sections] == ["Apple M2", "AMD EPYC 7B12"]
    assert [len(section.views) for section in sections] == [2, 1]


def test_ratios_are_to_the_first_candidate_that_was_measured() -> None:
    view = view_of(
        synthetic.run(
            [
                synthetic.failing("broken"),
                synthetic.measurement("a", rounds=steady(10)),
                synthetic.measurement("b", rounds=steady(15)),
            ]
        )
    )
    broken, a, b = view.rows
    assert (broken.baseline, a.baseline, b.baseline) == (False, True, False)
    assert isinstance(b.ratio, Estimate) and b.ratio.value == pytest.approx(1.5, rel=0.01)


@pytest.mark.parametrize(("milliseconds", "doubted"), [(5.0, True), (20.0, False)])
def test_a_share_above_the_limit_always_has_a_warning(milliseconds: float, doubted: bool) -> None:
    artifact = Artifact("a.onnx", "0" * 64, 1, macs=10**9)
    measured = replace(synthetic.measurement("a", rounds=steady(milliseconds)), artifact=artifact)
    threads = measured.candidate.configuration.threads
    run = synthetic.run([measured], limits=Limits(threads, (1e11,), (1e10,)))
    (row,) = view_of(run).rows
    assert not isinstance(row.share, Missing)
    assert (row.share > 1) is doubted
    warnings = [warning for warning in row.warnings if "limit was measured too low" in warning]
    assert len(warnings) == doubted
    for page in (render_html([run]), render_markdown([run])):
        assert ("limit was measured too low" in page) is doubted


def test_batches_are_compared_per_image_and_streams_are_not_compared() -> None:
    view = view_of(
        synthetic.run(
            [
                synthetic.measurement("a", rounds=steady(10)),
                synthetic.measurement("b", rounds=steady(40), configuration=Configuration(batch=8)),
                synthetic.measurement(
                    "c", rounds=steady(10), configuration=Configuration(streams=2)
                ),
            ]
        )
    )
    _, batched, streamed = view.rows
    assert isinstance(batched.ratio, Estimate)
    assert batched.ratio.value == pytest.approx(0.5, rel=0.01)
    assert batched.throughput == pytest.approx(200, rel=0.03)
    assert isinstance(streamed.ratio, Missing) and "throughput" in streamed.ratio.reason
    assert [group.label for group in view.groups] == [
        "onnxruntime:cpu",
        "onnxruntime:cpu, batch 8",
        "onnxruntime:cpu, 2 streams",
    ]


def test_throughput_counts_every_repetition() -> None:
    item = synthetic.measurement("a", rounds=(Round(0.0, 1.0, (10_000_000,) * 10),), repetitions=10)
    assert view_of(synthetic.run([item])).rows[0].throughput == 100


def test_every_missing_figure_has_a_reason() -> None:
    for make in (synthetic.server, synthetic.laptop, synthetic.sparse):
        for column in columns(view_of(make())):
            for cell in column.cells:
                plain = column.header == "median" and not cell.detail  # lacks its interval only
                assert bool(cell.reason) == (cell.text == ABSENT or plain)


def test_missing_figures_are_grouped_and_failures_left_out() -> None:
    lines = absences(view_of(synthetic.server()))
    assert lines[0] == "p99 of 1–2, 4–7: 480 samples of 12 rounds are too few"
    assert not any("mlpackage" in line or "8" in line.split(":")[0] for line in lines)
    assert any(
        "the system does not report" in line for line in absences(view_of(synthetic.laptop()))
    )


def test_percentile_columns_remain_even_if_all_are_missing() -> None:
    headers = [column.header for column in columns(view_of(synthetic.sparse()))]
    assert headers[:3] == ["median", "p90", "p99"]
    assert "throughput" not in headers and "share of limit" not in headers


def test_a_clear_winner_is_named_with_ratio_and_interval() -> None:
    first, second, third, nothing = outcomes(synthetic.server())
    assert first.startswith("slide_swin_tiny-int8.onnx is fastest with 7")
    assert "the next, slide_swin_tiny-depthwise.onnx, takes 1.3" in first
    assert "95% interval" in first and "The first candidate" in first
    assert " is fastest with " in second
    assert "no other candidate ran here" in third
    assert nothing == "No candidate was measured."


def test_a_difference_within_the_noise_has_no_winner() -> None:
    pair = [
        synthetic.measurement("a", rounds=steady(10)),
        synthetic.measurement("b", rounds=steady(10.2)),
    ]
    (quiet,) = outcomes(synthetic.run(pair, noise=None))
    (noisy,) = outcomes(synthetic.run(pair, noise=1.05))
    assert "a is fastest with " in quiet
    assert "are equally fast within the error" in noisy


def test_too_few_rounds_name_no_winner() -> None:
    (outcome,) = outcomes(synthetic.sparse())
    assert "too few samples to compare" in outcome


def test_a_candidate_that_failed_halfway_does_not_win() -> None:
    quick = replace(synthetic.measurement("quick", rounds=steady(1)), error="It crashed.")
    whole = synthetic.measurement("whole", rounds=steady(9))
    (outcome,) = outcomes(synthetic.run([whole, quick]))
    assert outcome.startswith("whole takes")


def test_operators_are_grouped_by_type_regardless_of_kernel() -> None:
    bars = operator_bars(
        [
            OperatorTime("a", "Conv (jit_avx512_dw)", 3),
            OperatorTime("b", "MatMul (brgemm)", 4),
            OperatorTime("c", "Conv (ref)", 5),
            OperatorTime("d", "Softmax", 1),
        ]
    )
    assert bars
    found = [(kind.name, kind.count, round(kind.seconds * 1e9)) for kind in bars.bars]
    assert found == [("Conv", 2, 8), ("MatMul", 1, 4), ("Softmax", 1, 1)]
    assert bars.bars[0].costliest.name == "c"
    assert (bars.others, bars.others_seconds) == (0, 0)


def test_many_nodes_of_few_types_leave_no_remainder() -> None:
    operators = [OperatorTime(str(index), f"Type{index % 12}", 1) for index in range(602)]
    bars = operator_bars(operators)
    assert bars and (len(bars.bars), bars.others) == (12, 0)


def test_the_slowest_types_are_shown_and_the_rest_is_summed() -> None:
    operators = [OperatorTime(str(index), f"Type{index}", index + 1) for index in range(40)]
    bars = operator_bars(operators)
    assert bars
    costs = [round(kind.seconds * 1e9) for kind in bars.bars]
    assert costs == list(range(40, 40 - MOST_KINDS, -1))
    assert bars.others == 40 - MOST_KINDS
    assert bars.others_seconds + sum(kind.seconds for kind in bars.bars) == (
        pytest.approx(bars.total)
    )
    assert operator_bars([]) is operator_bars([OperatorTime("a", "b", 0)]) is None


def test_a_long_run_is_reduced_to_few_points_and_starts_at_zero() -> None:
    item = synthetic.measurement("a", sustained=synthetic.rounds(5, count=50, calls=200))
    points = sustained(item)
    assert 60 <= len(points) <= 120
    assert points[0].time == 0 and points[-1].time > points[0].time


def test_a_median_without_an_interval_is_still_shown() -> None:
    view = view_of(synthetic.sparse())
    (median,) = [column for column in columns(view) if column.header == "median"]
    none, one, _ = median.cells
    assert (none.text, one.text, one.detail) == (ABSENT, "10.0", "")
    assert "interval of the median, p90, p99 of 2: 1 sample is too few" in absences(view)


@pytest.mark.parametrize(
    ("target", "configuration", "artifact", "reason"),
    [
        ("openvino:gpu", Configuration(threads=2), {}, "those of the processor"),
        ("openvino:cpu", Configuration(threads=2, streams=2), {}, "for 2 threads in float32"),
        ("openvino:cpu", Configuration(threads=2, precision="bfloat16"), {}, "in float32"),
        (
            "openvino:cpu",
            Configuration(threads=2),
            {"artifact": None},
            "operations were not counted",
        ),
    ],
)
def test_a_missing_share_has_a_reason(target, configuration, artifact, reason) -> None:
    made = synthetic.measurement("a", target, configuration=configuration, **artifact)
    (row,) = view_of(synthetic.run([made])).rows
    assert isinstance(row.share, Missing) and reason in row.share.reason


def test_the_settings_of_a_candidate_name_the_calibration_data() -> None:
    plain = synthetic.measurement("own", milliseconds=20)
    assert plain.artifact is not None
    artifact = replace(plain.artifact, calibration="30 examples of noise.npz")
    held = replace(plain.candidate.configuration, environment={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    measured = replace(
        plain, artifact=artifact, candidate=replace(plain.candidate, configuration=held)
    )
    (row,) = view_of(synthetic.run([measured])).rows
    said = list(settings(row))
    assert ("calibrated on", "30 examples of noise.npz") in said
    assert ("ONEDNN_MAX_CPU_ISA", "AVX2") in said
