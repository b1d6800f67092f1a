"""Texts in a bundle: `run.py`, which starts it, and its README."""

from benchmarks.measuring.race import RacePlan

# Any Python 3 can parse this, so that an old one prints the version it needs instead of failing.
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

You need Python 3.11 or newer, numpy and {runtimes}, but not slide-deploy itself.

    python3 -m venv venv
    venv/bin/python -m pip install -r requirements.txt
    venv/bin/python run.py

On Windows, the second and third lines start with `venv\\Scripts\\python`. If a runtime came with
the device, as on NVIDIA Jetson, create the environment with `--system-site-packages` and do not
install what is already present.

The run takes about {minutes} min. Close other programs, plug in the power supply, and keep the
device cool. `run.py --seconds 1` is a quick trial. `--threads N` sets the threads of one inference.
The default is the number in the plan, limited to the cores of the device.
{custom}
## The result

`result-HOST.json` contains every sample in nanoseconds, versions and settings as the runtimes
report them, and facts about this device (processor, instruction sets, memory, power source, system,
container). It contains no names of users or folders. Copy it back and read it:

    slide-deploy report result-HOST.json
    slide-deploy compare result-THERE.json result-HERE.json

Ctrl-C ends a run early and keeps the samples so far. If a candidate fails, the result contains the
reason, and the others continue.
"""

_CUSTOM = """
These targets are custom ones. Put their modules beside `run.py`: {names}.
"""


def readme(plan: RacePlan, requirements: list[str], custom: list[str]) -> str:
    """Return the README of a bundle, for the owner of the device.

    Args:
        plan: What is measured.
        requirements: Lines of ``requirements.txt``.
        custom: Targets that are not part of slide-deploy.
    """
    lines = [f"- {each.name} (`{each.path}`)" for each in plan.candidates]
    runtimes = [line.split(">")[0] for line in requirements if not line.startswith("numpy")]
    return _README.format(
        candidates="\n".join(lines),
        runtimes=", ".join(runtimes) or "the runtime",
        minutes=_minutes(plan),
        custom=_CUSTOM.format(names=", ".join(custom)) if custom else "",
    )


def _minutes(plan: RacePlan) -> int:
    """Estimate the minutes: measuring and half the limit of the warm-up, without loading."""
    each = plan.seconds + plan.sustained + plan.warm_up / 2
    return max(1, round(len(plan.candidates) * each / 60))
