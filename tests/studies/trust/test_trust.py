"""The trial on scripted latencies, its verdicts, its page, and the vendors' tools."""

import json
from pathlib import Path

import pytest

from benchmarks.compare import Comparison, Verdict
from benchmarks.generated_page import END, GeneratedPage
from benchmarks.record import Configuration, Tensor
from benchmarks.statistics import Estimate, Interval
from slide_deploy.errors import InputError
from studies.trust import vendors
from studies.trust.outcomes import Findings, LoopAgreement, Series
from studies.trust.tables import COMMAND, grids
from studies.trust.trial import TrustSettings, TrustSubject, examine, steps, subject
from tests.backends.files import onnx_file

REPORT = (Path(__file__).parent / "benchmark_report.json").read_text()


def series(extra_work: float, **counts: int) -> Series:
    ratio = Estimate(1.02, Interval(1.01, 1.03))
    found = [
        Comparison("second", ratio, Verdict[name])
        for name, count in counts.items()
        for _ in range(count)
    ]
    return Series("onnxruntime:cpu", extra_work, tuple(found))


def findings(*, ours: float = 2.0) -> Findings:
    agreement = LoopAgreement("openvino:cpu", "a | tool", (ours,) * 6, (2.0,) * 6)
    return Findings((series(0.0, same=20), series(0.1, worse=20)), (agreement,), {})


@pytest.mark.parametrize(
    ("counted", "wrong", "accepted"),
    [
        (series(0.0, same=20), 0, True),
        (series(0.0, same=15, better=2, unclear=2, worse=1), 1, True),
        (series(0.0, same=18, worse=2), 2, False),
        (series(0.1, worse=20), 0, True),
        (series(0.1, worse=19, unclear=1), 1, True),
        (series(0.1, worse=18, unclear=1, same=1), 2, False),
        (series(0.1, worse=9, unclear=1), 1, False),  # of ten none may be wrong
        (series(0.0), 0, False),
    ],
)
def test_one_verdict_in_twenty_may_be_wrong(counted, wrong, accepted):
    assert counted.wrong == wrong
    assert counted.accepted == accepted


@pytest.mark.parametrize(
    ("ratio", "accepted"),
    [(1.0, True), (1.029, True), (0.972, True), (1.031, False), (0.96, False)],
)
def test_a_vendor_may_differ_by_3_percent(ratio, accepted):
    # Pairs, not medians of either side: the machine was twice as slow for half of them.
    theirs = (2e6, 2e6, 2e6, 4e6, 4e6, 4e6)
    found = LoopAgreement("a", "b", tuple(each * ratio for each in theirs), theirs)
    assert found.ratio.value == pytest.approx(ratio)
    assert found.accepted == accepted


def test_too_few_pairs_are_not_accepted():
    assert not LoopAgreement("a", "b", (1.0,) * 5, (1.0,) * 5).accepted


def test_all_findings_must_be_accepted():
    assert findings().accepted
    assert not findings(ours=2.1).accepted


@pytest.mark.slow
def test_the_trial_finds_the_scripted_latencies(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"script": "noisy", "milliseconds": 2.0}))
    asked = []

    def theirs(path, inputs, configuration, seconds) -> float:
        asked.append(inputs)
        return 2e6 * 1.2

    scripted = TrustSubject(path, "tests.benchmarks.scripted:scripted", "theirs", theirs)
    settings = TrustSettings(2, 6, 0.3, 6, 1, Configuration(batch=4))
    said = []
    found = examine([scripted], settings, said.append)
    assert len(said) == steps([scripted], settings) == 10
    equal, slower = found.series
    assert equal.accepted and equal.count(Verdict.same) == 2
    assert slower.accepted and slower.count(Verdict.worse) == 2
    assert slower.ratios == pytest.approx((1.1, 1.1), rel=0.03)
    (agreement,) = found.agreements
    assert agreement.ratio.value == pytest.approx(1 / 1.2, rel=0.03) and not agreement.accepted
    assert asked[0] == (Tensor("x", "float32", (4, 3, 8, 8)),)
    assert found.runtimes == {scripted.target: "scripted 1"}


