"""The command that tunes: what it writes, keeps and refuses. Nothing is timed here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tuning import Decision
from slide_deploy import formats
from slide_deploy.backends.registry import target_named
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.hosts import load_checkpoint
from slide_deploy.lowerings import Lowering
from slide_deploy.tasks import contests, tune_first
from slide_deploy.tuning import store
from slide_deploy.tuning.choice import chooser
from slide_deploy.tuning.store import read_table
from slide_deploy.tuning.table import TABLE_VERSION, Trial
from tests.support import GOLDEN

NANO = GOLDEN / "slide_swin_nano.pth"


@pytest.fixture
def run(run, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "user_file", lambda: tmp_path / "cache" / "tuning.json")
    monkeypatch.setattr(contests, "user_file", store.user_file)
    shipped = tmp_path / "shipped.json"  # what was measured for the wheel is of no matter here
    shipped.write_text(json.dumps({"version": TABLE_VERSION, "entries": []}))
    monkeypatch.setattr(store, "shipped_file", lambda: shipped)
    monkeypatch.setattr(contests, "shipped_file", lambda: shipped)
    return run


@pytest.fixture
def decide(monkeypatch):
    """A stub of the race: the first form in two strips takes half the time.

    Only the first winner of a test is written, as writing takes a second.
    """
    held = []

    def decision(contest, make, effort, on_step) -> Decision:
        held.append(contest)
        on_step("race")
        winner = Lowering(contest.forms[0], 2)
        present = str(contest.present)
        trials = [Trial(present, 2.0, 1.0, 1.0, 1.0, True)]
        if winner != contest.present:
            if not decision.written:  # type: ignore[attr-defined]
                decision.written.append(make(winner))  # type: ignore[attr-defined]
            trials.append(Trial(str(winner), 1.0, 0.5, 0.4, 0.6, True))
        return Decision(str(winner), present, tuple(trials), {"flat": "it is wrong"}, "stub 1")

    monkeypatch.setattr(contests, "decide", decision)
    decision.held = held  # type: ignore[attr-defined]
    decision.written = []  # type: ignore[attr-defined]
    return decision


@pytest.mark.slow
def test_each_geometry_of_a_checkpoint_is_decided_and_found_again(run, decide, tmp_path) -> None:
    code, out, err = run("tune", NANO, "--target", "onnxruntime:cpu", "--form", "depthwise")
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 100
    assert "depthwise/2" in out and "flat was dropped: it is wrong" in out
    table = read_table(tmp_path / "cache" / "tuning.json")
    assert len(table.entries) == len(decide.held) == 2
    assert {entry.winner for entry in table.entries} == {"depthwise/2"}
    assert table.entries[0].command.startswith("slide-deploy tune")
    found = contests.find_attentions(deployable_checkpoint(load_checkpoint(NANO)), ())
    choices = chooser("onnxruntime:cpu", tables=[table])
    assert {str(choices(folded)) for folded in found.values()} == {"depthwise/2"}


def test_what_was_decided_is_the_present_choice_of_the_next_contest(run, decide, tmp_path) -> None:
    out = tmp_path / "table.json"
    size = ("--attention", "32x8x8", "--attention", "32x8x8:nchw")
    arguments = ("tune", *size, "--target", "openvino:cpu", "--out", out, "--form", "depthwise")
    assert run(*arguments)[0] == 0
    assert [str(contest.present) for contest in decide.held] == ["running-mean", "depthwise/2"]
    assert {entry.geometry.layout for entry in read_table(out).entries} == {"tokens", "nchw"}
    assert run(*arguments, "--json", "-")[0] == 0
    assert len(read_table(out).entries) == 2


def test_json_holds_what_was_decided(run, decide, tmp_path) -> None:
    code, out, _ = run(
        "tune", "--attention", "32x8x8", "--target", "onnxruntime:cpu", "--json", "-"
    )
    assert code == 0
    (entry,) = json.loads(out)["entries"]
    assert entry["geometry"]["channels"] == 32


def test_strips_that_do_not_make_sense_are_left_out(run, decide) -> None:
    run("tune", "--attention", "32x8x8", "--target", "onnxruntime:cpu", "--strips", "7,1,4,2")
    assert decide.held[0].strips == (1, 2, 4)  # strips of two rows, the halo of k = 3, at least


def test_ctrl_c_keeps_what_was_decided(run, decide, monkeypatch, tmp_path) -> None:
    def once(*arguments) -> Decision:
        if decide.held:
            raise KeyboardInterrupt
        return decide(*arguments)

    monkeypatch.setattr(contests, "decide", once)
    code, _, err = run("tune", NANO, "--target", "onnxruntime:cpu")
    assert code == 130
    assert "the finished results are kept" in err
    assert "slide-deploy: interrupted." in err
    assert len(read_table(tmp_path / "cache" / "tuning.json").entries) == 1


def test_what_was_decided_outlives_a_table_that_cannot_be_written(
    run, decide, monkeypatch, tmp_path
) -> None:
    (tmp_path / "tables").mkdir()
    out = tmp_path / "tables" / "table.json"

    def vanishing(*arguments) -> Decision:
        out.parent.rmdir()
        out.parent.touch()
        return decide(*arguments)

    monkeypatch.setattr(contests, "decide", vanishing)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, shown, err = run("tune", NANO, "--target", "onnxruntime:cpu", "--out", out)
    assert code == 2
    assert "onnxruntime:cpu" in shown
    sentence = err.strip().splitlines()[-1]
    assert "cannot be written" in sentence
    kept = Path(sentence.removesuffix(".").split(" is kept in ")[1])
    assert len(read_table(kept).entries) == len(decide.held) == 1


def test_what_another_process_decided_meanwhile_stays(run, decide, monkeypatch, tmp_path) -> None:
    out, other = tmp_path / "table.json", tmp_path / "other.json"
    arguments = ("--target", "onnxruntime:cpu", "--form", "depthwise", "--out")
    assert run("tune", "--attention", "32x4x4", *arguments, other)[0] == 0

    def meanwhile(*given) -> Decision:
        other.replace(out)
        return decide(*given)

    monkeypatch.setattr(contests, "decide", meanwhile)
    assert run("tune", "--attention", "32x8x8", *arguments, out)[0] == 0
    assert {entry.geometry.height for entry in read_table(out).entries} == {4, 8}


def test_a_contest_that_fails_leaves_the_others_alone(run, decide, monkeypatch, tmp_path) -> None:
    def first_fails(*arguments) -> Decision:
        decision = decide(*arguments)
        if len(decide.held) == 1:
            raise InputError("No form of the attention runs on it.")
        return decision

    monkeypatch.setattr(contests, "decide", first_fails)
    code, _, err = run("tune", NANO, "--target", "onnxruntime:cpu")
    assert code == 1
    assert "No form of the attention runs" in err
    assert len(read_table(tmp_path / "cache" / "tuning.json").entries) == 1


def test_a_size_may_have_another_kernel_and_narrower_heads(run, decide, tmp_path) -> None:
    out = tmp_path / "table.json"
    sizes = ("8x16x16:k5:d8", "32x8x8:nchw:d16", "32x8x8")
    given = [part for size in sizes for part in ("--attention", size)]
    assert run("tune", *given, "--target", "onnxruntime:cpu", "--out", out)[0] == 0
    found = {str(entry.geometry): entry.geometry for entry in read_table(out).entries}
    assert set(found) == set(sizes)
    assert (found["8x16x16:k5:d8"].kernel_size, found["8x16x16:k5:d8"].heads) == (5, 1)
    assert (found["32x8x8:nchw:d16"].head_dim, found["32x8x8:nchw:d16"].heads) == (16, 2)


@pytest.mark.slow
def test_export_does_not_race_unasked(run, decide, tmp_path) -> None:
    code, _, err = run("export", NANO, "--to", "onnx", "--out", tmp_path / "out")
    assert code == 0, err
    assert not decide.held


@pytest.mark.slow
@pytest.mark.parametrize(
    "formats",
    [
        {"onnx": "onnxruntime:cpu"},
        pytest.param(
            {"onnx": "onnxruntime:cpu", "openvino": "openvino:cpu"}, marks=pytest.mark.full
        ),
    ],
    ids=",".join,
)
def test_export_races_first_and_takes_the_winners(formats, run, decide, tmp_path) -> None:
    arguments = ("export", NANO, "--to", ",".join(formats), "--out", tmp_path / "out")
    code, out, err = run(*arguments, "--tune")
    assert code == 0, err
    assert {contest.target for contest in decide.held} == set(formats.values())
    assert len(decide.held) == 2 * len(formats)  # two attentions
    text = " ".join(out.split())
    assert "onnx: 2 slide attentions depthwise/2 (measured with stub 1" in text
    assert "on this machine" in text
    table = read_table(tmp_path / "cache" / "tuning.json")
    assert len(table.entries) == 2 * len(
        formats
    )  # remembered: the next export finds them without racing
    decide.held.clear()
    assert "depthwise/2" in run(*arguments, "--force")[1]
    assert not decide.held


@pytest.mark.slow
def test_export_races_openvino_in_the_precision_that_counts(run, decide, tmp_path) -> None:
    """Float16 files are chosen by the figures of float32, which is what they are computed in."""
    out = ("--precision", "float16", "--out", tmp_path / "out")
    code, text, err = run("export", NANO, "--to", "openvino", "--tune", *out)
    assert code == 0, err
    assert {contest.configuration.precision for contest in decide.held} == {"float32"}
    assert "depthwise/2" in text


@pytest.mark.slow
def test_export_says_what_it_could_not_race(run, decide, tmp_path, monkeypatch) -> None:
    def fails(*arguments) -> Decision:
        raise InputError("No form of the attention runs on it.")

    monkeypatch.setattr(contests, "decide", fails)
    arguments = ("export", NANO, "--to", "onnx", "--out", tmp_path / "out", "--tune")
    code, out, err = run(*arguments)
    assert code == 0, err
    assert out.count("No form of the attention runs on it.") == 2
    (tmp_path / "out" / "slide_swin_nano.onnx").stat()


def test_export_does_not_race_on_a_device_that_is_not_here(monkeypatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (replace(formats.COREML, made_for="coreml:ane"),))
    if target_named("coreml:ane").find().present:
        pytest.skip("it is here")
    trained = deployable_checkpoint(load_checkpoint(NANO))
    (remark,) = tune_first.tune_first(trained, ["coreml"], "float32", lambda step: None)
    assert remark.startswith(
        "coreml: no form was raced because coreml:ane is not available: needs macOS"
    )


def test_export_tunes_or_takes_a_form_but_not_both(run, decide, tmp_path) -> None:
    arguments = ("--to", "onnx", "--lowering", "flat", "--tune", "--out", tmp_path / "out")
    code, _, err = run("export", NANO, *arguments)
    assert code == 2
    assert "--tune finds the fastest form and --lowering flat names one" in err
    assert not decide.held


SIZE = ("--attention", "32x8x8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "No network: give a checkpoint, a size such as --attention 96x56x56"),
        (("--attention", "96x56"), "96x56 is not a size of an attention"),
        (("--attention", "7x8x8:nchw"), "7x8x8 is not a size of an attention"),
        (("--attention", ""), "--attention is empty"),
        (("--attention", "96x56x56:k4"), "96x56x56:k4 is not a size of an attention"),
        (("--attention", "96x56x56:d0"), "96x56x56:d0 is not a size of an attention"),
        (("--attention", "96x56x56:d7"), "96x56x56:d7 is not a size of an attention"),
        ((*SIZE, "--target", "coreml:all"), "coreml:all cannot be used here: needs macOS"),
        ((*SIZE, "--target", "torch:cpu"), "torch:cpu runs no exported format"),
        ((*SIZE, "--target", "cpu"), "There is no target cpu"),
        ((*SIZE, "--form", "fancy"), "fancy is not a lowering"),
        ((*SIZE, "--strips", "1;2"), "--strips 1;2 is not a list of numbers"),
        ((*SIZE, "--strips", "0"), "--strips 0 is not a list of numbers"),
        ((*SIZE, "--out", "no/table.json"), "give a file in an existing folder"),
        (
            (*SIZE, "--target", "onnxruntime:cpu", "--precision", "mixed"),
            "onnx is not written in mixed",
        ),
        (("missing.pth",), "missing.pth"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(run, decide, arguments, sentence) -> None:
    code, _, err = run("tune", *arguments)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not decide.held


def test_a_damaged_table_is_refused_before_anything_is_measured(run, decide, tmp_path) -> None:
    (tmp_path / "table.json").write_text("{")
    code, _, err = run("tune", *SIZE, "--out", tmp_path / "table.json")
    assert code == 2
    assert "table.json is not a usable tuning table" in err
    assert not decide.held


@pytest.mark.slow
def test_a_real_race_ends_in_an_entry(run, tmp_path) -> None:
    out = tmp_path / "table.json"
    code, _, err = run(
        *(
            "tune",
            *SIZE,
            "--target",
            "onnxruntime:cpu",
            "--form",
            "running-mean",
            "--form",
            "depthwise",
        ),
        *("--strips", "1", "--seconds", "0.1", "--threads", "1", "--out", out),
    )
    assert code == 0, err
    (entry,) = read_table(out).entries
    assert {trial.lowering for trial in entry.trials} == {"running-mean", "depthwise"}
    assert not entry.dropped
    assert entry.runtime.startswith("onnxruntime ")
