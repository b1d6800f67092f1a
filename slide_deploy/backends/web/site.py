"""A small web server for a fixed set of resources.

Request paths are looked up in a table and never reach the file system, which rules out path
traversal. Pages are cross-origin isolated, which gives them threads and a fine timer. The ``Host``
header of each request must be an address or localhost, which refuses DNS rebinding: a page of
another site cannot read from here by pointing its own name at this address.
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
# Make the page cross-origin isolated, and deny other sites access to it.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Each candidate of a page loads the runtime again, so the browser caches its 14 MB.
_KEPT, _NOT_KEPT = "private, max-age=3600", "no-store"
# A client that sends nothing for so long is dropped, to free its thread.
_SECONDS_OF_SILENCE = 30
# This limit ends clients that send single bytes. Large models over slow networks take minutes.
_SECONDS_OF_A_REQUEST = 600
# Each connection uses a thread. A browser opens six connections.
_MOST_CONNECTIONS = 64
_BLOCK = 1 << 20
# The most bytes to read of a body that is too large, before the refusal is sent.
_MOST_DRAINED = 256 << 20

Resource = bytes | Path


@dataclass(frozen=True)
class Reply:
    """A text response.

    Attributes:
        status: of HTTP.
        text: the body, for a person to read.
    """

    status: int
    text: str


# Handles a POST. Arguments: the body, and the headers by their lower-case names.
Post = Callable[[bytes, Mapping[str, str]], Reply]


@dataclass(frozen=True)
class Site:
    """What the server serves.

    Attributes:
        resources: by path, without a leading slash.
        host: address to listen on.
        post: handles a POST to ``post_path``; None refuses every POST.
        post_path: the one path that accepts a POST.
        most_bytes: the largest accepted body of a POST.
        missing: text of the response for any other path.
        opened: called with the client's address and user agent when a page is requested.
        port: 0 for any free port.
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
    """Serve in threads until the block ends, and yield the port.

    Raises:
        OSError: if the server cannot listen on the address.
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
    # Do not wait for clients that keep their connection open.
    block_on_close = False

    def __init__(self, site: Site) -> None:
        self.site = site
        # Deadline of each open connection, in seconds of `time.monotonic`.
        self._deadlines: dict[Any, float] = {}
        self._lock = Lock()
        if ":" in site.host:
            self.address_family = socket.AF_INET6
        super().__init__((site.host, site.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a thread, or close it at once if there are `_MOST_CONNECTIONS`."""
        with self._lock:
            is_taken = len(self._deadlines) < _MOST_CONNECTIONS
            if is_taken:
                self._deadlines[request] = time.monotonic() + _SECONDS_OF_A_REQUEST
        if is_taken:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and free its place."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Shut down connections past their deadline. Their threads then close them."""
        now = time.monotonic()
        with self._lock:
            overdue = [each for each, deadline in self._deadlines.items() if deadline <= now]
        for each in overdue:
            with suppress(OSError):  # the client has disconnected
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing when a client disconnects."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # HTTP/1.0 closes the connection after each request, so none outlives the server.
    protocol_version = "HTTP/1.0"
    timeout = _SECONDS_OF_SILENCE
    server_version, sys_version = "slide-deploy", ""

    def do_GET(self) -> None:
        """Send a whole resource. Ranges are not supported."""
        self._send_resource(with_body=True)

    def do_HEAD(self) -> None:
        """Send the headers of a resource."""
        self._send_resource(with_body=False)

    def do_POST(self) -> None:
        """Pass the body to `Site.post` if the path and the length are accepted."""
        site = self.server.site
        length = self.headers.get("Content-Length", "")
        if not self._is_addressed():
            return
        if site.post is None or self._path() != site.post_path:
            self._send(Reply(404, site.missing))
        elif not (length.isascii() and length.isdigit()):
            self._send(Reply(411, "A Content-Length header is required."))
        elif int(length[:20]) > site.most_bytes:
            self._drain(int(length[:20]))
            self._send(Reply(413, f"The body is larger than {site.most_bytes:,} bytes."))
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(site.post(body, headers))

    def _drain(self, length: int) -> None:
        """Read a body that is too large: browsers read the response only after sending it all."""
        left = min(length, _MOST_DRAINED)
        while left > 0 and (block := self.rfile.read(min(left, _BLOCK))):
            left -= len(block)

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/")

    def _is_addressed(self) -> bool:
        """Return whether the Host header is allowed, and send a refusal if it is not."""
        if _is_own(self.headers.get("Host", ""), self.server.site.host):
            return True
        self._send(Reply(403, "Open this page by its IP address, not by a name."))
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
            self._send(Reply(404, "This file was deleted after the command started."), with_body)
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
        """Print nothing: requests are not logged."""


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
