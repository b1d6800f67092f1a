"""Serves the page until one result has come back."""

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
_MISSING = "There is nothing here: open the whole address that slide-deploy has printed."
_TAKEN = "The command has a result already, from this page or another: this one is not taken."
# Windows hears Ctrl-C between two waits only.
_WAIT = 0.2


@dataclass(frozen=True)
class Waiting:
    """A page that is served.

    Attributes:
        address: that a browser opens; it holds the token.
        port: that the page is served at.
        result: waits for the run, which may take forever.
    """

    address: str
    port: int
    result: Callable[[], Run]


@contextmanager
def waiting(
    plan: PagePlan, host: str = LOOPBACK, say: Callable[[str], None] = lambda _: None
) -> Iterator[Waiting]:
    """Serve a plan's page while the block lasts.

    Each call makes a new token, and the page is served only under it. The first result that matches
    the plan is accepted; later results are refused.

    Args:
        plan: what the page measures.
        host: address to listen at.
        say: called with what happens, a sentence each.

    Raises:
        InputError: if the address cannot be listened at.
    """
    token = secrets.token_urlsafe(16)
    inbox = _Inbox(plan, say)
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

    def __init__(self, plan: PagePlan, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self._lock = Lock()
        self._has_come = Event()
        self._clients: set[str] = set()
        self._run: Run | None = None

    def opened(self, client: str, browser: str) -> None:
        """Tell that a browser has asked for the page, once for each."""
        with self._lock:
            is_new = (key := f"{client} {browser}") not in self._clients
            self._clients.add(key)
            # An address of its own for each request must not fill the memory.
            if not is_new or len(self._clients) > 20:
                return
        self._say(f"A browser at {client} has opened the page and measures.")

    def take(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """What a page is told of its result."""
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Reply(415, "A result is JSON.")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers.get('host', '')}":
            return Reply(403, "A result comes from the page that this command serves.")
        if self._has_come.is_set():
            return Reply(410, _TAKEN)
        try:
            run = accepted(body, self._plan)
        except InputError as error:
            self._say(f"A result was refused: {error}")
            return Reply(422, str(error))
        with self._lock:
            if self._run is not None:
                return Reply(410, _TAKEN)
            self._run = run
        self._has_come.set()
        return Reply(200, "Handed back to the command. You can close this page.")

    def wait(self) -> Run:
        """The run, when it has come."""
        while not self._has_come.wait(_WAIT):
            pass
        assert self._run is not None
        return self._run


def _reachable(host: str) -> str:
    """The address that another device reaches this one at."""
    if host not in _ANY:
        return host
    family, beyond = (
        (socket.AF_INET, "192.0.2.1") if host == "0.0.0.0" else (socket.AF_INET6, "2001:db8::1")
    )
    try:
        # Nothing is sent: the system only chooses the address that it would send from.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((beyond, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
