"""The tuning table: what was measured, and what won. Plain data; importable without torch.

Strict, as its file outlives the version that wrote it: figures are finite, the winner is one of the
candidates, and it is the winner by the rule that ``Entry.best`` states.
"""

import math
import re
from dataclasses import dataclass

from slide_deploy.precisions import known_precisions

# 1: the first form.
TABLE_VERSION = 1

# No map has more rows or channels: arithmetic on such sizes stays finite.
MAX_SIZE = 1 << 20
LAYOUTS = ("tokens", "nchw")
# FORM or FORM/STRIPS; which forms there are is for the lowerings to know.
_LOWERING = re.compile(r"[a-z][a-z-]*(?:/(\d{1,4}))?")
_TARGET = re.compile(r"[\w.]+:[\w-]+")


@dataclass(frozen=True, order=True)
class Geometry:
    """What a slide attention's speed depends on, for one image.

    Attributes:
        channels: of its input and output.
        heads: how many.
        head_dim: features of one; ``heads * head_dim`` may be less than ``channels``.
        kernel_size: side of the neighbourhood.
        height: of its map.
        width: of its map.
        layout: "tokens" or "nchw": what stands around the attention decides which form must
            transpose.

    Raises:
        ValueError: if a number cannot be.
    """

    channels: int
    heads: int
    head_dim: int
    kernel_size: int
    height: int
    width: int
    layout: str

    def __post_init__(self) -> None:
        sizes = (self.channels, self.heads, self.head_dim, self.height, self.width)
        _require(min(sizes) > 0 and max(sizes) <= MAX_SIZE, f"{self} has a size that cannot be")
        _require(self.kernel_size > 0 and self.kernel_size % 2 == 1, f"{self} has an even kernel")
        _require(self.layout in LAYOUTS, f"{self.layout} is not a layout")

    def __str__(self) -> str:
        """As ``slide-deploy tune --attention`` takes it, where the heads fill the channels."""
        layout = "" if self.layout == "tokens" else f":{self.layout}"
        kernel = "" if self.kernel_size == 3 else f":k{self.kernel_size}"
        width = "" if self.head_dim == 32 else f":d{self.head_dim}"
        return f"{self.channels}x{self.height}x{self.width}{layout}{kernel}{width}"


@dataclass(frozen=True)
class Trial:
    """One candidate of a contest.

    Attributes:
        lowering: FORM or FORM/STRIPS.
        milliseconds: median of a call.
        ratio: how many times slower than the baseline, round by round; 1 for the baseline itself.
        low: of the ratio's 95 % interval.
        high: of the same.
        final: whether it was in the long race; else the figures come from a short one.

    Raises:
        ValueError: if a figure cannot be.
    """

    lowering: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    final: bool

    def __post_init__(self) -> None:
        strips_of(self.lowering)
        figures = (self.milliseconds, self.ratio, self.low, self.high)
        _require(
            all(0 < figure < math.inf for figure in figures),
            f"a figure of {self.lowering} is not finite and above 0",
        )
        _require(
            self.low <= self.ratio <= self.high,
            f"the ratio of {self.lowering} lies outside its interval",
        )


@dataclass(frozen=True)
class Entry:
    """The outcome of one contest.

    Attributes:
        target: runtime and device, as ``slide-deploy bench`` names them.
        precision: of the file, as ``slide-deploy export`` names it.
        geometry: of the attention.
        threads: that one call used.
        winner: the lowering to take.
        baseline: the lowering that was chosen before, and that ratios are taken to.
        trials: all candidates that were timed, the baseline included.
        dropped: the others, and why.
        machine: ``slide_deploy.machine.describe()``.
        runtime: library and version.
        date: of the contest, ISO 8601.
        command: that measured it.

    Raises:
        ValueError: if a part contradicts another.
    """

    target: str
    precision: str
    geometry: Geometry
    threads: int
    winner: str
    baseline: str
    trials: tuple[Trial, ...]
    dropped: dict[str, str]
    machine: dict[str, str]
    runtime: str
    date: str
    command: str

    def __post_init__(self) -> None:
        _require(bool(_TARGET.fullmatch(self.target)), f"{self.target} is not a target")
        known = [precision.name for precision in known_precisions()]
        _require(self.precision in known, f"{self.precision} is not a precision")
        _require(self.threads > 0, "there are no threads")
        names = [trial.lowering for trial in self.trials]
        _require(len(set(names)) == len(names), "a candidate is there twice")
        for name in names:
            _require(strips_of(name) <= self.geometry.height, f"{name} has more strips than rows")
        finalists = [trial.lowering for trial in self.trials if trial.final]
        _require(self.baseline in finalists, "the baseline was not in the long race")
        _require(self.winner == best(self.trials, self.baseline), "another candidate has won")

    @property
    def key(self) -> tuple[str, str, Geometry]:
        """What a later contest replaces: one decision for a target, a precision and a geometry."""
        return self.target, self.precision, self.geometry


def best(trials: tuple[Trial, ...], baseline: str) -> str:
    """The fastest of those that are faster than the baseline beyond warning; else the baseline.

    Beyond warning is: all of the ratio's interval lies below 1, in the long race.
    """
    faster = [
        trial for trial in trials if trial.final and trial.high < 1 and trial.lowering != baseline
    ]
    return min(faster, key=lambda trial: trial.ratio).lowering if faster else baseline


def strips_of(lowering: str) -> int:
    """The number of strips that the text names.

    Raises:
        ValueError: if it is neither FORM nor FORM/STRIPS.
    """
    match = _LOWERING.fullmatch(lowering)
    strips = int(match[1] or 1) if match else 0
    _require(strips > 0, f"{lowering[:40]!r} is not a lowering")
    return strips


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)
