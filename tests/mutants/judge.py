"""Find out what catches a mutant: the graph rules, or the comparison with the trained model."""

from dataclasses import dataclass
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file, standard_ops
from slide_deploy.verification.parity import Verification
from slide_deploy.verification.verify import verify_file
from tests.mutants.bases import base
from tests.mutants.mutant import REFUSED, Catcher, Mutant


@dataclass(frozen=True)
class Outcome:
    """The results of check and verify for a damaged file.

    Attributes:
        check: identifiers of the rules that it breaks, "refused", or empty if it passes.
        parity: the worst figure and its input, "refused", or empty if it passes.
        leaked: the error that was let through where a sentence is due; empty if none was.
    """

    check: str
    parity: str
    leaked: str = ""

    @property
    def caught_by(self) -> str:
        """The catchers that find it; empty if it survives."""
        if self.check and self.parity:
            return "both"
        return "check" if self.check else "parity" if self.parity else ""

    def keeps(self, expected: Catcher) -> bool:
        """Whether all required catchers find it; others may find it as well."""
        return self.caught_by in (expected, "both")


def judge(mutant: Mutant, format: str, folder: Path) -> Outcome:
    """Make a mutant in an empty folder, then check and verify it."""
    valid = base(mutant.open_batch)
    path = mutant.damage(valid, format, folder)
    check = check_outcome(path)
    try:
        verification = verify_file(path, valid.trained)
    except InputError:
        return Outcome(check, REFUSED)
    except Exception as error:  # what a runtime raises when it stops
        return Outcome(check, REFUSED, leaked=type(error).__name__)
    return Outcome(check, figure(verification))


def check_outcome(path: Path) -> str:
    """The result of the graph rules for a file, in words."""
    try:
        report = check_file(path, standard_ops())
    except InputError:
        return REFUSED
    assert all(violation.message and violation.remedy for violation in report.violations)
    return " ".join(sorted({violation.rule for violation in report.errors}))


def figure(verification: Verification) -> str:
    """The least signal-to-noise ratio of the inputs that fail, and which; empty if none does."""
    failed = [case for case in verification.cases if not case.agreement.within(verification.limit)]
    if not failed:
        return ""
    worst = min(failed, key=lambda case: case.agreement.snr_db)
    return f"{worst.agreement.snr_db:z.0f} dB, {worst.name}"
