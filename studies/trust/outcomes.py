"""The findings, and whether they are good enough."""

from dataclasses import dataclass
from statistics import median

from benchmarks.compare import Comparison, Verdict
from benchmarks.statistics import Estimate, paired_ratio

# The limit of the gate, and the slowdown that it must detect.
FAIL_ABOVE, EXTRA_WORK = 0.05, 0.10
# One of 20 verdicts of the gate may be wrong, as its intervals are 95 %.
ONE_WRONG_IN = 20
# Maximum relative difference between our median and a vendor's.
VENDOR_LIMIT = 0.03


@dataclass(frozen=True)
class Series:
    """Races of a file against itself.

    Attributes:
        target: Target that ran it.
        extra_work: Share by which the second candidate was slowed down; 0 for none.
        gated: Result of the gate for each race.
    """

    target: str
    extra_work: float
    gated: tuple[Comparison, ...]

    def count(self, verdict: Verdict) -> int:
        """Return the number of races with a verdict."""
        return sum(each.verdict is verdict for each in self.gated)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Measured ratios in ascending order."""
        return tuple(sorted(each.ratio.value for each in self.gated if each.ratio))

    @property
    def wrong(self) -> int:
        """Number of races in which the gate failed without a slowdown, or passed despite one."""
        failed = self.count(Verdict.worse)
        return len(self.gated) - failed if self.extra_work else failed

    @property
    def allowed(self) -> int:
        """Number of wrong verdicts that are accepted."""
        return len(self.gated) // ONE_WRONG_IN

    @property
    def accepted(self) -> bool:
        """Whether the gate was wrong rarely enough."""
        return bool(self.gated) and self.wrong <= self.allowed


@dataclass(frozen=True)
class LoopAgreement:
    """Pairs of our median and a vendor's for the same file.

    Attributes:
        target: Our target.
        vendor: Name of the vendor's tool.
        ours, theirs: Medians in nanoseconds, pair by pair.
    """

    target: str
    vendor: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> Estimate | None:
        """Ours / theirs, median of the pairs; None with too few pairs."""
        return paired_ratio([[each] for each in self.ours], [[each] for each in self.theirs])

    @property
    def typical(self) -> tuple[float, float]:
        """Median of ours and of theirs, in nanoseconds."""
        return median(self.ours), median(self.theirs)

    @property
    def accepted(self) -> bool:
        """Whether the median ratio is close enough to 1."""
        ratio = self.ratio
        return ratio is not None and 1 / (1 + VENDOR_LIMIT) <= ratio.value <= 1 + VENDOR_LIMIT


@dataclass(frozen=True)
class Findings:
    """All findings.

    Attributes:
        series: For each target, races without and with extra work.
        agreements: Pairs for each target.
        runtimes: Library and version by target, as the runtime reports them.
    """

    series: tuple[Series, ...]
    agreements: tuple[LoopAgreement, ...]
    runtimes: dict[str, str]

    @property
    def accepted(self) -> bool:
        """Whether all findings are accepted."""
        gate = all(each.accepted for each in self.series)
        return gate and all(each.accepted for each in self.agreements)
