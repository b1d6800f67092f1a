"""Files in the system's browser, opened by the contract of every backend."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from slide_deploy.backends.base import Session, Target, untimed
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.web import assets, browser, targets
from slide_deploy.backends.web.targets import TARGETS
from slide_deploy.errors import InputError
from tests.browser import require_assets
from tests.mutants.bases import base

BY_NAME = {target.name: target for target in TARGETS}
WASM = BY_NAME["web:wasm"]


def opened(target: Target, path: Path, **settings: object) -> Session:
    require_assets()
    reason = browser.missing()
    if reason:
        pytest.skip(reason)
    return target.open(path, Configuration(**settings), untimed)  # type: ignore[arg-type]


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def path() -> Path:
    return base(open_batch=True).path("onnx")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_webassembly_answers_as_the_file_does_elsewhere(path: Path, threads: int) -> None:
    session = opened(WASM, path, threads=threads, batch=2)
    assert session.facts["threads"] == str(threads)
    assert session.facts["cross-origin isolated"] == "yes"
    assert session.version == assets.VERSION
    [port] = session.inputs
    assert (port.name, port.shape, port.dtype) == ("image", (2, 3, 64, 64), "float32")
    here = onnxruntime.InferenceSession(path)
    for seed in (0, 1):
        feeds = {"image": images(2, seed)}
        [wanted] = here.run(None, feeds)
        np.testing.assert_allclose(session(feeds)["logits"], wanted, atol=1e-5)


@pytest.mark.slow
def test_the_clock_is_what_the_page_has_timed(path: Path) -> None:
    """It stands still but for calls, and one call takes what the page says."""
    session = opened(WASM, path)
    stream = session.new_stream()
    stream.bind({"image": images(1)})
    assert session.clock() == 0
    stream.run()
    first = session.clock()
    assert first > 0 and session.clock() == first
    for _ in range(20):
        stream.run()
    mean = (session.clock() - first) / 20
    assert 10_000 < mean < 500_000_000
    before = session.clock()
    stream.read()
    assert session.clock() == before


def test_a_target_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "find", lambda: None)
    found = WASM.find()
    assert (not found.present and "slide-deploy web fetch" in found.detail) or browser.missing()
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    found = WASM.find()
    assert not found.present and "no browser of Chromium's kind" in found.detail
    monkeypatch.setattr(browser, "find_spec", lambda name: None)
    found = WASM.find()
    assert not found.present and "pip install 'slide-deploy[web]'" in found.detail
    monkeypatch.setattr(targets, "missing", lambda: None)
    monkeypatch.setattr(assets, "find", lambda: Path())
    assert WASM.find().present


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("model.tflite", {}, "give one that ends in .onnx"),
        ("model.onnx", {"precision": "float16"}, "export the file in that precision"),
        ("model.onnx", {"streams": 2}, "give --streams 1"),
        ("model.onnx", {"options": {"a": "b"}}, "web:wasm has no option a"),
    ],
)
def test_what_no_page_can_do_is_refused_before_a_browser_starts(
    name: str, settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"not looked at")
    with pytest.raises(InputError, match=words):
        WASM.open(tmp_path / name, Configuration(**settings), untimed)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_damaged_file_and_a_missing_device_are_one_sentence(tmp_path: Path, path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"damaged\.onnx does not load on web:wasm"):
        opened(WASM, damaged)
    with pytest.raises(InputError, match="does not load on web:webnn"):
        opened(BY_NAME["web:webnn"], path)
