"""A candidate wins only if its interval allows it. Wrong and failing candidates are dropped."""

import json
from pathlib import Path

import pytest

from benchmarks import tuning
from benchmarks.measuring.race import RacePlan
from benchmarks.record import Configuration, Measurement, Round, Run
from benchmarks.tuning import Contest, Decision, Effort, decide
from slide_deploy.errors import InputError
from slide_deploy.lowerings import FORMS, Lowering

SCRIPTED = "tests.benchmarks.scripted:scripted"


class Stubbed:
    """Fake races with given milliseconds for each round, repeated."""

    def __init__(self, latencies: dict[str, list[float]], failing: tuple[str, ...] = ()) -> None:
        self.latencies = latencies
        self.failing = failing
        self.wrong: tuple[str, ...] = ()
        self.raced: list[list[str]] = []
        self.made: list[str] = []
        self.interrupt_at: int | None = None

    def make(self, lowering: Lowering) -> Path:
        self.made.append(str(lowering))
        if str(lowering) in self.wrong:
            raise InputError(f"{lowering} disagrees.")
        return Path("/folder") / str(lowering).replace("/", "-")

    def race(self, plan: RacePlan, *_: object) -> Run:
        names = [candidate.name for candidate in plan.candidates]
        self.raced.append(names)
        interrupted = len(self.raced) == self.interrupt_at
        measurements = tuple(self.measured(each, plan) for each in plan.candidates)
        return Run(1, "", "", plan.seconds, {}, measurements, interrupted=interrupted)

    def measured(self, candidate, plan) -> Measurement:
        if candidate.name in self.failing:
            return Measurement(candidate, error=f"{candidate.path} does not load.")
        cycle = self.latencies.get(candidate.name, [20.0])
        rounds = tuple(
            Round(index, 0.1, (round(cycle[index % len(cycle)] * 1e6),) * 3)
            for index in range(plan.rounds)
        )
        runtime = {"library": "stub", "version": "1"}
        return Measurement(candidate, runtime=runtime, rounds=rounds)


@pytest.fixture(autouse=True)
def noise(monkeypatch) -> dict[str, float | None]:
    known: dict[str, float | None] = {"noise": None}
    monkeypatch.setattr(tuning, "stored_noise", lambda _: known["noise"])
    return known


def decided(monkeypatch, stub: Stubbed, present="depthwise", strips=(1, 4), kept=2) -> Decision:
    monkeypatch.setattr(tuning, "race", stub.race)
    contest = Contest(
        "a:cpu", Configuration(), Lowering.parse(present), tuple(FORMS), tuple(strips), kept
    )
    return decide(contest, stub.make, Effort())


def test_a_certainly_faster_candidate_wins(monkeypatch) -> None:
    stub = Stubbed(
        {"depthwise": [10.0], "flat": [9.0], "running-mean": [9.5], "flat/4": [8.0, 8.1]}
    )
    found = decided(monkeypatch, stub)
    assert (found.winner, found.baseline, found.runtime) == ("flat/4", "depthwise", "stub 1")
    trials = {trial.lowering: trial for trial in found.trials}
    assert trials["flat/4"].final
    assert trials["flat/4"].ratio == pytest.approx(0.805, rel=0.01)
    assert trials["flat/4"].high < 1
    assert trials["depthwise"].ratio == trials["depthwise"].low == trials["depthwise"].high == 1
    assert "depthwise/4" not in trials  # two forms are looked at more closely


def test_faster_on_average_is_not_enough(monkeypatch) -> None:
    stub = Stubbed({"depthwise": [10.0], "flat": [8.0, 12.0, 9.0, 11.0, 7.0]})
    found = decided(monkeypatch, stub)
    flat = next(trial for trial in found.trials if trial.lowering == "flat")
    assert flat.final and flat.ratio < 1 < flat.high
    assert found.winner == "depthwise"


def test_the_second_wins_if_the_first_is_uncertain(monkeypatch) -> None:
    stub = Stubbed(
        {"depthwise": [10.0], "flat": [6.0, 12.0, 9.0, 11.0, 5.0, 8.0], "running-mean": [9.4, 9.5]}
    )
    assert decided(monkeypatch, stub).winner == "running-mean"


