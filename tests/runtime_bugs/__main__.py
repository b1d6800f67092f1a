"""``python -m tests.runtime_bugs``: the whole sweep, one line a size.

The exit code is 1 if an output is wrong.
."""

import sys

import torch

from tests.runtime_bugs.patterns import all_parts
from tests.runtime_bugs.sweep import EVERY_EXPORTER, MAPS, sweep


def main() -> int:
    torch.set_num_threads(1)
    parts, answers, wrong = 0, 0, 0
    print("| map | patterns | answers | wrong | least SNR |\n|---|---|---|---|---|", flush=True)
    for map in MAPS:
        outcomes = list(sweep(map, all_parts(map), EVERY_EXPORTER))
        failures = [outcome for outcome in outcomes if not outcome.right]
        found = len({outcome.part for outcome in outcomes})
        least = min(outcome.agreement.snr_db for outcome in outcomes)
        row = (map, found, len(outcomes), len(failures), f"{least:.0f} dB")
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)
        for failure in failures:
            print(failure, file=sys.stderr)
        parts, answers, wrong = parts + found, answers + len(outcomes), wrong + len(failures)
    print(f"| all | {parts} | {answers} | {wrong} | |")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
