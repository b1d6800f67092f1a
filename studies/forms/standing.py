"""Compares the form that auto chooses with the fastest form of a run."""

from dataclasses import dataclass
from statistics import median

from benchmarks.record import Measurement, Run
from benchmarks.statistics import Estimate, paired_ratio
from slide_deploy.errors import InputError

AUTO = "auto"
# Largest accepted ratio of the chosen form's time to the fastest.
MOST = 1.05


@dataclass(frozen=True)
class Standing:
    """One network on one runtime.

    Attributes:
        network: Name of the suite.
        target: Target that ran it.
        seconds: Median of the chosen form.
        best: The fastest other form by its ratio to the chosen one.
        ratio: Time of the chosen form / time of ``best``, paired by round. It scatters around 1
            if ``best`` is the same form as the chosen one.
    """

    network: str
    target: str
    seconds: float
    best: str
    ratio: Estimate

    @property
    def verdict(self) -> str:
        """Comparison of the interval with the limit, in words."""
        low, high = self.ratio.interval.low, self.ratio.interval.high
        if low > MOST:
            return "too slow"
        return "reached" if high <= MOST else "cannot tell"


def standings(network: str, run: Run) -> tuple[Standing, ...]:
    """Compare the chosen form with the fastest on each target of a run.

    Raises:
        InputError: A candidate failed, or the chosen form was not raced.
    """
    targets = dict.fromkeys(each.candidate.target for each in run.measurements)
    return tuple(_standing(network, target, run) for target in targets)


def _standing(network: str, target: str, run: Run) -> Standing:
    forms = {
        each.candidate.name.split(" on ")[0]: each
        for each in run.measurements
        if each.candidate.target == target
    }
    if AUTO not in forms or len(forms) < 2:
        raise InputError(
            f"The run of {network} lacks {AUTO} or other forms on {target}: run its suite again."
        )
    auto = forms.pop(AUTO)
    ratios = {form: _ratio(network, auto, each) for form, each in forms.items()}
    best = max(ratios, key=lambda form: ratios[form].value)
    return Standing(network, target, median(auto.pooled_samples) / 1e9, best, ratios[best])


def _ratio(network: str, auto: Measurement, other: Measurement) -> Estimate:
    ratio = paired_ratio(auto.samples, other.samples)
    if ratio is None:
        failed = next((each for each in (auto, other) if each.error), other)
        raise InputError(
            f"{failed.candidate.name} of {network} has no ratio "
            f"({failed.error or 'too few rounds'}): race it again."
        )
    return ratio
