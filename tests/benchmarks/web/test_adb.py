"""A connected phone: its own browser, or the user's program."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.web.pages import script
from slide_deploy.backends.web.browser import find_browser
from slide_deploy.files.companions import model_digest
from slide_deploy.precisions import Limit
from slide_deploy.verification import draws
from slide_deploy.verification.reference_outputs.record import ExpectedCase, Reference, expected
from slide_deploy.verification.reference_outputs.reference_file import (
    reference_path,
    write_reference,
)
from tests.backends.files import WEIGHTS, litert_file
from tests.browser import ARGUMENTS, require_assets

PRINTS = """INFO: Loaded model /data/local/tmp/slide-deploy/0.tflite
INFO: count=12 first=5100 curr=4100 min=4000 max=5100 avg=4200.5 std=9
INFO: count=50 first=4100 curr=4000 min=3900 max=4500 avg=4012.25 std=5
INFO: Inference timings in us: Init: 8123, First inference: 5100, Warmup (avg): 4200.5, \
Inference (avg): 4012.25
"""
# Opens an address as the browser of a phone would, and waits until the result is handed back.
BROWSER = """import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path={path!r}, args={arguments!r})
    page = browser.new_page()
    page.goto(sys.argv[1])
    page.wait_for_selector("#handed:not([hidden])", timeout=60_000)
