"""The site serves what it was given, to those who ask for it by its address, and nothing else."""

import http.client
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from slide_deploy.backends.web import site as sites
from slide_deploy.backends.web.site import HEADERS, Reply, Resource, Site, serving

MISSING = "Nothing here."


CONTENT = bytes(range(256)) * 9000
TAKEN: list[bytes] = []


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "model.onnx").write_bytes(CONTENT)
    (folder / "secret").write_text("secret")

    def take(body: bytes, headers: Mapping[str, str]) -> Reply:
        TAKEN.append(body)
        return Reply(200, headers["content-type"])

    resources: dict[str, Resource] = {"t/": b"<p>page", "t/a.js": b"export {}"}
    resources |= {"t/m.onnx": folder / "model.onnx", "t/gone": folder / "gone"}
    site = Site(resources, post=take, post_path="t/result", most_bytes=1000, missing=MISSING)
    with serving(site) as number:
        yield number


@pytest.fixture
def taken() -> list[bytes]:
    TAKEN.clear()
    return TAKEN


def ask(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer, answer.read()


def test_listed_resources_are_served_whole_and_isolated(port: int) -> None:
    for path, kind in (("/t/", "text/html"), ("/t/a.js", "text/javascript"), ("/t/m.onnx", "appl")):
        answer, _ = ask(port, path)
        assert answer.status == 200 and answer.headers["Content-Type"].startswith(kind)
        assert HEADERS.items() <= dict(answer.headers).items()
    answer, content = ask(port, "/t/m.onnx", headers={"Range": "bytes=0-3"})
    assert answer.status == 200 and content == CONTENT


def test_head_sends_the_length_and_no_body(port: int) -> None:
    answer, content = ask(port, "/t/m.onnx", "HEAD")
    assert (answer.headers["Content-Length"], content) == (str(256 * 9000), b"")
    assert ask(port, "/none", "HEAD")[0].status == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/t", "/t/../secret", "/t/%2e%2e/secret", "/t/..%2fsecret", "/t//"),
        *("/t/secret", "/../../etc/passwd", "/t/m.onnx/", "/T/", "/t/\\secret", "/t/%00"),
    ],
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    answer, content = ask(port, path)
    assert (answer.status, content.decode()) == (404, MISSING)


def test_a_deleted_file_is_reported(port: int) -> None:
    answer, content = ask(port, "/t/gone")
    assert answer.status == 404 and b"was deleted" in content


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:80", "", "127.0.0.1.evil.test", "[x", "a b"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_foreign_host_name_is_refused(
    port: int, host: str, method: str, taken: list[bytes]
) -> None:
    path = "/t/result" if method == "POST" else "/t/"
    answer, _ = ask(port, path, method, headers={"Host": host})
    assert answer.status == 403 and taken == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "192.168.1.7:80", "[::1]:80"])
def test_addresses_and_localhost_are_served(port: int, host: str) -> None:
    assert ask(port, "/t/", headers={"Host": host})[0].status == 200


def test_one_path_accepts_a_post(port: int, taken: list[bytes]) -> None:
    answer, content = ask(port, "/t/result", "POST", b"{}", {"Content-Type": "application/json"})
    assert (answer.status, content, taken) == (200, b"application/json", [b"{}"])
    assert ask(port, "/t/", "POST", b"{}")[0].status == 404
    assert ask(port, "/result", "POST", b"{}")[0].status == 404


@pytest.mark.parametrize("size", [1001, 40 << 20])
def test_an_oversized_body_is_refused_with_a_message(
    port: int, taken: list[bytes], size: int
) -> None:
    answer, content = ask(port, "/t/result", "POST", bytes(size))
    assert answer.status == 413 and b"larger than 1,000 bytes" in content and taken == []


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "9" * 30])
def test_an_invalid_length_is_refused(port: int, length: str, taken: list[bytes]) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as raw:
        raw.sendall(
            f"POST /t/result HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        raw.shutdown(socket.SHUT_WR)
        said = raw.recv(100)
    assert said.split()[1] in (b"411", b"413") and taken == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_not_supported(port: int, method: str) -> None:
    assert ask(port, "/t/", method)[0].status == 501


@pytest.mark.slow
def test_stalled_or_aborted_clients_do_not_block_others(port: int, taken: list[bytes]) -> None:
    held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
    for number, raw in enumerate(held):
        raw.sendall(b"POST /t/result HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nab")
        if number % 2:
            raw.close()
    assert ask(port, "/t/")[0].status == 200
    for raw in held:
        raw.close()
    assert taken == []


@pytest.mark.slow
def test_connections_beyond_the_limit_are_closed_until_one_ends() -> None:
    with serving(Site({"a.js": b"export {}"})) as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(64)]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(port, "/a.js")
        for raw in held:
            raw.close()
        status = None
        for _ in range(100):  # the threads of the closed ones have to notice
            try:
                status = ask(port, "/a.js")[0].status
                break
            except (ConnectionError, http.client.HTTPException):
                time.sleep(0.05)
        assert status == 200


def test_a_client_that_never_ends_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the seconds of silence."""
    monkeypatch.setattr(sites, "_SECONDS_OF_A_REQUEST", 0.3)
    with (
        serving(Site({})) as port,
        closing(socket.create_connection(("127.0.0.1", port), timeout=0.05)) as raw,
    ):
        for _ in range(200):
            try:
                raw.sendall(b"x")
                if raw.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        pytest.fail("the connection is still open")
