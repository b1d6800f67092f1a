"""What was found, and whether it is good enough."""

from dataclasses import dataclass
from statistics import median

from benchmarks.compare import Verdict
from benchmarks.gate import Gated
from benchmarks.statistics import Estimate, paired_ratio

# What the gate is asked, and the slowdown that it must find.
FAIL_ABOVE, EXTRA_WORK = 0.05, 0.10
# One of so many answers of the gate may be wrong: its intervals hold with 95 %.
ONE_WRONG_IN = 20
# By how much our median may differ from a vendor's.
VENDOR_LIMIT = 0.03


@dataclass(frozen=True)
class Series:
    """Races of a file against itself.

    Attributes:
        target: that ran it.
        extra_work: share by which the second candidate was slowed down; 0 for none.
        answers: of the gate, a race each.
    """

    target: str
    extra_work: float
    answers: tuple[Gated, ...]

    def count(self, verdict: Verdict) -> int:
        """How often the gate said so."""
        return sum(answer.verdict is verdict for answer in self.answers)

    @property
    def ratios(self) -> tuple[float, ...]:
        """What the races measured, in rising order."""
        return tuple(sorted(answer.ratio.value for answer in self.answers if answer.ratio))

    @property
    def wrong(self) -> int:
        """Races in which the gate fired without a reason, or did not although there was one."""
        fired = self.count(Verdict.worse)
        return len(self.answers) - fired if self.extra_work else fired

    @property
    def allowed(self) -> int:
        """Wrong answers that are put up with."""
        return len(self.answers) // ONE_WRONG_IN

    @property
    def accepted(self) -> bool:
        """Whether the gate was wrong rarely enough."""
        return bool(self.answers) and self.wrong <= self.allowed


@dataclass(frozen=True)
class LoopAgreement:
    """Our median and a vendor's, of the same file, one pair each time.

    Attributes:
        target: that ran it for us.
        vendor: name of the other tool.
        ours, theirs: medians in nanoseconds, pair by pair.
    """

    target: str
    vendor: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> Estimate | None:
        """Ours over theirs: median of the pairs; None with too few of them."""
        return paired_ratio([[each] for each in self.ours], [[each] for each in self.theirs])

    @property
    def typical(self) -> tuple[float, float]:
        """Median of ours and of theirs, in nanoseconds."""
        return median(self.ours), median(self.theirs)

    @property
    def accepted(self) -> bool:
        """Whether the median ratio is near enough to 1."""
        ratio = self.ratio
        return ratio is not None and 1 / (1 + VENDOR_LIMIT) <= ratio.value <= 1 + VENDOR_LIMIT


@dataclass(frozen=True)
class Findings:
    """All that was found.

    Attributes:
        series: a target without and with extra work, target by target.
        agreements: a target each.
        runtimes: library and version by target, as the runtime itself says.
    """

    series: tuple[Series, ...]
    agreements: tuple[LoopAgreement, ...]
    runtimes: dict[str, str]

    @property
    def accepted(self) -> bool:
        """Whether all of it is good enough."""
        gate = all(each.accepted for each in self.series)
        return gate and all(each.accepted for each in self.agreements)
