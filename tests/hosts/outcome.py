"""The result of exporting a host, shared by all tests."""

from pathlib import Path

from exporters import pipeline
from exporters.outcome import ExportOptions, ExportResult
from slide_deploy.errors import InputError
from slide_deploy.tasks.options import read_lowering
from tests.hosts.host import Host
from tests.shared import once


def outcome(host: Host, format: str) -> ExportResult | str:
    """Return the result of exporting a host, or the message that refuses it."""

    def write(folder: Path) -> ExportResult | str:
        # A file that fails is kept, so that a test can report what is wrong.
        lowering = read_lowering(host.lowering or "auto")
        options = ExportOptions((format,), folder / "out", lowering, keep_failed=True)
        try:
            return pipeline.export(host.deployable(), options)
        except InputError as error:
            left = [path for path in (folder / "out").rglob("*") if path.is_file()]
            assert not left, f"a refused export leaves {left}"
            return str(error)

    return once(("host", host.name, format), write)
