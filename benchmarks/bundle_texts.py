"""Texts of a bundle: how it is started, what it needs, what its owner reads."""

from benchmarks.measuring.race import RacePlan

# Understood by any Python 3, so that an old one says what it lacks instead of failing to parse.
RUN = '''\
"""Measures the files of this bundle on this device: python3 run.py"""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed; this is %s." % sys.version.split()[0])

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

if __name__ == "__main__":
    from pathlib import Path

    from benchmarks.measuring.bundle_runner import main

    sys.exit(main(Path(HERE)))
'''

_README = """\
# Measure these models on this device

Candidates:

{candidates}

## Run

Python 3.11 or newer, numpy and {runtimes} are needed; slide-deploy itself is not.

    python3 -m venv venv
    venv/bin/python -m pip install -r requirements.txt
    venv/bin/python run.py

On Windows the second and third lines start with `venv\\Scripts\\python`. Where a runtime came with
the device, as on NVIDIA Jetson, make the environment with `--system-site-packages` and leave out
what is already there.

It takes about {minutes} min. End other programs, plug in the power supply, and see that the
device does not throttle. `run.py --seconds 1` is a quick try; `--threads N` sets the threads of one
inference, which are those of the plan otherwise, but no more than the device has cores.
{own}
## What comes back

`result-HOST.json`: every sample, in nanoseconds, with versions and settings as the runtimes
themselves report them, and facts about this device (processor, instruction sets, memory, power
source, system, container). It names neither users nor folders. Bring it back and read it:

    slide-deploy report result-HOST.json
    slide-deploy compare result-THERE.json result-HERE.json

Ctrl-C ends a run early and keeps what was measured until then. A candidate that fails is recorded
with its reason; the others go on.
"""

_OWN = """
These targets are of somebody's own: put their modules beside `run.py`: {names}.
"""


def readme(plan: RacePlan, requirements: list[str], own: list[str]) -> str:
    """What the owner of the device reads.

    Args:
        plan: what is measured.
        requirements: lines of ``requirements.txt``.
        own: targets that are not this project's.
    """
    lines = [f"- {each.name} (`{each.path}`)" for each in plan.candidates]
    runtimes = [line.split(">")[0] for line in requirements if not line.startswith("numpy")]
    return _README.format(
        candidates="\n".join(lines),
        runtimes=", ".join(runtimes) or "the runtime",
        minutes=_minutes(plan),
        own=_OWN.format(names=", ".join(own)) if own else "",
    )


def _minutes(plan: RacePlan) -> int:
    """Measuring, and half of the warm-up's limit; loading is not foreseeable."""
    each = plan.seconds + plan.sustained + plan.warm_up / 2
    return max(1, round(len(plan.candidates) * each / 60))
