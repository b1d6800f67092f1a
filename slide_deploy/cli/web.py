"""Benchmarks in browsers and on phones, and the command ``web fetch``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.options import QuietOption
from slide_deploy.cli.panels import PanelCommand
from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_shapes
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from benchmarks.measuring.race import RacePlan
    from benchmarks.record import Candidate, Run
    from benchmarks.web.adb import Phone
    from benchmarks.web.serving import Waiting

web = typer.Typer(help="Fetch what a page needs to measure in a browser.", no_args_is_help=True)


@web.command(
    cls=PanelCommand, epilog="Example: slide-deploy web fetch --from onnxruntime-web-1.30.0.tgz"
)
def fetch(
    archive: Annotated[
        Path | None,
        typer.Option("--from", help="Archive that npm pack wrote, for machines without network."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Put the files of ONNX Runtime Web into the cache, from npm's registry or an archive."""
    from slide_deploy.backends.web import assets

    echo(f"written: {assets.fetch(archive)}")


@dataclass(frozen=True)
class Elsewhere:
    """The place where bench measures, if not on this machine.

    Attributes:
        web: measure in a browser that the user opens.
        host: address at which the page is served; None for this machine only.
        bundle: folder to write the page into.
        adb: measure in the browser of a phone on a cable.
        serial: serial number of the phone; None if only one is connected.
        binary: program that measures on the phone instead of its browser.
    """

    web: bool
    host: str | None
    bundle: Path | None
    adb: bool
    serial: str | None
    binary: Path | None

    def __post_init__(self) -> None:
        chosen = self._chosen
        if len(chosen) > 1:
            raise InputError(f"{' and '.join(chosen)} exclude each other: give one.")
        if self.serial is not None and not self.adb and self.binary is None:
            raise InputError("--adb-serial applies to --adb: give --adb too.")
        if self.host is not None and not self.web:
            raise InputError("--host applies to --web: give --web too.")

    @property
    def _chosen(self) -> tuple[str, ...]:
        """The given options that select another place to measure."""
        given = {
            "--web": self.web,
            "--web-bundle": self.bundle is not None,
            "--adb-binary" if self.binary else "--adb": self.adb or self.binary is not None,
        }
        return tuple(option for option, is_given in given.items() if is_given)

    @property
    def is_chosen(self) -> bool:
        """Whether bench does not measure on this machine."""
        return self.measures or self.bundle is not None

    @property
    def measures(self) -> bool:
        """Whether this command measures in a browser or on a phone."""
        return self.web or self.adb or self.binary is not None

    def candidates(
        self,
        files: Sequence[Path],
        targets: Sequence[str] | None,
        batches: Sequence[int] | None,
        shapes: Sequence[str] | None,
    ) -> "tuple[Candidate, ...]":
        """Return the candidates that are measured there, from the options of the command."""
        from benchmarks.web.candidates import BINARY, BROWSER, elsewhere

        place = BROWSER if self.binary is None else BINARY
        return elsewhere(files, place, targets or (), batches or (1,), parse_shapes(shapes or ()))

    def refuse(self, options: dict[str, object]) -> None:
        """Refuse options that apply to measuring on this machine only.

        Args:
            options: values by name; None or False if not given.
        """
        for chosen, (option, value) in product(self._chosen, options.items()):
            if value:
                raise InputError(f"{option} cannot be combined with {chosen}: leave one out.")

    def run(self, plan: "RacePlan", threads: int | None, quiet: bool) -> "Run":
        """Measure there, with the threads that the device chooses if ``threads`` is None."""
        from benchmarks.web.acceptance import with_paths
        from benchmarks.web.plan import page_plan
        from benchmarks.web.serving import LOOPBACK, waiting

        phone = self._phone()
        if phone is not None and self.binary is not None:
            from benchmarks.web.native import measure
            from slide_deploy.terminal.progress import Steps

            with Steps(quiet, plan.rounds) as step:
                return measure(plan, phone, self.binary, threads, step)
        report = (lambda _: None) if quiet else (lambda text: echo(text, err=True))
        page = page_plan(plan, threads)
        with waiting(page, self.host or LOOPBACK, report) as served, _shown(served, phone, quiet):
            run = with_paths(served.result(), plan.candidates)
        return run if phone is None else phone.described(run)

    def write(self, plan: "RacePlan", threads: int | None) -> tuple[Path, ...]:
        """Write the page as static files and return their paths."""
        from benchmarks.web.bundle import write_bundle
        from benchmarks.web.plan import page_plan

        assert self.bundle is not None
        return write_bundle(page_plan(plan, threads), self.bundle)

    def _phone(self) -> "Phone | None":
        if not self.adb and self.binary is None:
            return None
        from benchmarks.web.adb import find_phone

        return find_phone(self.serial)


@contextmanager
def _shown(served: "Waiting", phone: "Phone | None", quiet: bool) -> Iterator[None]:
    """Open the page on the phone, or print its address for the user."""
    if phone is not None:
        with phone.opened(served.address, served.port):
            if not quiet:
                echo(f"{phone.name} measures in its browser. Ctrl-C ends it.", err=True)
            yield
        return
    # On standard error, because results may go to standard output.
    echo(f"Open {served.address}", err=True)
    if not quiet:
        _print_code(served.address)
        echo("Waiting for its result. Ctrl-C ends it.", err=True)
    yield


def _print_code(address: str) -> None:
    """Print the address as a QR code for a phone; a loopback address needs none."""
    import sys

    if "//127." in address or "//localhost" in address or not sys.stderr.isatty():
        return
    try:
        import segno
    except ImportError:
        echo("(for a QR code of the address: pip install 'slide-deploy[bench]')", err=True)
        return
    segno.make(address, error="l").terminal(out=sys.stderr, compact=True)
