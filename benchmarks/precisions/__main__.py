"""``python -m benchmarks.precisions CHECKPOINT --data DIR --calibration DIR --out PAGE``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.generated_page import page_command, page_of, publish
from benchmarks.precisions.files import evaluate, kinds, write
from benchmarks.precisions.table import losses, price_table
from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import rows_of
from slide_deploy.files.folders import require_writable_folder
from slide_deploy.machine import describe
from slide_deploy.terminal.progress import Steps

COMMAND = "make bench-precisions"


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Export, evaluate and write the table. Return 1 if a file loses too much, 2 on bad input."""
    chosen = _parse(arguments)
    page = page_of(chosen.out, COMMAND)
    wanted = list(kinds(chosen.format, chosen.precision))
    if not wanted:
        raise InputError(
            "No runtime here runs such a format and precision: see slide-deploy doctor."
        )
    require_writable_folder(chosen.files)
    with Steps(False, len(wanted) + 1) as step:
        files = []
        for kind in wanted:
            step(f"write {kind}")
            files.append(write(chosen.checkpoint, kind, chosen.calibration, chosen.files))
        step("evaluate")
        result = chosen.files / "evaluation.json"
        rows = rows_of(evaluate(chosen.checkpoint, files, chosen.data, result))
    conditions = {"command": f"`{COMMAND}`"} | describe()
    publish(page, [price_table(chosen.checkpoint, rows, files)], conditions)
    lost = list(losses(rows, files))
    for sentence in lost:
        print(sentence, file=sys.stderr)
    return int(bool(lost))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precisions")
    parser.add_argument("checkpoint", type=Path, help="checkpoint of the trained network")
    parser.add_argument("--data", type=Path, required=True, help="held-out images, by class")
    parser.add_argument("--calibration", type=Path, required=True, help="training images")
    parser.add_argument("--files", type=Path, required=True, help="folder for written files")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    parser.add_argument("--format", action="append", default=[], help="repeatable; default: all")
    parser.add_argument("--precision", action="append", default=[], help="repeatable; default: all")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
