"""Where the files of ONNX Runtime Web come from."""

import base64
import hashlib
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from slide_deploy.backends.web import assets
from slide_deploy.errors import InputError


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache, a home and a wheel of their own."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "NPM_CONFIG_USERCONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(assets, "_wheel", lambda: tmp_path / "wheel")


def archive(monkeypatch: pytest.MonkeyPatch, *missing: str) -> bytes:
    """A small package that the code takes for the right one."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as packed:
        for name in set(assets.FILES) - {assets.LICENCE, *missing}:
            item = tarfile.TarInfo(f"package/dist/{name}")
            item.size = len(name)
            packed.addfile(item, BytesIO(name.encode()))
    digest = hashlib.sha512(content.getvalue()).digest()
    monkeypatch.setattr(assets, "SHA512", base64.b64encode(digest).decode())
    return content.getvalue()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A registry on this machine, which serves what is put into the answers."""
    answers: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = answers.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/npm"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
    yield answers
    server.shutdown()
    server.server_close()


def test_the_first_use_fetches_from_the_registry_and_the_second_does_not(
    monkeypatch: pytest.MonkeyPatch, registry: dict[str, bytes]
) -> None:
    path = f"/npm/onnxruntime-web/-/onnxruntime-web-{assets.VERSION}.tgz"
    registry[path] = archive(monkeypatch)
    assert assets.find() is None
    folder = assets.require()
    assert {each.name for each in folder.iterdir()} == set(assets.FILES)
    assert "Permission is hereby granted" in (folder / assets.LICENCE).read_text()
    registry.clear()
    assert assets.require() == assets.find() == folder


@pytest.mark.parametrize("content", [b"", b"another file", b"\x1f\x8b" + bytes(100)])
def test_an_archive_of_another_hash_leaves_nothing(
    registry: dict[str, bytes], content: bytes, tmp_path: Path
) -> None:
    registry[f"/npm/onnxruntime-web/-/onnxruntime-web-{assets.VERSION}.tgz"] = content
    with pytest.raises(InputError, match="its SHA-512 differs"):
        assets.require()
    assert assets.find() is None and not (tmp_path / "cache").exists()


def test_without_a_network_one_sentence_names_the_command(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    code, _, said = run("web", "fetch")
    assert code == 2 and said.count("\n") == 1
    assert f"npm pack onnxruntime-web@{assets.VERSION}" in said
    assert "slide-deploy web fetch --from" in said
    packed = tmp_path / "packed.tgz"
    packed.write_bytes(archive(monkeypatch))
    code, out, _ = run("web", "fetch", "--from", packed)
    assert code == 0 and out.startswith("written: ")
    assert assets.find() is not None


def test_an_archive_that_is_missing_is_named(run, tmp_path: Path) -> None:
    code, _, said = run("web", "fetch", "--from", tmp_path / "none.tgz")
    assert code == 2 and "none.tgz cannot be read" in said


@pytest.mark.parametrize(
    ("variables", "npmrc", "expected"),
    [
        ({}, None, "https://registry.npmjs.org/"),
        ({}, "registry=https://mirror.test/npm", "https://mirror.test/npm/"),
        ({}, "; a remark\n@own:registry=https://own.test\n//own.test/:_authToken=x\n", None),
        ({}, "email=x\nregistry = 'https://mirror.test/'\n", "https://mirror.test/"),
        ({"NPM_CONFIG_REGISTRY": "https://a.test"}, "registry=https://b.test", "https://a.test/"),
        ({"npm_config_registry": "https://a.test/"}, None, "https://a.test/"),
    ],
)
def test_the_registry_comes_from_the_settings_of_npm(
    variables: dict[str, str],
    npmrc: str | None,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if npmrc is not None:
        (tmp_path / ".npmrc").write_text(npmrc)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert assets.registry() == (expected or "https://registry.npmjs.org/")


def test_a_cache_with_a_missing_file_is_filled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packed = tmp_path / "packed.tgz"
    packed.write_bytes(archive(monkeypatch))
    folder = assets.fetch(packed)
    (folder / assets.WASM[0]).unlink()
    assert assets.find() is None
    assert assets.fetch(packed) == folder == assets.find()


def test_the_wheel_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tgz"
    packed.write_bytes(archive(monkeypatch))
    assert assets.vendor(packed) == tmp_path / "wheel"
    assets.fetch(packed)
    assert assets.find() == tmp_path / "wheel"


def test_a_registry_address_must_be_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "file:///etc")
    with pytest.raises(InputError, match="is not an http address"):
        assets.fetch()
