"""Shell completion for options whose values are names.

Completion runs at every press of the tab key and must not import torch. So names whose modules
import torch are repeated here, and a test compares both.
"""

from collections.abc import Callable, Sequence

from slide_deploy.formats import format_names
from slide_deploy.tasks.options import ALL

FORMS = ("depthwise", "running-mean", "flat")
ARITHMETIC = ("float32", "float16", "bfloat16", "default")


def one_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a completion function for one name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete.lower())]

    return complete


def formats(incomplete: str) -> list[str]:
    """Complete the last name of a list with commas; names in the list are not repeated."""
    *given, last = incomplete.lower().split(",")
    known = format_names()
    names = (*known, ALL) if not given else known
    before = "".join(f"{name}," for name in given)
    return [f"{before}{name}" for name in names if name.startswith(last) and name not in given]


def all_targets(incomplete: str) -> list[str]:
    """Complete a target that can verify files."""
    from slide_deploy.backends.registry import TARGETS

    return [target.name for target in TARGETS if target.name.startswith(incomplete.lower())]


def targets(incomplete: str) -> list[str]:
    """Complete a target that can be benchmarked."""
    from slide_deploy.backends.registry import TARGETS

    timed = (target.name for target in TARGETS if target.is_timed)
    return [name for name in timed if name.startswith(incomplete.lower())]
