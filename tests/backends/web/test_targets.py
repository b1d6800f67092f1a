"""Files in the system's browser, opened by the contract of every backend."""

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
import pytest

from slide_deploy.backends.base import Configuration, Session, Target, untimed
from slide_deploy.backends.web import assets, browser, targets
from slide_deploy.backends.web import session as session_module
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
def test_webassembly_outputs_match_those_of_other_runtimes(path: Path, threads: int) -> None:
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
def test_the_clock_is_the_time_that_the_page_measured(path: Path) -> None:
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


def test_a_target_reports_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "find", lambda: None)
    found = WASM.find()
    assert (not found.present and "slide-deploy web fetch" in found.detail) or browser.missing()
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    found = WASM.find()
    assert not found.present and "no Chromium-based browser" in found.detail
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
        ("model.onnx", {"precision": "float16"}, "export it in that precision"),
        ("model.onnx", {"streams": 2}, "use --streams 1"),
        ("model.onnx", {"options": {"a": "b"}}, "web:wasm has no option a"),
    ],
)
def test_an_unsupported_configuration_is_refused_before_a_browser_starts(
    name: str, settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"not looked at")
    with pytest.raises(InputError, match=words):
        WASM.open(tmp_path / name, Configuration(**settings), untimed)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_damaged_file_or_a_missing_device_is_one_sentence(tmp_path: Path, path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"damaged\.onnx does not load on web:wasm"):
        opened(WASM, damaged)
    with pytest.raises(InputError, match="does not load on web:webnn"):
        opened(BY_NAME["web:webnn"], path)


def test_a_driven_page_is_served_under_a_token_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another user of this machine reaches the port, and must not read the model."""
    addresses: list[str] = []
    statuses: list[int] = []

    class Page:
        def __init__(self, address: str, device: str) -> None:
            addresses.append(address)

        def send(self, command: str, wanted: dict[str, str]) -> None:
            for address in (addresses[-1], wanted["model"]):
                parts = urlsplit(address)
                _, token, rest = parts.path.split("/", 2)
                assert len(token) >= 22
                for path in (parts.path, f"/{rest}", f"/{token[:-1]}/{rest}"):
                    with closing(HTTPConnection(str(parts.hostname), parts.port)) as made:
                        made.request("GET", path)
                        statuses.append(made.getresponse().status)
            raise InputError("seen")

        def close(self) -> None:
            return

    monkeypatch.setattr(session_module, "DrivenPage", Page)
    monkeypatch.setattr(assets, "require", lambda: tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"a model")
    for _ in range(2):
        with pytest.raises(InputError, match="seen"):
            WASM.open(tmp_path / "net.onnx", Configuration(), untimed)
    assert statuses == [200, 404, 404] * 4
    assert len({urlsplit(each).path for each in addresses}) == 2
