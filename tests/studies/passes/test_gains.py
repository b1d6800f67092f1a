"""Gains of passes, from runs with known latencies."""

from dataclasses import replace

import pytest

from benchmarks.record import Candidate, Measurement, Round, Run
from slide_deploy.errors import InputError
from studies.passes.gains import AGAIN, ALONE, LEFT_OUT, gains, races, standing
from studies.passes.record import PLAIN, WrittenVariant
from studies.passes.tables import passes as passes_table
from studies.passes.variants import variants
from tests.benchmarks.synthetic import run as synthetic_run

WRITTEN = WrittenVariant(
    network="net",
    format="onnx",
    target="onnxruntime:cpu",
    quick=False,
    passes=("fold", "idle", "late"),
    files={
        PLAIN: "plain.onnx",
        "all": "all.onnx",
        "none": "none.onnx",
        "only fold": "fold.onnx",
        "only idle": "none.onnx",
        "only late": "none.onnx",
        "without fold": "late.onnx",
        "without idle": "all.onnx",
        "without late": "early.onnx",
    },
    changes={"all": {"fold": 3, "late": 2}, "only fold": {"fold": 3}, "without fold": {"late": 2}},
    refused={},
)


def measured(name: str, milliseconds: float) -> Measurement:
    # Every round has its own speed, as ratios are paired by round.
    rounds = tuple(
        Round(float(turn), 1.0, tuple(round(milliseconds * 1e6 * speed) for _ in range(30)))
        for turn, speed in enumerate((1, 3, 1, 2, 1, 5, 1, 1))
    )
    return Measurement(Candidate(name, "f", "onnxruntime:cpu"), rounds=rounds)


def runs(**milliseconds: float) -> dict[str, list[Run]]:
    """Both races, three times each.

    The file without passes takes 12 ms in the first and 24 ms in the second.
    """
    left_out = {"all": 8.0, AGAIN: 8.1, PLAIN: 16.0, "none": 12.0, "without fold": 11.0}
    left_out |= {"without late": 10.0}
    alone = {"none": 24.0, "only fold": 20.0}
    for name, each in milliseconds.items():
        race = alone if name.startswith("only") else left_out
        race[name.replace("_", " ")] = each
    return {
        LEFT_OUT: [synthetic_run([measured(*each) for each in left_out.items()])] * 3,
        ALONE: [synthetic_run([measured(*each) for each in alone.items()])] * 3,
    }


def test_variants_keep_the_order_and_the_required_passes() -> None:
    assert list(variants(("one", "common_operators", "two")).items()) == [
        ("all", ("one", "common_operators", "two")),
        ("none", ("common_operators",)),
        ("only one", ("one", "common_operators")),
        ("only two", ("common_operators", "two")),
        ("without one", ("common_operators", "two")),
        ("without two", ("one", "common_operators")),
    ]


def test_a_network_with_the_blocks_of_another_has_no_file_for_each_pass() -> None:
    assert list(variants(("one", "two"), each=False)) == ["all", "none"]


def test_equal_files_are_raced_once_except_that_with_all_passes() -> None:
    left_out = {"all": "all.onnx", PLAIN: "plain.onnx", "none": "none.onnx"}
    left_out |= {"without fold": "late.onnx", "without late": "early.onnx", AGAIN: "all.onnx"}
    alone = {"none": "none.onnx", "only fold": "fold.onnx"}
    assert races(WRITTEN) == {LEFT_OUT: left_out, ALONE: alone}


def test_files_of_the_first_race_are_not_raced_again() -> None:
    """If there is one pass, the file with it alone is the file with all passes."""
    files = {PLAIN: "plain.onnx", "all": "all.onnx", "none": "none.onnx"}
    files |= {"only fold": "all.onnx", "without fold": "none.onnx"}
    written = replace(WRITTEN, passes=("fold",), files=files)
    assert list(races(written)) == [LEFT_OUT]
    (found,) = gains(written, {LEFT_OUT: runs()[LEFT_OUT]})
    assert found.left_out == found.alone and found.alone is not None
    assert found.alone.value == pytest.approx(12 / 8)


def test_a_pass_gains_if_files_without_it_take_longer() -> None:
    fold, late = gains(WRITTEN, runs())
    assert (fold.name, fold.network, fold.changes) == ("fold", "net", 3)
    assert fold.left_out is not None and fold.alone is not None
    assert fold.left_out.value == pytest.approx(11 / 8)
    assert fold.alone.value == pytest.approx(24 / 20)
    # It changes something only after the other pass.
    assert (late.name, late.changes, late.alone) == ("late", 2, None)
    assert late.left_out is not None and late.left_out.value == pytest.approx(10 / 8)


def test_a_network_is_compared_with_files_of_other_tools() -> None:
    found = standing(WRITTEN, runs())
    assert found.against_plain.value == pytest.approx(2)
    assert found.against_none is not None and found.against_none.value == pytest.approx(12 / 8)
    assert found.noise.value == pytest.approx(8 / 8.1)
    assert (found.plain_seconds, found.seconds) == (0.016, 0.008)
    assert found.verdict == "reached"


@pytest.mark.parametrize(("plain", "verdict"), [(7.9, "reached"), (7.7, "slower")])
def test_a_file_may_be_slower_by_no_more_than_two_per_cent(plain: float, verdict: str) -> None:
    assert standing(WRITTEN, runs(plain=plain)).verdict == verdict


def test_a_pass_without_which_no_file_can_be_written_is_kept_whatever_it_costs() -> None:
    files = {name: file for name, file in WRITTEN.files.items() if name != "without fold"}
    written = replace(WRITTEN, files=files, refused={"without fold": "No such operator."})
    found = gains(written, runs())
    assert (found[0].name, found[0].left_out, found[0].invalid) == (
        "fold",
        None,
        "No such operator.",
    )
    (row, *_) = passes_table(
        ["common_operators"], [replace(found[0], name="common_operators")]
    ).rows
    assert row[0] == "common_operators" and row[-1] == "no file without it"


@pytest.mark.parametrize(
    ("milliseconds", "verdict"), [(8.2, "pays"), (8.05, "does not pay"), (7.0, "does not pay")]
)
def test_a_pass_pays_from_one_per_cent_on(milliseconds: float, verdict: str) -> None:
    raced = runs(only_fold=24.0, without_fold=milliseconds)
    found = replace(gains(WRITTEN, raced)[0], name="common_operators")
    ((name, does, _, where, found_verdict),) = passes_table(["common_operators"], [found]).rows
    assert (name, found_verdict) == ("common_operators", verdict)
    assert does == "Replace operators by equivalents that every converter supports."
    assert where.startswith("net on ONNX Runtime")


def test_failed_and_unraced_files_are_named() -> None:
    raced = runs()
    first, *others = raced[LEFT_OUT]
    broken = replace(first.measurements[0], rounds=(), error="it crashed")
    failed = replace(first, measurements=(broken, *first.measurements[1:]))
    with pytest.raises(InputError, match=r"all of net on onnxruntime:cpu .*it crashed"):
        standing(WRITTEN, {**raced, LEFT_OUT: [failed, *others]})
    with pytest.raises(InputError, match=r"only fold of net .*no samples"):
        gains(WRITTEN, {**raced, ALONE: raced[LEFT_OUT]})
    with pytest.raises(InputError, match="net was raced fewer than 2 times on onnxruntime:cpu"):
        gains(WRITTEN, {**raced, ALONE: raced[ALONE][:1]})
