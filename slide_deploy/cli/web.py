"""What bench does on other devices' browsers, and the command that fetches what a page needs."""

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
from slide_deploy.terminal.printable import say

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

    say(f"written: {assets.fetch(archive)}")


@dataclass(frozen=True)
class Elsewhere:
    """Where bench measures instead of here.

    Attributes:
        web: in a browser that a person opens.
        host: address that the page is served at; None for this machine's own.
        bundle: folder to write the page into.
        adb: in the browser of a phone on a cable.
        serial: of the phone; None for the only one.
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
            raise InputError(f"{' and '.join(chosen)} are different ways: give one.")
        if self.serial is not None and not self.adb and self.binary is None:
            raise InputError("--adb-serial names a phone for --adb: give --adb as well.")
        if self.host is not None and not self.web:
            raise InputError("--host is where --web serves the page: give it with --web.")

    @property
    def _chosen(self) -> tuple[str, ...]:
        """The options that were given of those that say where bench measures."""
        given = {
            "--web": self.web,
            "--web-bundle": self.bundle is not None,
            "--adb-binary" if self.binary else "--adb": self.adb or self.binary is not None,
        }
        return tuple(option for option, is_given in given.items() if is_given)

    @property
    def is_chosen(self) -> bool:
        """Whether this machine does not measure."""
        return self.measures or self.bundle is not None

    @property
    def measures(self) -> bool:
        """Whether figures come from elsewhere, now."""
        return self.web or self.adb or self.binary is not None

    def candidates(
        self,
        files: Sequence[Path],
        targets: Sequence[str] | None,
        batches: Sequence[int] | None,
        shapes: Sequence[str] | None,
    ) -> "tuple[Candidate, ...]":
        """What is measured there, from the options of the command."""
        from benchmarks.web.candidates import BINARY, BROWSER, WantedPage, elsewhere

        place = BROWSER if self.binary is None else BINARY
        wanted = WantedPage(targets or (), batches or (1,), parse_shapes(shapes or ()))
        return elsewhere(files, place, wanted)

    def refuse(self, options: dict[str, object]) -> None:
        """Refuse options that apply to measuring on this machine only.

        Args:
            options: by name; None or False where they were not given.
        """
        for chosen, (option, value) in product(self._chosen, options.items()):
            if value:
                raise InputError(f"{option} cannot be combined with {chosen}: leave one out.")

    def run(self, plan: "RacePlan", threads: int | None, quiet: bool) -> "Run":
        """Measure there.

        Args:
            plan: what to measure.
            threads: for one call; None leaves them to the device.
            quiet: print no more than the address that has to be opened.
        """
        from benchmarks.web.acceptance import with_paths
        from benchmarks.web.plan import page_plan
        from benchmarks.web.serving import LOOPBACK, waiting

        phone = self._phone()
        if phone is not None and self.binary is not None:
            from benchmarks.web.native import measure
            from slide_deploy.terminal.progress import Steps

            with Steps(quiet, plan.rounds) as step:
                return measure(plan, phone, self.binary, threads, step)
        say = (lambda _: None) if quiet else (lambda text: typer.echo(text, err=True))
        page = page_plan(plan, threads)
        with waiting(page, self.host or LOOPBACK, say) as served, _shown(served, phone, quiet):
            run = with_paths(served.result(), plan.candidates)
        return run if phone is None else phone.described(run)

    def write(self, plan: "RacePlan", threads: int | None) -> tuple[Path, ...]:
        """Write the page as static files; gives the pages."""
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
    """Bring the page to whoever opens it."""
    if phone is not None:
        with phone.opened(served.address, served.port):
            if not quiet:
                say(f"{phone.name} measures in its browser. Ctrl-C ends it.", err=True)
            yield
        return
    # On standard error: results may go to standard output.
    say(f"Open {served.address}", err=True)
    if not quiet:
        _print_code(served.address)
        typer.echo("Waiting for its result. Ctrl-C ends it.", err=True)
    yield


def _print_code(address: str) -> None:
    """Draw the address for a phone's camera; this machine's own is of no use there."""
    import sys

    if "//127." in address or "//localhost" in address or not sys.stderr.isatty():
        return
    try:
        import segno
    except ImportError:
        typer.echo("(a code for a phone's camera: pip install 'slide-deploy[bench]')", err=True)
        return
    segno.make(address, error="l").terminal(out=sys.stderr, compact=True)
