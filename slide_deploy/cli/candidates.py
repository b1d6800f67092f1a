"""The candidates of ``bench``, from its options: their files, targets and configurations."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_shapes
from slide_deploy.precisions import FLOAT32

if TYPE_CHECKING:
    from benchmarks.candidates import Sweep
    from benchmarks.suite import Member


def sweep_of(
    targets: Sequence[str] | None,
    batches: Sequence[int] | None,
    streams: Sequence[int] | None,
    threads: int | None,
    pin: str | None,
    precision: str | None,
    shapes: Sequence[str] | None,
    options: Sequence[str] | None,
) -> "Sweep":
    """Return the targets, batch sizes, streams and configuration from the options of ``bench``.

    Raises:
        InputError: a list of processors, a shape or a runtime option is malformed.
    """
    from benchmarks.candidates import Sweep
    from benchmarks.record import Configuration
    from slide_deploy.machine import usable_threads

    pinned = _processors(pin)
    configuration = Configuration(
        threads=threads or len(pinned) or usable_threads(),
        pinned=pinned,
        precision=precision or FLOAT32.name,
        shapes=parse_shapes(shapes or ()),
        options=dict(map(_option, options or ())),
    )
    return Sweep(
        tuple(targets or ()),
        tuple(batches or (1,)),
        tuple(streams or (1,)),
        configuration,
        as_claimed=precision is None,
    )


def suite_members(
    path: Path, work: Path, sweep: "Sweep", quiet: bool, gated: bool
) -> "tuple[Member, ...]":
    """Return the candidates of a suite; missing files are exported, which may take minutes.

    Args:
        path: the suite.
        work: folder for exported files.
        sweep: targets and configuration from the options.
        quiet: show no progress.
        gated: require at least two candidates, so that a gate can compare.

    Raises:
        InputError: the suite or one of its files cannot be used.
    """
    from benchmarks.compare import require_others
    from benchmarks.suite import WantedFile, candidate_count, members, read_suite
    from slide_deploy.files.folders import require_writable_folder
    from slide_deploy.tasks.suite_files import export_for_suite
    from slide_deploy.terminal.progress import Steps

    suite = read_suite(path)
    if gated:
        require_others(candidate_count(suite, sweep))
    require_writable_folder(work, "--work")
    # An upper limit: one file for each candidate, size and target. Existing files take no step.
    most = 1 + len(suite.candidate) * len(suite.image_sizes) * len(sweep.targets or suite.targets)
    with Steps(quiet, most) as step:

        def export(wanted: WantedFile, folder: Path) -> Path:
            step(f"export {folder.name}")
            return export_for_suite(wanted, folder)

        step(f"prepare the files of {path.name}")
        return members(path, work, sweep, export)


def _processors(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise InputError(f"--pin {text} is not a list of processors: give 0,1 or 0-3.")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(found)


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"--option {text} has no key or no value: give KEY=VALUE.")
    return key, value