def test_a_candidate_that_fails_ends_the_trial(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"script": "raises", "milliseconds": 2.0}))
    failing = TrustSubject(path, "tests.benchmarks.scripted:scripted", "theirs", lambda *_: 1.0)
    with pytest.raises(InputError, match="the device was removed"):
        examine([failing], TrustSettings(1, 6, 3.0, 6, 1, Configuration()))


def test_the_median_of_benchmark_app_is_read_from_its_report():
    assert vendors.benchmark_app_median(REPORT) == 3.93e6


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ("", "without a latency"),
        ("[]", "without a latency"),
        ('{"execution_results": {"latency (ms)": "N/A"}}', "without a latency"),
        ('{"execution_results": {"error": "no such device\\nat a.cpp"}}', "no such device"),
    ],
)
def test_a_report_without_a_median_is_refused(report, sentence):
    with pytest.raises(InputError, match=sentence):
        vendors.benchmark_app_median(report)


def test_benchmark_app_has_the_settings_of_our_target():
    inputs = (Tensor("image", "float32", (8, 3, 4, 4)), Tensor("scale", "float32", (8,)))
    words = vendors.benchmark_app_options(Path("a.xml"), inputs, Configuration(threads=3), 2)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["-nthreads"] == "3" and options["-nstreams"] == "1" and options["-pin"] == "NO"
    assert options["-infer_precision"] == "f32" and options["-t"] == "2"
    assert options["-shape"] == "image[8,3,4,4],scale[8]"


def test_the_loop_times_a_file(tmp_path):
    path = onnx_file(tmp_path, None)
    *_, loop = vendors.VENDORS[".onnx"]
    nanoseconds = loop(path, (Tensor("x", "float32", (2, 4)),), Configuration(), 0.02)
    assert 0 < nanoseconds < 1e9


def test_a_failing_tool_is_reported_with_the_reason(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    *_, loop = vendors.VENDORS[".onnx"]
    with pytest.raises(InputError, match=r"onnxruntime_loop\.py failed: .*broken\.onnx"):
        loop(broken, (), Configuration(), 0.02)
    with pytest.raises(InputError, match="printed no time: 'hello'"):
        vendors.loop_median("hello\n")


def test_a_file_without_a_vendors_tool_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"end in \.onnx or \.xml"):
        subject(tmp_path / "a.mlpackage")
    with pytest.raises(InputError, match="does not exist"):
        subject(tmp_path / "a.onnx")


def page(path: Path) -> GeneratedPage:
    return GeneratedPage(path, COMMAND)


BEGIN = page(Path("trust.md")).begin


@pytest.fixture
def kept(tmp_path) -> Path:
    path = tmp_path / "trust.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    return path


def test_only_text_between_the_marks_is_replaced(kept):
    for _ in range(2):
        page(kept).update(grids(findings()), {"command": "a|b"})
    text = kept.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n**A file against itself")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text and text.count(BEGIN) == 1
    assert "a \\| tool" in text and "| command | a\\|b |" in text


def test_the_page_is_written_atomically(kept, monkeypatch):
    before = kept.read_text()

    def full(self, content):
        with self.open("wb") as stream:
            stream.write(content[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.chdir(kept.parent)  # where it would be kept elsewhere, nothing half-written stays
    with pytest.raises(InputError, match="No space left"):
        page(kept).update(grids(findings()), {})
    assert kept.read_text() == before
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_marks_is_not_changed(tmp_path, text):
    path = tmp_path / "trust.md"
    path.write_text(text)
    with pytest.raises(InputError, match="lacks the marks"):
        page(path).update(grids(findings()), {})
    assert path.read_text() == text


def test_every_row_has_a_cell_for_each_column():
    for grid in grids(findings()) + grids(Findings((series(0.0),), (), {})):
        assert {len(row) for row in grid.rows} <= {len(grid.headers)}


def test_the_page_of_this_project_has_the_marks():
    page(Path(__file__).parents[3] / "docs" / "trust.md").around()
