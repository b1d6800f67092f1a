"""The entries of a tuning table: measured lowerings and the winner. Importable without torch.

Entries are validated strictly, because a file outlives the version that wrote it: figures are
finite, the winner is one of the candidates, and it is the one that ``best`` returns.
"""

import math
import re
from dataclasses import dataclass

from slide_deploy.precisions import known_precisions

# Version 1 is the first.
TABLE_VERSION = 1

# Upper limit of rows, columns and channels. It keeps arithmetic on sizes finite.
MAX_SIZE = 1 << 20
LAYOUTS = ("tokens", "nchw")
# FORM or FORM/STRIPS. Unknown forms are allowed: another version may have written them.
_LOWERING = re.compile(r"[a-z][a-z-]*(?:/(\d{1,4}))?")
_TARGET = re.compile(r"[\w.]+:[\w-]+")


@dataclass(frozen=True, order=True)
class Geometry:
    """The properties of a slide attention that determine its latency, for one image.

    Attributes:
        channels: channels of its input and output.
        heads: number of heads.
        head_dim: features of one head; ``heads * head_dim`` may be less than ``channels``.
        kernel_size: side of the neighbourhood.
        height: height of its feature map.
        width: width of its feature map.
        layout: layout of its input, "tokens" or "nchw"; it determines which forms must transpose.

    Raises:
        ValueError: a value is impossible.
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
        _require(min(sizes) > 0 and max(sizes) <= MAX_SIZE, f"{self} has an impossible size")
        _require(self.kernel_size > 0 and self.kernel_size % 2 == 1, f"{self} has an even kernel")
        _require(self.layout in LAYOUTS, f"{self.layout} is not a layout")

    def __str__(self) -> str:
        """Return the text that ``tune --attention`` accepts, if the heads fill the channels."""
        layout = "" if self.layout == "tokens" else f":{self.layout}"
        kernel = "" if self.kernel_size == 3 else f":k{self.kernel_size}"
        width = "" if self.head_dim == 32 else f":d{self.head_dim}"
        return f"{self.channels}x{self.height}x{self.width}{layout}{kernel}{width}"


@dataclass(frozen=True)
class Trial:
    """One candidate of a race between lowerings.

    Attributes:
        lowering: FORM or FORM/STRIPS.
        milliseconds: median time of one call.
        ratio: time relative to the baseline, compared round by round; 1 for the baseline itself.
        low: lower end of the 95 % interval of the ratio.
        high: upper end of the 95 % interval of the ratio.
        final: whether the figures come from the long race; otherwise they come from a short one.

    Raises:
        ValueError: a figure is impossible.
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
    """The outcome of one race between lowerings.

    Attributes:
        target: runtime and device, as ``slide-deploy bench`` names them.
        precision: precision of the file, as ``slide-deploy export`` names it.
        geometry: geometry of the attention.
        threads: number of threads of one call.
        winner: the lowering to use.
        baseline: the lowering that was chosen before; ratios are relative to it.
        trials: all candidates that were timed, including the baseline.
        dropped: the candidates that were not timed, with the reason.
        machine: ``slide_deploy.machine.describe()``.
        runtime: library and version.
        date: date of the race, ISO 8601.
        command: the command that measured it.

    Raises:
        ValueError: two values contradict each other.
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
        _require(bool(_TARGET.fullmatch(self.target)), f"{self.target} is not RUNTIME:DEVICE")
        known = [precision.name for precision in known_precisions()]
        _require(self.precision in known, f"{self.precision} is not a precision")
        _require(self.threads > 0, "threads is below 1")
        names = [trial.lowering for trial in self.trials]
        _require(len(set(names)) == len(names), "a candidate is listed twice")
        for name in names:
            _require(strips_of(name) <= self.geometry.height, f"{name} has more strips than rows")
        finalists = [trial.lowering for trial in self.trials if trial.final]
        _require(self.baseline in finalists, "the baseline was not in the long race")
        is_best = self.winner == best(self.trials, self.baseline)
        _require(is_best, "the winner is not the fastest candidate")

    @property
    def key(self) -> tuple[str, str, Geometry]:
        """The key of the entry in a table; a later race with the same key replaces it."""
        return self.target, self.precision, self.geometry


def best(trials: tuple[Trial, ...], baseline: str) -> str:
    """Return the fastest candidate that is certainly faster than the baseline, or the baseline.

    A candidate is certainly faster if the whole interval of its ratio in the long race is below 1.
    """
    faster = [
        trial for trial in trials if trial.final and trial.high < 1 and trial.lowering != baseline
    ]
    return min(faster, key=lambda trial: trial.ratio).lowering if faster else baseline


def strips_of(lowering: str) -> int:
    """Return the number of strips of a lowering.

    Args:
        lowering: FORM or FORM/STRIPS.

    Raises:
        ValueError: the text is neither.
    """
    match = _LOWERING.fullmatch(lowering)
    strips = int(match[1] or 1) if match else 0
    _require(strips > 0, f"{lowering[:40]!r} is not a lowering")
    return strips


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)