"""


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "phone"
    tools = tmp_path / "tools"
    for each in (folder, tools):
        each.mkdir()
    (folder / "devices").write_text("3A1\tdevice\n")
    stand_in = Path(__file__).with_name("adb.py")
    (tools / "adb").write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    (tools / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ADB_PHONE", str(folder))
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "benchmark_model"
    path.write_bytes(b"a program")
    return path


@pytest.mark.slow
def test_the_phone_opens_the_page_over_the_cable_and_its_result_joins_the_table(
    run: Any, phone: Path, small: Path, tmp_path: Path
) -> None:
    require_assets()
    pytest.importorskip("playwright.sync_api")
    path = find_browser()
    if path is None:
        pytest.skip("no browser of Chromium's kind is here")
    text = BROWSER.format(path=str(path), arguments=list(ARGUMENTS))
    (phone / "browser").write_text(text)
    result, report = tmp_path / "result.json", tmp_path / "report.html"
    code, shown, told = run(
        *("bench", small, "--adb", "--seconds", "0.3", "--rounds", "6", "--threads", "1"),
        *("--json", result, "--html", report),
    )
    assert code == 0, told
    found = json.loads(result.read_text())
    assert found["machine"]["model"] == "Pixel 8" and found["machine"]["chip"] == "Tensor G3"
    [measured] = found["measurements"]
    assert measured["candidate"]["path"] == str(small) and len(measured["rounds"]) == 6
    assert measured["proof"]["cases"] == 2
    assert "web:wasm" in shown and "Pixel 8" in report.read_text()
    asked = (phone / "asked").read_text().splitlines()
    [reverse] = [each for each in asked if "reverse tcp:" in each]
    port = reverse.split(":")[-1]
    assert reverse == f"-s 3A1 reverse tcp:{port} tcp:{port}"
    assert any(
        f"shell am start -a android.intent.action.VIEW -d 'http://127.0.0.1:{port}/" in each
        for each in asked
    )
    assert f"-s 3A1 reverse --remove tcp:{port}" in asked


def test_a_program_measures_natively_and_is_marked_unproven(
    run: Any, phone: Path, file: Path, program: Path, tmp_path: Path
) -> None:
    (phone / "prints").write_text(PRINTS)
    result = tmp_path / "result.json"
    code, shown, told = run(
        *("bench", file, "--adb", "--adb-binary", program, "--rounds", "6", "--seconds", "6"),
        *("--threads", "2", "--json", result),
    )
    assert code == 0, told
    found = json.loads(result.read_text())
    [measured] = found["measurements"]
    assert measured["candidate"]["name"] == "net.tflite on litert:adb"
    assert [each["samples"] for each in measured["rounds"]] == [[4012250]] * 6
    assert measured["repetitions"] == 50 and measured["proof"] is None
    assert measured["candidate"]["configuration"]["threads"] == 2
    assert found["machine"]["model"] == "Pixel 8" and "4.01" in shown
    assert "unproven" in shown
    asked = (phone / "asked").read_text()
    assert "--num_threads=2" in asked and "--min_secs=1" in asked
    assert asked.splitlines()[-4:].count("-s 3A1 shell rm -rf /data/local/tmp/slide-deploy") == 1


def test_unexpected_output_of_the_program_is_reported(
    run: Any, phone: Path, file: Path, program: Path
) -> None:
    (phone / "prints").write_text("Segmentation fault\n")
    code, _, _ = run("bench", file, "--adb", "--adb-binary", program, "--rounds", "6")
    assert code == 1


@pytest.mark.parametrize(
    ("devices", "arguments", "words"),
    [
        ("", (), "No phone is connected: plug it in"),
        ("3A1\tdevice\n4B2\tdevice\n", (), "Several phones are connected (3A1, 4B2)"),
        ("3A1\tunauthorized\n", (), "The phone 3A1 is unauthorized: unlock it"),
        ("3A1\toffline\n", ("--adb-serial", "3A1"), "The phone 3A1 is offline"),
        ("3A1\tdevice\n", ("--adb-serial", "9"), "from those that adb devices lists (3A1)"),
    ],
)
def test_each_unusable_phone_has_its_own_message(
    run: Any, phone: Path, tmp_path: Path, devices: str, arguments: tuple[str, ...], words: str
) -> None:
    (phone / "devices").write_text(devices)
    (tmp_path / "net.onnx").write_bytes(b"a model")
    code, _, told = run("bench", tmp_path / "net.onnx", "--adb", *arguments)
    assert code == 2 and words in told and told.count("\n") == 1


def test_a_phone_that_cannot_open_the_page_is_reported(run: Any, phone: Path, small: Path) -> None:
    require_assets()
    (phone / "locked").touch()
    code, _, told = run("bench", small, "--adb")
    assert code == 2 and "Pixel 8 cannot open a page" in told
    assert "reverse --remove" in (phone / "asked").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--web", "--adb"), "--web and --adb exclude each other: give one."),
        (("--web", "--web-bundle", "out"), "--web and --web-bundle exclude each other"),
        (("--adb-serial", "1"), "--adb-serial applies to --adb: give --adb too"),
        (("--host", "0.0.0.0"), "--host applies to --web: give --web too"),
        (("--adb", "--host", "0.0.0.0"), "--host applies to --web: give --web too"),
        (("--web", "--pin", "0"), "--pin cannot be combined with --web: leave one out."),
        (("--adb", "--calibrate"), "--calibrate cannot be combined with --adb"),
        (("--web", "--bundle", "out"), "--bundle cannot be combined with --web: leave one out."),
        (("--web-bundle", "o", "--bundle", "p"), "cannot be combined with --web-bundle"),
        (("--web", "--target", "onnxruntime:cpu"), "A browser measures web:wasm"),
        (("--web-bundle", "out", "--fail-above", "5%"), "leave out --fail-above"),
        (("--web-bundle", "out", "--json", "x.json"), "leave out --json"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    run: Any, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"a model")
    code, _, told = run("bench", tmp_path / "net.onnx", *arguments)
    assert code == 2 and words in told and told.count("\n") == 1


def test_files_of_other_kinds_are_refused(run: Any, file: Path) -> None:
    code, _, told = run("bench", file, "--web")
    assert code == 2 and "A browser cannot run" in told and ".onnx" in told


def test_the_page_names_a_command_that_measures(run: Any, phone: Path, tmp_path: Path) -> None:
    found = re.search(r"slide-deploy bench FILE (--[^\"]+)\"", script("facts.js").read_text())
    assert found
    (phone / "devices").write_text("")
    (tmp_path / "net.onnx").write_bytes(b"a model")
    _, _, told = run("bench", tmp_path / "net.onnx", *found[1].split())
    assert "No phone is connected" in told, "the options fit each other, and a phone is looked for"


def with_reference(path: Path, factor: float = 1.0) -> Path:
    """A file that multiplies by WEIGHTS, with reference outputs that are a factor off."""
    recipe = draws.normal(5, (1, 4), "float32")
    truth = np.maximum(recipe.tensor().astype(np.float64) @ WEIGHTS, 0) * factor
    assert truth.any()
    case = ExpectedCase("noise", {"x": recipe}, {"y": expected(truth, 0)})
    reference = Reference(model_digest(path), "float32", Limit(1e-4, 80.0), (case,))
    write_reference(reference_path(path), reference)
    return path


def benched(run: Any, phone: Path, path: Path, program: Path) -> tuple[dict[str, Any], str]:
    (phone / "prints").write_text(PRINTS)
    result = path.with_name("result.json")
    options = ("--adb-binary", program, "--rounds", "6", "--json", result)
    code, _, told = run("bench", path, *options)
    [measured] = json.loads(result.read_text())["measurements"]
    assert code == (1 if measured["error"] else 0), told
    return measured, (phone / "asked").read_text()


def test_a_changed_file_is_not_pushed(run: Any, phone: Path, file: Path, program: Path) -> None:
    with_reference(file).write_bytes(b"another model")
    measured, asked = benched(run, phone, file, program)
    assert measured["error"].startswith("wrong: the file differs from the one that was verified")
    assert measured["rounds"] == [] and str(file) not in asked


@pytest.mark.parametrize(("factor", "error"), [(1.0, None), (1.25, "wrong: 14 dB on noise")])
def test_a_file_that_litert_finds_wrong_here_is_not_pushed(
    run: Any, phone: Path, program: Path, tmp_path: Path, factor: float, error: str | None
) -> None:
    pytest.importorskip("ai_edge_litert")
    path = with_reference(litert_file(tmp_path, 1), factor)
    measured, asked = benched(run, phone, path, program)
    assert measured["error"] == error and measured["proof"] is None
    assert (str(path) in asked) == (len(measured["rounds"]) == 6) == (error is None)
