"""The page in a real browser verifies files before it times them, and describes its device."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.record import Run
from benchmarks.web.plan import PagePlan
from benchmarks.web.serving import waiting
from tests.benchmarks.web.references import SUFFIX, write_reference
from tests.benchmarks.web.visits import PHONE, Visit, candidate, planned, visiting
from tests.mutants.bases import base
from tests.mutants.catalogue import CATALOGUE
from tests.mutants.mutant import Mutant

PICTURES = Path(__file__).parents[3] / "build" / "web"


def measured(browser: Any, plan: PagePlan, **settings: Any) -> tuple[Run, str]:
    """Return the run of a page, and its final text."""
    with waiting(plan) as served, visiting(browser, served.address, **settings) as visit:
        text = visit.finish()
        assert "Sent to the command" in until(visit, "Sent to the command"), text
        assert visit.errors == []
        return served.result(), visit.text()


def until(visit: Visit, words: str) -> str:
    visit.page.wait_for_function(
        "words => document.body.innerText.includes(words)", arg=words, timeout=20_000
    )
    return visit.text()


@pytest.mark.slow
def test_only_correct_files_are_timed(
    browser: Any, nano: Path, mutant: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = tmp_path / "plain" / nano.name
    plain.parent.mkdir()
    shutil.copy(nano, plain)
    files = (nano, mutant("mask-left-out"), plain)
    run, text = measured(browser, planned([candidate(each) for each in files]), **PHONE)
    right, wrong, unproven = run.measurements
    assert right.proof is not None and right.proof.cases == 2
    assert len(right.rounds) == 6 and right.error is None
    assert wrong.rounds == () and wrong.error is not None
    assert wrong.error.startswith("wrong: ") and wrong.error.endswith(" dB on noise")
    assert unproven.proof is None and len(unproven.rounds) == 6
    assert "proven: 2 cases" in text and wrong.error in text and "unproven: it has no" in text
    assert "1 of 3 wrong, and not timed" in text
    assert run.machine["cross-origin isolated"] == "yes" and "Chrom" in run.machine["browser"]


# Check sees them; with one image their answers are right.
RIGHT_WITH_ONE_IMAGE = ("batch-fixed-inside", "batch-opened-under-another-name")
TURNS = 7


def wrong_in_answers() -> list[Mutant]:
    return [
        each
        for each in CATALOGUE
        if "onnx" in each.formats
        and each.caught_by["onnx"] != "check"
        and not each.exports
        and each.name not in RIGHT_WITH_ONE_IMAGE
    ]


@pytest.mark.parametrize(
    "turn",
    [pytest.param(turn, marks=pytest.mark.full) for turn in range(TURNS)],
)
def test_no_mutant_gets_a_figure(
    browser: Any, mutant: Callable[[str], Path], nano: Path, turn: int
) -> None:
    files = [mutant(each.name) for each in wrong_in_answers()[turn::TURNS]]
    run, _ = measured(browser, planned([candidate(each) for each in (*files, nano)]))
    *wrong, right = run.measurements
    timed = [each.candidate.name for each in wrong if each.rounds or not each.error]
    assert len(wrong) >= 11 and timed == []
    assert right.rounds


def test_reference_outputs_do_not_verify_another_file(nano: Path, tmp_path: Path) -> None:
    """The reference outputs of the original file are not those of a mutant."""
    for each in ("no-metadata", "one-sign-flipped", "renamed-input"):
        found = next(item for item in CATALOGUE if item.name == each)
        path = found.damage(base(), "onnx", tmp_path / each)
        shutil.copy(nano.with_name(nano.name + SUFFIX), path.with_name(path.name + SUFFIX))
        [entry] = planned([candidate(path)]).document["candidates"]
        assert entry["refused"].startswith("wrong: the file differs from the one that was verified")


@pytest.mark.slow
def test_a_file_with_another_hash_is_not_opened(browser: Any, small: Path, tmp_path: Path) -> None:
    shutil.copytree(small.parent, tmp_path / "other")
    other = tmp_path / "other" / small.name
    other.write_bytes(small.read_bytes() + b"\x00")
    run, text = measured(browser, planned([candidate(other), candidate(small)]))
    assert run.measurements[0].rounds == () and run.measurements[0].cold is None
    assert (run.measurements[0].error or "").startswith("wrong: the file differs from the one")
    assert run.measurements[1].rounds and "1 of 2 wrong, and not timed" in text


@pytest.mark.slow
def test_the_page_uses_the_requested_threads(browser: Any, small: Path) -> None:
    run, text = measured(browser, planned([candidate(small)], threads=2))
    [found] = run.measurements
    assert found.candidate.configuration.threads == 2 and found.runtime["threads"] == "2"
    assert found.rounds and "2 threads" in text


@pytest.mark.full
def test_software_webgpu_is_verified_and_timed_if_it_is_correct(
    browser: Any, tmp_path: Path
) -> None:
    """Its convolutions of nine outputs a group are wrong, those of one are right."""
    from slide_deploy.lowerings import Lowering
    from tests.support import copied, exported, exported_path

    flat = exported(base().checkpoint, lowering=Lowering("flat"), formats=("onnx",))
    right = copied(exported_path(flat, "onnx"), tmp_path / "flat")
    wrong = base().copy("onnx", tmp_path / "depthwise")
    for path in (right, wrong):
        write_reference(path)
    # One round each: an adapter in software takes half a second a call.
    plan = planned([candidate(right, "webgpu"), candidate(wrong, "webgpu")], rounds=1)
    run, text = measured(browser, plan)
    flat_found, depthwise_found = run.measurements
    assert flat_found.error is None and len(flat_found.rounds) == 1
    assert "swiftshader" in flat_found.runtime["adapter"] and "in software" in text
    assert depthwise_found.error and depthwise_found.rounds == ()


@pytest.mark.slow
def test_a_missing_device_falls_back_with_a_remark(browser: Any, small: Path) -> None:
    run, text = measured(browser, planned([candidate(small, "webnn")]))
    [found] = run.measurements
    assert found.candidate.target == "web:wasm"
    assert found.candidate.name == "small on web:wasm instead of web:webnn"
    assert found.runtime["fallback"].startswith("web:wasm instead of web:webnn: this browser has")
    assert found.rounds and "so WebAssembly runs it" in text
    both = planned([candidate(small), candidate(small, "webnn")])
    run, text = measured(browser, both)
    assert run.measurements[0].rounds and not run.measurements[1].rounds
    assert (run.measurements[1].error or "").startswith("not measured: this browser has")


@pytest.mark.slow
def test_open_batches_are_verified_in_every_copy(browser: Any, small: Path) -> None:
    run, _ = measured(browser, planned([candidate(small, batch=3)]))
    [found] = run.measurements
    assert found.inputs[0].shape[0] == 3
    assert found.proof is not None and found.proof.cases == 2 and found.rounds


@pytest.mark.slow
def test_a_stopped_race_keeps_its_measurements_and_can_run_again(browser: Any, small: Path) -> None:
    plan = planned([candidate(small)], seconds=1, rounds=1000)
    with waiting(plan) as served, visiting(browser, served.address) as visit:
        visit.page.wait_for_selector(".latency", timeout=60_000)
        visit.page.click("#stop")
        assert "Stopped. You can download the measurements so far." in visit.finish()
        with visit.page.expect_download() as saved:
            visit.page.click("#download")
        assert saved.value.suggested_filename == "slide-deploy-result.json"
        visit.page.click("#again")
        visit.page.wait_for_selector("#stop:not([hidden])")
        assert visit.errors == []


@pytest.mark.slow
def test_the_page_fits_a_phone(browser: Any, nano: Path, mutant: Callable[[str], Path]) -> None:
    """Nothing overflows at 390 px in either theme. The screenshots are kept for inspection."""
    files = [candidate(nano), candidate(mutant("mask-left-out"))]
    PICTURES.mkdir(parents=True, exist_ok=True)
    with waiting(planned(files)) as served, visiting(browser, served.address, **PHONE) as visit:
        visit.finish()
        for theme in ("light", "dark"):
            visit.page.emulate_media(color_scheme=theme)
            visit.page.screenshot(path=PICTURES / f"phone-{theme}.png", full_page=True)
            assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
        colours = visit.page.evaluate(
            "[...document.querySelectorAll('p, h1, dt, button')].map(each =>"
            " [getComputedStyle(each).color, getComputedStyle(document.body).backgroundColor])"
        )
        assert all(ink != ground for ink, ground in colours)
