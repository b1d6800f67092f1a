"""A connected Android phone, used through ``adb``. Nothing is installed on it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from benchmarks.record import Run
from slide_deploy.errors import InputError

_SECONDS = 60.0
# Facts about a phone: name in results, and Android property.
_PROPERTIES = {
    "model": "ro.product.model",
    "chip": "ro.soc.model",
    "android": "ro.build.version.release",
}
_LONGEST_FACT = 80


@dataclass(frozen=True)
class Phone:
    """A connected phone.

    Attributes:
        serial: Serial number in adb.
        program: Path of adb.
    """

    serial: str
    program: str

    @property
    def name(self) -> str:
        """Its model, or its serial number if the model is unknown."""
        return self.facts().get("model", self.serial)

    def facts(self) -> dict[str, str]:
        """Return facts about the phone, by name."""
        found = {}
        for name, key in _PROPERTIES.items():
            with suppress(InputError):
                value = self.run("shell", "getprop", key).strip()
                if value and value.isprintable():
                    found[name] = value[:_LONGEST_FACT]
        return found

    def described(self, run: Run) -> Run:
        """Return a run with facts about the phone in addition to those from its browser."""
        return replace(run, machine={**run.machine, **self.facts()})

    @contextmanager
    def opened(self, address: str, port: int) -> Iterator[None]:
        """Open an address of this machine in the phone's browser, within a ``with`` block.

        The cable forwards the port, so that the page is on localhost for the phone.

        Raises:
            InputError: The phone cannot open it.
        """
        here = f"tcp:{port}"
        self.run("reverse", here, here)
        try:
            # Quoted, as the phone's shell parses the command again.
            view = ("am", "start", "-a", "android.intent.action.VIEW", "-d", f"'{address}'")
            output = self.run("shell", *view)
            if "Error" in output:
                raise InputError(
                    f"{self.name} cannot open a page ({_line(output)}): unlock it, and check that "
                    f"it has a browser."
                )
            yield
        finally:
            with suppress(InputError):  # the phone may be disconnected
                self.run("reverse", "--remove", here)

    def run(self, *command: str, seconds: float = _SECONDS) -> str:
        """Run an adb command for this phone and return its output.

        Raises:
            InputError: The command failed.
        """
        return _run([self.program, "-s", self.serial, *command], seconds)


def find_phone(serial: str | None = None) -> Phone:
    """Return the phone with a serial number, or the only connected phone.

    Raises:
        InputError: adb or the phone is missing, or there are several phones without a serial
            number.
    """
    program = shutil.which("adb")
    if program is None:
        raise InputError(
            "adb is not on PATH: install Android's platform tools, for example with apt install "
            "adb or brew install android-platform-tools."
        )
    states = dict(_devices(_run([program, "devices"], _SECONDS)))
    if serial is not None:
        if serial not in states:
            raise InputError(
                f"No phone {serial} is connected: choose from those that adb devices lists "
                f"({', '.join(states) or 'none'})."
            )
        states = {serial: states[serial]}
    if not states:
        raise InputError(
            "No phone is connected: plug it in, and allow USB debugging in its developer options."
        )
    if len(states) > 1:
        raise InputError(
            f"Several phones are connected ({', '.join(states)}): name one with --adb-serial."
        )
    found, state = states.popitem()
    if state != "device":
        raise InputError(
            f"The phone {found} is {state}: unlock it, and accept its prompt to allow this "
            f"computer."
        )
    return Phone(found, program)


def _devices(listed: str) -> Iterator[tuple[str, str]]:
    for line in listed.splitlines():
        serial, tab, state = line.partition("\t")
        if tab:
            yield serial.strip(), state.strip()


def _run(command: Sequence[str], seconds: float) -> str:
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
        raise InputError(
            f"{command[0]} does not start ({error.strerror}): install adb again."
        ) from error
    if done.returncode:
        reason = _line(done.stderr) or _line(done.stdout) or f"exit code {done.returncode}"
        raise InputError(f"adb {words} failed ({reason}): check the cable and the phone.")
    return done.stdout


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    shown = lines[0] if lines else ""
    return "".join(letter for letter in shown if letter.isprintable())[:200]
