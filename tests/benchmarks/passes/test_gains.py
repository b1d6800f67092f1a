"""What a pass gives, from runs with known latencies."""

from dataclasses import replace

import pytest

from benchmarks.passes.gains import AGAIN, candidates_of, gains, standing
from benchmarks.passes.record import PLAIN, Written
from benchmarks.passes.tables import passes as passes_table
from benchmarks.passes.variants import Variant, variants
from benchmarks.record import Candidate, Measurement, Round, Run
from slide_deploy.errors import InputError
from tests.benchmarks.synthetic import run as synthetic_run

WRITTEN = Written(
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
        "without late": "fold.onnx",
    },
    changes={"all": {"fold": 3, "late": 2}, "only fold": {"fold": 3}, "without fold": {"late": 2}},
    refused={},
)


def measured(name: str, milliseconds: float) -> Measurement:
    # Every round has its own speed: ratios are taken round by round.
    rounds = tuple(
        Round(float(turn), 1.0, tuple(round(milliseconds * 1e6 * speed) for _ in range(30)))
        for turn, speed in enumerate((1, 3, 1, 2, 1, 5, 1, 1))
    )
    return Measurement(Candidate(name, "f", "onnxruntime:cpu"), rounds=rounds)


def a_run(**milliseconds: float) -> Run:
    times = {"all": 8.0, AGAIN: 8.1, "plain": 16.0, "none": 12.0} | {
        name.replace("_", " "): each for name, each in milliseconds.items()
    }
    return synthetic_run([measured(name, each) for name, each in times.items()])


RUN = a_run(only_fold=10.0, without_fold=11.0)


def test_variants_keep_the_order_of_the_format_and_what_every_file_needs() -> None:
    assert variants(("one", "common_operators", "two")) == (
        Variant("all", ("one", "common_operators", "two")),
        Variant("none", ("common_operators",)),
        Variant("only one", ("one", "common_operators")),
        Variant("only two", ("common_operators", "two")),
        Variant("without one", ("common_operators", "two")),
        Variant("without two", ("one", "common_operators")),
    )


def test_files_that_are_the_same_are_raced_once_but_for_that_with_all_passes() -> None:
    assert candidates_of(WRITTEN) == {
        "all": "all.onnx",
        PLAIN: "plain.onnx",
        "none": "none.onnx",
        "only fold": "fold.onnx",
        "without fold": "late.onnx",
        AGAIN: "all.onnx",
    }


def test_a_pass_gains_where_files_without_it_take_longer() -> None:
    fold, late = gains(WRITTEN, RUN)
    assert (fold.name, fold.network, fold.changes) == ("fold", "net", 3)
    assert fold.left_out is not None and fold.alone is not None
    assert fold.left_out.value == pytest.approx(11 / 8)
    assert fold.alone.value == pytest.approx(12 / 10)
    # It changes something only behind the other one.
    assert (late.name, late.changes, late.alone) == ("late", 2, None)
    assert late.left_out is not None and late.left_out.value == pytest.approx(10 / 8)


def test_a_network_stands_against_what_other_tools_write_of_it() -> None:
    found = standing(WRITTEN, RUN)
    assert found.against_plain.value == pytest.approx(2)
    assert found.against_none is not None and found.against_none.value == pytest.approx(12 / 8)
    assert found.noise.value == pytest.approx(8 / 8.1)
    assert (found.plain_seconds, found.seconds) == (0.016, 0.008)
    assert found.verdict == "reached"


@pytest.mark.parametrize(("plain", "verdict"), [(7.9, "reached"), (7.7, "slower")])
def test_a_file_may_be_slower_by_no_more_than_two_per_cent(plain: float, verdict: str) -> None:
    run = a_run(only_fold=10.0, without_fold=11.0, plain=plain)
    assert standing(WRITTEN, run).verdict == verdict


def test_a_pass_without_which_no_file_can_be_written_is_kept_whatever_it_costs() -> None:
    files = {name: file for name, file in WRITTEN.files.items() if name != "without fold"}
    written = replace(WRITTEN, files=files, refused={"without fold": "No such operator."})
    found = gains(written, RUN)
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
    run = a_run(only_fold=12.0, without_fold=milliseconds)
    found = replace(gains(WRITTEN, run)[0], name="common_operators")
    ((name, does, _, where, found_verdict),) = passes_table(["common_operators"], [found]).rows
    assert (name, found_verdict) == ("common_operators", verdict)
    assert does == "Operators in the words that every converter knows; values stay what they are."
    assert where.startswith("net on ONNX Runtime")


def test_what_failed_or_was_not_raced_is_named() -> None:
    broken = replace(RUN.measurements[0], rounds=(), error="it crashed")
    with pytest.raises(InputError, match=r"all of net on onnxruntime:cpu .*it crashed"):
        standing(WRITTEN, replace(RUN, measurements=(broken, *RUN.measurements[1:])))
    with pytest.raises(InputError, match="has no only fold: race it again"):
        gains(WRITTEN, a_run())