def test_the_noise_of_the_machine_widens_the_intervals(monkeypatch, noise) -> None:
    stub = Stubbed({"depthwise": [10.0], "flat": [9.7]})
    assert decided(monkeypatch, stub).winner == "flat"
    noise["noise"] = 1.05
    assert decided(monkeypatch, stub).winner == "depthwise"


def test_a_wrong_candidate_is_dropped_before_it_is_timed(monkeypatch) -> None:
    stub = Stubbed({"depthwise": [10.0], "flat": [1.0]})
    stub.wrong = ("flat",)
    found = decided(monkeypatch, stub)
    assert found.dropped == {"flat": "flat disagrees."}
    assert not any("flat" in names for names in stub.raced)
    assert found.winner == "depthwise"


def test_a_candidate_that_fails_is_dropped_and_named_without_its_folder(monkeypatch) -> None:
    stub = Stubbed({"depthwise": [10.0], "flat": [1.0]}, failing=("flat",))
    found = decided(monkeypatch, stub)
    assert found.dropped == {"flat": "flat does not load."}
    assert sum("flat" in names for names in stub.raced) == 1


def test_a_present_choice_that_is_wrong_or_fails_is_replaced(monkeypatch) -> None:
    for stub in (
        Stubbed({"flat": [8.0], "depthwise": [10.0]}, failing=("running-mean",)),
        Stubbed({"flat": [8.0], "depthwise": [10.0]}),
    ):
        stub.wrong = () if stub.failing else ("running-mean",)
        found = decided(monkeypatch, stub, present="running-mean")
        assert (found.baseline, found.winner) == ("depthwise", "flat")
        assert list(found.dropped) == ["running-mean"]
        assert stub.made.count("depthwise") == 1  # nothing is written twice


def test_without_a_running_candidate_there_is_one_sentence(monkeypatch) -> None:
    stub = Stubbed({})
    stub.wrong = tuple(FORMS)
    with pytest.raises(InputError, match="No form of the attention runs on a:cpu: depthwise dis"):
        decided(monkeypatch, stub)


def test_the_present_choice_takes_part_in_every_race(monkeypatch) -> None:
    stub = Stubbed({"flat/9": [10.0], "running-mean": [9.0], "flat": [9.1]})
    found = decided(monkeypatch, stub, present="flat/9", strips=(1, 2, 4, 7))
    assert all(names[0] == "flat/9" for names in stub.raced)
    assert len(stub.raced) == 3  # forms, strips, and the long one
    assert len(stub.raced[2]) == 5
    assert found.baseline == "flat/9"


def test_every_form_is_raced_with_every_number_of_strips_on_request(monkeypatch) -> None:
    stub = Stubbed({})
    decided(monkeypatch, stub, strips=(1, 2), kept=len(FORMS))
    assert set(stub.made) == {f"{form}{end}" for form in FORMS for end in ("", "/2")}


def test_an_interrupted_race_decides_nothing(monkeypatch) -> None:
    stub = Stubbed({})
    stub.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        decided(monkeypatch, stub)


@pytest.mark.slow
def test_real_races_decide_between_scripted_latencies(tmp_path: Path) -> None:
    milliseconds = {"depthwise": 3.0, "running-mean": 2.0}

    def make(lowering: Lowering) -> Path:
        path = tmp_path / f"{str(lowering).replace('/', '-')}.json"
        settings = {"script": "noisy", "milliseconds": milliseconds[str(lowering)]}
        path.write_text(json.dumps(settings))
        return path

    contest = Contest(
        SCRIPTED, Configuration(), Lowering("depthwise"), ("depthwise", "running-mean"), (1,), 2
    )
    steps: list[str] = []
    found = decide(contest, make, Effort(seconds=0.5, warm_up=0.1), steps.append)
    assert (found.winner, found.runtime) == ("running-mean", "scripted 1")
    assert steps == ["write depthwise", "write running-mean", "short race of 2", "long race of 2"]
