from dataclasses import replace

import numpy as np
import pytest

from benchmarks.compare import Verdict, compare, failed, judge
from benchmarks.record import Candidate, Configuration, Limits, Measurement, Round, Run
from benchmarks.statistics import Estimate, Interval
from slide_deploy.errors import InputError

MACHINE = {"processor": "Testor 9000", "usable cores": "2", "architecture": "x86_64"}


def a_run(level=1.0, name="a", seed=0, machine=MACHINE, macs=None, **more):
    draw = np.random.default_rng(seed)
    rounds = tuple(
        Round(float(index), 0.1, tuple(int(each) for each in draw.normal(2e6, 1e4, 30) * level))
        for index in range(20)
    )
    limits = macs and Limits(2, (macs,) * 20, (1e10,) * 20)
    measurement = Measurement(Candidate(name, "a.onnx", "onnxruntime:cpu"), rounds=rounds)
    return Run(1, "0", "2026-01-01T00:00:00", 10.0, machine, (measurement,), limits, **more)


def verdict(old, new, fail_above=0.05):
    (found,) = compare(old, new, fail_above)
    return found


@pytest.mark.parametrize(
    ("level", "expected"), [(1.2, "worse"), (1.0, "same"), (0.8, "better"), (1.05, "cannot tell")]
)
def test_verdicts(level, expected):
    found = verdict(a_run(seed=1), a_run(level, seed=2))
    assert found.verdict == expected
    assert found.ratio.value == pytest.approx(level, rel=0.01)
    assert failed([found]) == (expected == "worse")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.051, 1.2, Verdict.worse),
        (1.049, 1.2, Verdict.unclear),
        (0.96, 1.049, Verdict.same),
        (0.96, 1.06, Verdict.unclear),
        (0.8, 0.95, Verdict.better),
        (0.8, 1.2, Verdict.unclear),
        (float("nan"), float("nan"), Verdict.unclear),
    ],
)
def test_a_verdict_needs_the_whole_interval(low, high, expected):
    assert judge(Estimate(1.0, Interval(low, high)), 0.05) is expected


def test_the_noise_of_the_machine_makes_verdicts_unclear():
    old, new = a_run(seed=1), a_run(1.1, seed=2)
    assert verdict(old, new).verdict is Verdict.worse
    assert verdict(replace(old, noise=1.08), new).verdict is Verdict.unclear


def test_matmuls_of_different_kinds_are_not_compared():
    old, new = a_run(seed=1, macs=1e11), a_run(1.2, seed=2, macs=1e11 / 1.2)
    assert new.limits is not None
    chosen = replace(new, limits=replace(new.limits, product="OpenVINO, 512 x 512"))
    found = verdict(old, chosen)
    assert found.verdict is Verdict.worse and "machine" not in found.remark


def test_a_change_of_the_machines_speed_makes_no_file_worse():
    old, new = a_run(seed=1, macs=1e11), a_run(1.2, seed=2, macs=1e11 / 1.2)
    found = verdict(old, new)
    assert found.verdict is Verdict.unclear
    assert "the machine itself was 1.20 times slower" in found.remark
    assert verdict(old, a_run(1.2, seed=2, macs=1e11)).verdict is Verdict.worse


def test_different_machines_are_refused_without_the_option():
    other = a_run(machine={**MACHINE, "processor": "Other 1"})
    with pytest.raises(InputError, match=r"Testor 9000; Other 1.*--across-machines"):
        compare(a_run(), other, 0.05)
    assert compare(a_run(), other, 0.05, across_machines=True)[0].verdict is Verdict.same


def test_nothing_in_common_is_refused():
    with pytest.raises(InputError, match="no candidate in common"):
        compare(a_run(name="a"), a_run(name="b"), 0.05)


def test_candidates_that_vanish_or_fail_fail_the_gate():
    old, new = a_run(), a_run()
    lost = replace(old, measurements=(*old.measurements, *a_run(name="b").measurements))
    assert [each.verdict for each in compare(lost, new, 0.05)] == [Verdict.same, Verdict.lost]
    assert failed(compare(lost, new, 0.05))
    assert [each.verdict for each in compare(new, lost, 0.05)] == [Verdict.same, Verdict.added]
    assert not failed(compare(new, lost, 0.05))
    broken = replace(new, measurements=(replace(new.measurements[0], error="it fell over"),))
    (found,) = compare(old, broken, 0.05)
    assert (found.verdict, found.remark) == (Verdict.failed, "it fell over")
    assert failed([found])


def test_other_changes_are_reported():
    new = a_run()
    measurement = new.measurements[0]
    candidate = replace(measurement.candidate, configuration=Configuration(threads=4))
    new = replace(new, measurements=(replace(measurement, candidate=candidate),))
    assert "threads 1 then, 4 now" in verdict(a_run(), new).remark
