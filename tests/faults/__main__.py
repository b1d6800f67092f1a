"""``python -m tests.faults``: let every fault happen and count what is lost."""

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.judging import Tally
from tests.faults.row import Row

if TYPE_CHECKING:
    from benchmarks.generated_page import Grid

_INSIDE = "SLIDE_DEPLOY_FAULTS_INSIDE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if anything is lost, wrong or left, or otherwise than promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="rows whose name has this text"
    )
    parser.add_argument("--full", action="store_true", help="with the rows that take an hour")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="page to put the table into")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    _enter_namespace()
    # A shell starts background processes with Ctrl-C ignored, and their children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.serve:
        return _serve()
    chosen = [
        row
        for row in _rows()
        if (not options.only or any(text in row.name for text in options.only))
        and (options.full or row.cost != "hour")
    ]
    failed = False
    cells: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row in chosen:
        tally = judged(row)
        numbers = (tally.injected, tally.lost, tally.wrong, tally.leftovers)
        cells[row.command, row.fault] = (row.command, row.fault, *map(str, numbers))
        passed = bool(tally.injected) and not tally.problems
        print(f"{row.name}: {numbers}", file=sys.stderr, flush=True)
        for line in tally.problems:
            print(f"  {line}", file=sys.stderr, flush=True)
        failed |= not passed
        if options.out:
            _write_row(options.out, row, cells[row.command, row.fault] if passed else ())
    _grid(cells.values()).print()
    return int(failed)


def _write_row(page: Path, row: Row, cells: tuple[str, ...]) -> None:
    """Put a row into the table of a page, where other rows stay; a row that failed is taken out."""
    from benchmarks.generated_page import GeneratedPage
    from slide_deploy.files.folders import shared_file
    from tests.faults.catalogue import catalogue
    from tests.pages import generated_rows

    generated = GeneratedPage(page, "make faults")
    with shared_file(page):  # several processes may try rows
        found = {(each[0], each[1]): each for each in generated_rows(generated)}
        found[row.command, row.fault] = cells
        ordered = (found.get((each.command, each.fault)) for each in catalogue())
        generated.update([_grid(each for each in ordered if each)])


def _grid(cells: Iterable[tuple[str, ...]]) -> "Grid":
    from benchmarks.generated_page import Grid

    columns = ("command", "fault", "injected", "files lost", "wrong manifests", "leftovers")
    return Grid("", tuple((name, number > 1) for number, name in enumerate(columns)), tuple(cells))


def judged(row: Row) -> Tally:
    """Let one fault happen, in a process of its own and an empty folder."""
    # No TemporaryDirectory: commands that are forked would remove it at their ends.
    folder = Path(tempfile.mkdtemp(prefix="slide-deploy-faults-"))
    try:
        answer = folder / "tally.json"
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _inject(row, folder / "here", answer)
        os.waitpid(child, 0)
        if answer.exists():
            return Tally(**json.loads(answer.read_text()))
        return Tally(problems=["the process of the row ended"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _inject(row: Row, here: Path, answer: Path) -> None:
    """Run a row in this process, and end it."""
    code, tally = 1, Tally()
    try:
        here.mkdir()
        try:
            row.inject(tally, here)
        except Exception:
            tally.problems.append(traceback.format_exc())
        answer.write_text(json.dumps(asdict(tally)))
        code = 0
    finally:
        os._exit(code)


def has_mounts() -> bool:
    """Whether this process is in a mount namespace of its own."""
    return os.environ.get(_INSIDE) == "mounts"


def _enter_namespace() -> None:
    """Start again where file systems may be mounted, if the system lets its users do that."""
    if _INSIDE in os.environ:
        return
    way = ["unshare", "--map-root-user", "--mount"]
    able = (
        shutil.which("unshare")
        and not subprocess.run([*way, "true"], capture_output=True).returncode
    )
    os.environ[_INSIDE] = "mounts" if able else "none"
    command = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
    if able:
        os.execvp("unshare", [*way, *command])


def _rows() -> list[Row]:
    """All rows that are possible here, with everything loaded that commands load."""
    import torch

    torch.set_num_threads(1)
    import torch._dynamo  # at this import torch makes its folder among the temporary files

    import exporters.pipeline
    import slide_deploy.cli
    from tests.faults.catalogue import catalogue

    _ = exporters.pipeline, slide_deploy.cli
    rows = [row for row in catalogue() if has_mounts() or not row.needs_mounts]
    # A search for garbage would touch, and so copy, all memory in every process that is forked.
    gc.collect()
    gc.freeze()
    return rows


def _serve() -> int:
    """Answer the name of each row on standard input with its tally, for the tests."""
    rows = {row.name: row for row in _rows()}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(sorted(rows)), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(judged(rows[line.strip()]))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
