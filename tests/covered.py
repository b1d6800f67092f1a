"""``python -m tests.covered REPORT``: print what tests cover, and fail below nine tenths.

Lines and branches are counted separately, unlike in ``coverage report``, which adds them up.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

LEAST = 0.9


def main(arguments: Sequence[str]) -> int:
    """Read a report of ``coverage json``. Return 1 if lines or branches are below ``LEAST``."""
    totals = json.loads(Path(arguments[0]).read_text())["totals"]
    lines = totals["covered_lines"] / totals["num_statements"]
    branches = totals["covered_branches"] / totals["num_branches"]
    print(f"covered: {lines:.1%} of lines, {branches:.1%} of branches")
    return int(min(lines, branches) < LEAST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
