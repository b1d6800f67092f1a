"""Serves the page until it has sent a result."""

import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock

from benchmarks.record import Run
from benchmarks.web.acceptance import MOST_BYTES, accepted
from benchmarks.web.pages import resources
from benchmarks.web.plan import PagePlan
from slide_deploy.backends.web.site import Reply, Site, serving
from slide_deploy.errors import InputError

LOOPBACK = "127.0.0.1"
_ANY = ("0.0.0.0", "::")
_MISSING = "There is no page here: open the whole address that slide-deploy has printed."
_TAKEN = "The command already has a result, so this one was refused."
# Windows handles Ctrl-C only between two waits.
_WAIT = 0.2


@dataclass(frozen=True)
class Waiting:
    """A served page.

    Attributes:
        address: Address for the browser, which contains the token.
        port: Port of the server.
        result: Waits for the run, without a time limit.
    """

    address: str
    port: int
    result: Callable[[], Run]


@contextmanager
def waiting(
    plan: PagePlan, host: str = LOOPBACK, on_event: Callable[[str], None] = lambda _: None
) -> Iterator[Waiting]:
    """Serve a plan's page within a ``with`` block.

    Each call makes a new token, and the page is served only under it. The first result that matches
    the plan is accepted; later results are refused.

    Args:
        plan: Plan of the page.
        host: Address to listen on.
        on_event: Called with a sentence for each event.

    Raises:
        InputError: The server cannot listen on the address.
    """
    token = secrets.token_urlsafe(16)
    inbox = _Inbox(plan, on_event)
    under = {f"{token}/{name}": each for name, each in resources(plan, "result").items()}
    site = Site(
        {**under, f"{token}/": under[f"{token}/index.html"]},
        host,
        inbox.take,
        f"{token}/result",
        MOST_BYTES,
        _MISSING,
        inbox.opened,
    )
    try:
        served = serving(site)
        with served as port:
            shown = f"[{name}]" if ":" in (name := _reachable(host)) else name
            yield Waiting(f"http://{shown}:{port}/{token}/", port, inbox.wait)
    except OSError as error:
        raise InputError(
            f"The page cannot be served at {host} ({error.strerror or error}): give --host an "
            f"address of this machine."
        ) from error


class _Inbox:
    """Accepts the first result that matches the plan, from any device."""

    def __init__(self, plan: PagePlan, on_event: Callable[[str], None]) -> None:
        self._plan = plan
        self._on_event = on_event
        self._lock = Lock()
        self._has_result = Event()
        self._clients: set[str] = set()
        self._run: Run | None = None

    def opened(self, client: str, browser: str) -> None:
        """Report once for each browser that it has opened the page."""
        with self._lock:
            is_new = (key := f"{client} {browser}") not in self._clients
            self._clients.add(key)
            # The limit keeps many distinct clients from filling the memory.
            if not is_new or len(self._clients) > 20:
                return
        self._on_event(f"A browser at {client} has opened the page and is measuring.")

    def take(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Accept or refuse a result, and return the reply to the page."""
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Reply(415, "The result must be JSON.")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers.get('host', '')}":
            return Reply(403, "The result must come from the page that this command serves.")
        if self._has_result.is_set():
            return Reply(410, _TAKEN)
        try:
            run = accepted(body, self._plan)
        except InputError as error:
            self._on_event(f"A result was refused: {error}")
            return Reply(422, str(error))
        with self._lock:
            if self._run is not None:
                return Reply(410, _TAKEN)
            self._run = run
        self._has_result.set()
        return Reply(200, "Sent to the command. You can close this page.")

    def wait(self) -> Run:
        """Wait for the run and return it."""
        while not self._has_result.wait(_WAIT):
            pass
        assert self._run is not None
        return self._run


def _reachable(host: str) -> str:
    """Return the address at which other devices reach this machine."""
    if host not in _ANY:
        return host
    family, beyond = (
        (socket.AF_INET, "192.0.2.1") if host == "0.0.0.0" else (socket.AF_INET6, "2001:db8::1")
    )
    try:
        # This sends nothing, but makes the system choose its own address.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((beyond, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
