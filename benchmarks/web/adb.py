"""A phone on a cable, through Android's ``adb``: nothing is installed on it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from benchmarks.record import Run
from slide_deploy.errors import InputError

_SECONDS = 60.0
# What a phone says of itself, and what a result calls it.
_PROPERTIES = {
    "model": "ro.product.model",
    "chip": "ro.soc.model",
    "android": "ro.build.version.release",
}
_LONGEST_FACT = 80


@dataclass(frozen=True)
class Phone:
    """A phone that is connected.

    Attributes:
        serial: that adb knows it by.
        program: path of adb.
    """

    serial: str
    program: str

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.facts().get("model", self.serial)

    def facts(self) -> dict[str, str]:
        """What the phone says of itself, by name."""
        found = {}
        for name, key in _PROPERTIES.items():
            with suppress(InputError):
                said = self.ask("shell", "getprop", key).strip()
                if said and said.isprintable():
                    found[name] = said[:_LONGEST_FACT]
        return found

    def described(self, run: Run) -> Run:
        """A run with what the phone says of itself beside what its browser does."""
        return replace(run, machine={**run.machine, **self.facts()})

    @contextmanager
    def opened(self, address: str, port: int) -> Iterator[None]:
        """Open an address of this machine in the phone's browser, while the block lasts.

        The cable carries the port, so that the page is one of localhost there.

        Raises:
            InputError: if the phone refuses.
        """
        here = f"tcp:{port}"
        self.ask("reverse", here, here)
        try:
            # The phone's shell reads the command again: the address is one word there.
            view = ("am", "start", "-a", "android.intent.action.VIEW", "-d", f"'{address}'")
            said = self.ask("shell", *view)
            if "Error" in said:
                raise InputError(
                    f"{self.name} opens no page ({_line(said)}): unlock it, and check that it has "
                    f"a browser."
                )
            yield
        finally:
            with suppress(InputError):  # the phone may have gone
                self.ask("reverse", "--remove", here)

    def ask(self, *command: str, seconds: float = _SECONDS) -> str:
        """What adb prints for a command to this phone.

        Raises:
            InputError: if it fails.
        """
        return _asked([self.program, "-s", self.serial, *command], seconds)


def find_phone(serial: str | None = None) -> Phone:
    """The phone of a serial number, or the only one.

    Raises:
        InputError: without adb, without a phone, or if there are several and none is named.
    """
    program = shutil.which("adb")
    if program is None:
        raise InputError(
            "adb is not on PATH: install Android's platform tools, for example with apt install "
            "adb or brew install android-platform-tools."
        )
    states = dict(_devices(_asked([program, "devices"], _SECONDS)))
    if serial is not None:
        if serial not in states:
            raise InputError(
                f"No phone {serial} is connected: adb devices lists {_listed(states) or 'none'}."
            )
        states = {serial: states[serial]}
    if not states:
        raise InputError(
            "No phone is connected: plug it in, and allow USB debugging in its developer options."
        )
    if len(states) > 1:
        raise InputError(
            f"Several phones are connected ({_listed(states)}): name one with --adb-serial."
        )
    found, state = states.popitem()
    if state != "device":
        raise InputError(
            f"The phone {found} is {state}: unlock it, and allow this computer when it asks."
        )
    return Phone(found, program)


def _devices(listed: str) -> Iterator[tuple[str, str]]:
    for line in listed.splitlines():
        serial, tab, state = line.partition("\t")
        if tab:
            yield serial.strip(), state.strip()


def _listed(states: dict[str, str]) -> str:
    return ", ".join(states)


def _asked(command: Sequence[str], seconds: float) -> str:
    words = " ".join(command[1:])
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"adb {words} did not end within {seconds:g} s: reconnect the phone."
        ) from error
    except OSError as error:
        raise InputError(f"{command[0]} does not start ({error.strerror}).") from error
    if done.returncode:
        reason = _line(done.stderr) or _line(done.stdout) or f"exit code {done.returncode}"
        raise InputError(f"adb {words} failed ({reason}): check the cable and the phone.")
    return done.stdout


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    shown = lines[0] if lines else ""
    return "".join(letter for letter in shown if letter.isprintable())[:200]
