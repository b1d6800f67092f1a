"""A small site: it serves the resources that it was given under their names, and nothing else.

No path reaches the file system, so there is none to escape from. Pages are isolated, which gives
them threads and a fine timer. The ``Host`` of each request must be an address or localhost: a page
of another site that points its own name here, to read along, is refused.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".wasm": "application/wasm",
}
# What makes a page isolated, and keeps the rest of the web out of it.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Each candidate of a page loads the runtime again: 14 MB that the browser keeps meanwhile.
_KEPT, _NOT_KEPT = "private, max-age=3600", "no-store"
# A client that says nothing for so long is gone; its thread must not stay.
_SECONDS_OF_SILENCE = 30
# A client that sends single bytes must end as well. Large models over slow networks take minutes.
_SECONDS_OF_A_REQUEST = 600
# Each connection takes a thread. A browser opens six.
_MOST_CONNECTIONS = 64
_BLOCK = 1 << 20
# Of a body that is refused: whoever sends more does not wait for words.
_MOST_DRAINED = 256 << 20

Resource = bytes | Path


@dataclass(frozen=True)
class Reply:
    """An answer of a few words.

    Attributes:
        status: of HTTP.
        text: what a person reads.
    """

    status: int
    text: str


# Takes the body that was posted, and the headers in lower case.
Post = Callable[[bytes, Mapping[str, str]], Reply]


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        resources: by path, which has no leading slash.
        host: address to listen at.
        post: takes what is posted to ``post_path``; None where nothing may be.
        post_path: one path.
        most_bytes: of a body that is posted.
        missing: said of any other path.
        opened: called with the client's address and browser when a page is asked for.
        port: 0 for any that is free.
    """

    resources: Mapping[str, Resource]
    host: str = "127.0.0.1"
    post: Post | None = None
    post_path: str = ""
    most_bytes: int = 0
    missing: str = "There is nothing at this address."
    opened: Callable[[str, str], None] | None = None
    port: int = 0


@contextmanager
def serving(site: Site) -> Iterator[int]:
    """Serve in threads until the block ends; gives the port.

    Raises:
        OSError: if the address cannot be listened at.
    """
    server = _Server(site)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Closing must not wait for a client that holds its connection open.
    block_on_close = False

    def __init__(self, site: Site) -> None:
        self.site = site
        # When each open connection has to end, in seconds of `time.monotonic`.
        self._deadlines: dict[Any, float] = {}
        self._lock = Lock()
        if ":" in site.host:
            self.address_family = socket.AF_INET6
        super().__init__((site.host, site.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; a connection beyond `_MOST_CONNECTIONS` is closed at once."""
        with self._lock:
            is_taken = len(self._deadlines) < _MOST_CONNECTIONS
            if is_taken:
                self._deadlines[request] = time.monotonic() + _SECONDS_OF_A_REQUEST
        if is_taken:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and make room for another one."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Break off connections that are overdue: their threads then close them."""
        now = time.monotonic()
        with self._lock:
            overdue = [each for each, deadline in self._deadlines.items() if deadline <= now]
        for each in overdue:
            with suppress(OSError):  # the client has gone
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # One request a connection: none is left open that would outlive the site.
    protocol_version = "HTTP/1.0"
    timeout = _SECONDS_OF_SILENCE
    server_version, sys_version = "slide-deploy", ""

    def do_GET(self) -> None:
        """Send a resource, whole; ranges are not offered."""
        self._send_resource(with_body=True)

    def do_HEAD(self) -> None:
        """Send what would come before a resource."""
        self._send_resource(with_body=False)

    def do_POST(self) -> None:
        """Take the one thing that may be posted."""
        site = self.server.site
        length = self.headers.get("Content-Length", "")
        if not self._is_addressed():
            return
        if site.post is None or self._path() != site.post_path:
            self._send(Reply(404, site.missing))
        elif not (length.isascii() and length.isdigit()):
            self._send(Reply(411, "Say how long it is, with Content-Length."))
        elif int(length[:20]) > site.most_bytes:
            self._drain(int(length[:20]))
            self._send(Reply(413, f"That is more than {site.most_bytes:,} bytes."))
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(site.post(body, headers))

    def _drain(self, length: int) -> None:
        """Read what is too much: a browser hears no answer before it has sent everything."""
        left = min(length, _MOST_DRAINED)
        while left > 0 and (block := self.rfile.read(min(left, _BLOCK))):
            left -= len(block)

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/")

    def _is_addressed(self) -> bool:
        """Whether the request names this server as a person would; a refusal is sent if not."""
        if _is_own(self.headers.get("Host", ""), self.server.site.host):
            return True
        self._send(Reply(403, "Open this page by its address, not by a name."))
        return False

    def _send_resource(self, with_body: bool) -> None:
        if not self._is_addressed():
            return
        site, path = self.server.site, self._path()
        resource = site.resources.get(path)
        if resource is None:
            self._send(Reply(404, site.missing), with_body)
            return
        if site.opened is not None and _suffix(path) == ".html" and with_body:
            site.opened(self.client_address[0], self.headers.get("User-Agent", ""))
        try:
            length = len(resource) if isinstance(resource, bytes) else resource.stat().st_size
        except OSError:
            self._send(Reply(404, "This file has gone since the command was started."), with_body)
            return
        kind = _TYPES.get(_suffix(path), "application/octet-stream")
        self._begin(200, kind, length, is_resource=True)
        if with_body:
            self._write(resource)

    def _write(self, resource: Resource) -> None:
        if isinstance(resource, bytes):
            self.wfile.write(resource)
            return
        with resource.open("rb") as stream:
            while block := stream.read(_BLOCK):
                self.wfile.write(block)

    def _send(self, reply: Reply, with_body: bool = True) -> None:
        content = reply.text.encode()
        self._begin(reply.status, "text/plain; charset=utf-8", len(content))
        if with_body:
            self.wfile.write(content)

    def _begin(self, status: int, kind: str, length: int, is_resource: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", _KEPT if is_resource else _NOT_KEPT)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: what a client asks for is not printed."""


def _suffix(path: str) -> str:
    dot = path.rfind(".")
    return path[dot:] if dot >= 0 else ".html" if path.endswith("/") else ""


def _is_own(host: str, listening: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("localhost", listening):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
